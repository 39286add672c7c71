"""One attempt of a task on this node: what is known of it, and why it ends."""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum
from typing import TYPE_CHECKING

from rq_sched.node import Start
from rq_sched.task import Reason
from rq_sched.worker.frames import Frame, Word
from rq_sched.worker.runner import signal_name

if TYPE_CHECKING:
    from rq_sched.store import Report
    from rq_sched.worker.pool import Child


class Ending(StrEnum):
    """Why we end an attempt."""

    TIMEOUT = "timeout"  # it ran longer than its time limit
    OOM = "oom"  # it used more memory than it may
    RETURNED = "returned"  # shutdown, self-fencing: the task goes back, at no cost
    STOPPED = "stopped"  # a stop order: someone else has decided what follows
    DROPPED = "dropped"  # the incarnation was given up: nobody wants to hear of it


class Attempt:
    """One attempt of a task on this node."""

    __slots__ = (
        "allocation",
        "begun",
        "child",
        "ending",
        "final",
        "lasts",
        "line",
        "order",
        "ordered",
        "output",
        "resizes",
        "timer",
        "told",
        "why",
    )

    def __init__(self, order: Start) -> None:
        self.order = order
        self.allocation = order.allocation
        self.child: Child | None = None
        self.begun = 0.0
        self.told = False  # whether the start was reported
        self.lasts = False  # whether it has run for a while
        self.output = bytearray()  # what wasn't reported yet
        self.ending: Ending | None = None
        self.final: Report | None = None  # to be sent when its processes are gone
        self.timer: asyncio.TimerHandle | None = None
        self.resizes = 0
        self.ordered = order.number  # the order as of which its allocation is known
        self.line: asyncio.Lock | None = None  # its requests for another allocation stand in line
        self.why = ""  # the text that goes with its ending

    @property
    def runs(self) -> bool:
        """Whether a child works on it now."""
        return self.child is not None and self.child.attempt is self


_REASONS = frozenset(Reason)


def sound(frame: Frame) -> bool:
    """Whether a child's frame is as it should be: what a task may forge must not get further than here."""
    match frame:
        case [Word.DONE, None, bytes(), None, None | 0, bool()]:
            return True
        case [Word.DONE, str(reason), None, str(), None | int(), bool()]:
            return reason in _REASONS
        case [Word.PROGRESS, float(fraction)]:
            return 0 <= fraction <= 1
        case [Word.RESIZE, None | int(), None | int()] | [Word.NOT_BEGUN]:
            return True
    return False


def how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was killed by {signal_name(-code)}"
    return f"ended by itself with exit code {code}"


def about(attempt: Attempt, **more: object) -> dict[str, object]:
    """The fields of a log line."""
    return {"task_id": attempt.order.task_id, "attempt": attempt.order.attempt, **more}
