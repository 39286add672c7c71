"""One attempt of a task on this node: what is known of it, and why it ends."""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum
from typing import TYPE_CHECKING

from rq_sched.arrays import owner
from rq_sched.keys import ELEMENT_PATTERN
from rq_sched.node import Start
from rq_sched.output import attempt_mark, cut_mark
from rq_sched.resources import MAX_CPU, MAX_MEMORY
from rq_sched.task import Reason
from rq_sched.values import MAX_PAYLOAD
from rq_sched.worker.frames import Frame, Word
from rq_sched.worker.runner import signal_name

if TYPE_CHECKING:
    from rq_sched.signing import Signer
    from rq_sched.store import Report
    from rq_sched.worker.pool import Child


NOT_SIGNED = (
    "this node runs only signed requests, and the signature of this one is missing or wrong: submit it with the "
    "workers' secret (--signing-key-file, RQ_SCHED_SIGNING_KEY)"
)


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
        "asked",
        "begun",
        "child",
        "cut",
        "ending",
        "final",
        "lasts",
        "line",
        "marked",
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
        self.cut = 0  # bytes that were before it, and are lost
        self.marked = order.attempt == 1  # whether what was reported says of which attempt it is
        self.ending: Ending | None = None
        self.final: Report | None = None  # to be sent when its processes are gone
        self.timer: asyncio.TimerHandle | None = None
        self.asked = 0  # wishes of the task for another allocation that it has no answer to yet
        self.resizes = 0
        self.ordered = order.number  # the order as of which its allocation is known
        self.line: asyncio.Lock | None = None  # its requests for another allocation stand in line
        self.why = ""  # the text that goes with its ending

    @property
    def runs(self) -> bool:
        """Whether a child works on it now."""
        return self.child is not None and self.child.attempt is self

    def written(self) -> bytes:
        """What wasn't reported yet, with its marks."""
        if not self.output:
            return b""
        begin = b"" if self.marked else attempt_mark(self.order.attempt)
        return begin + (cut_mark(self.cut) if self.cut else b"") + self.output

    def take_written(self) -> bytes:
        """The same; it counts as reported."""
        written = self.written()
        self.output.clear()
        self.cut, self.marked = 0, True
        return written


_REASONS = frozenset({Reason.ERROR, Reason.NOT_FOUND, Reason.NOT_ALLOWED, Reason.UNSENDABLE, Reason.EXIT_CODE})
"""Those that a child may give."""
LONGEST_TEXT = 32 * 1024
"""Characters that a text of a child may have."""


def sound(frame: Frame) -> bool:
    """Whether a child's frame is as it should be: what a task may forge must not get further than here."""
    match frame:
        case [Word.DONE, str(), None, bytes(result), None, code, str(spent), int(kept)]:
            return (
                _number(code, 0, 0)
                and _number(kept, 0, MAX_MEMORY)
                and len(result) <= MAX_PAYLOAD
                and len(spent) <= LONGEST_TEXT
            )
        case [Word.DONE, str(), str(reason), None, str(error), code, str(spent), int(kept)]:
            if not (_number(code, -(2**31), 2**31) and _number(kept, 0, MAX_MEMORY)):
                return False
            return reason in _REASONS and len(error) + len(spent) <= LONGEST_TEXT
        case [Word.PROGRESS, str(), float(fraction)]:
            return 0 <= fraction <= 1
        case [Word.RESIZE, str(), cpu, memory]:
            return _number(cpu, 1, MAX_CPU) and _number(memory, 1, MAX_MEMORY)
        case [Word.NOT_BEGUN | Word.LOOKED, str(), str(why)]:
            return len(why) <= LONGEST_TEXT
    return False


def _number(value: object, least: int, most: int) -> bool:
    """Whether it is a whole number within these bounds, or none; True is no number."""
    return value is None or (type(value) is int and least <= value <= most)


def signed(order: Start, signer: Signer) -> bool:
    """Whether an order has a signature, and it is right. An element is run under its array's, but only as an index:
    other text after the slash would stand in its environment without anybody having signed it."""
    signed_id = owner(order.task_id) if ELEMENT_PATTERN.fullmatch(order.task_id) else order.task_id
    return signer.verify(signed_id, order.function, order.arguments, order.time_limit)


def how_we_ended(attempt: Attempt) -> tuple[str, str | None, str | None]:
    """The outcome, reason and error of an attempt that we have ended."""
    if attempt.ending is Ending.TIMEOUT:
        return "failed", Reason.TIMEOUT, f"ran longer than its time limit of {attempt.order.time_limit:g} s"
    if attempt.ending is Ending.OOM:
        return "failed", Reason.OOM, attempt.why
    return str(attempt.ending), None, None


def how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was killed by {signal_name(-code)}"
    return f"ended by itself with exit code {code}"


def about(attempt: Attempt, **more: object) -> dict[str, object]:
    """The fields of a log line."""
    return {"task_id": attempt.order.task_id, "attempt": attempt.order.attempt, **more}
