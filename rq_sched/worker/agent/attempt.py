"""One attempt of a task on this node, and the child that runs it: what is known of them, and why an attempt ends."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from rq_sched.model.arrays import owner
from rq_sched.model.ids import ELEMENT_PATTERN
from rq_sched.model.orders import Start
from rq_sched.model.output import attempt_mark, cut_mark, shorten
from rq_sched.model.resources import MAX_CPU, MAX_MEMORY
from rq_sched.model.schedule import scheduled_by, signed_as
from rq_sched.model.states import Reason
from rq_sched.model.values import MAX_PAYLOAD
from rq_sched.worker import system
from rq_sched.worker.child.runner import signal_name
from rq_sched.worker.frames import FIELDS, READ, Channel, Frame, Word
from rq_sched.worker.switchboard import Switchboard

if TYPE_CHECKING:
    from rq_sched.model.signing import Signer
    from rq_sched.store.answers import EndReport


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
        "results",
        "sized",
        "start_reported",
        "timer",
        "why",
        "young",
    )

    def __init__(self, order: Start) -> None:
        self.order = order
        self.allocation = order.allocation
        self.child: Child | None = None
        self.begun = 0.0
        self.start_reported = False  # whether the start was reported
        self.lasts = False  # whether it has run for a while
        self.output = bytearray()  # what wasn't reported yet
        self.cut = 0  # bytes that were before it, and are lost
        self.marked = order.attempt == 1  # whether what was reported says of which attempt it is
        self.ending: Ending | None = None
        self.final: EndReport | None = None  # to be sent when its processes are gone
        self.timer: asyncio.TimerHandle | None = None
        self.asked = 0  # wishes of the task for another allocation that it has no answer to yet
        self.resizes = 0
        self.results: dict[str, bytes] | None = None  # that stand among its arguments; None: they aren't here
        self.sized = False  # whether its child was told of another allocation
        self.ordered = order.number  # the order as of which its allocation is known
        self.line: asyncio.Lock | None = None  # its requests for another allocation stand in line
        self.why = ""  # the text that goes with its ending
        self.young = False  # whether it runs, and began lately

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
        case [Word.DONE, token, reason, result, error, code, spent, kept]:  # in plain steps: it comes with every task
            if not (type(token) is type(spent) is str and type(kept) is int and 0 <= kept <= MAX_MEMORY):
                return False
            if reason is None:
                told = type(result) is bytes and error is None and _number(code, 0, 0)
                return told and len(result) <= MAX_PAYLOAD and len(spent) <= LONGEST_TEXT
            told = type(reason) is type(error) is str and result is None and _number(code, -(2**31), 2**31)
            return told and reason in _REASONS and len(error) + len(spent) <= LONGEST_TEXT
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
    other text after the slash would stand in its environment without anybody having signed it. The task of a schedule
    runs under its schedule's name."""
    signed_id = owner(order.task_id) if ELEMENT_PATTERN.fullmatch(order.task_id) else order.task_id
    schedule = scheduled_by(signed_id)
    return any(
        signer.verify(one, order.function, order.arguments, order.time_limit)
        for one in (signed_id, *([signed_as(schedule)] if schedule else []))
    )


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


class Child:
    """One child: its socket, its output, the attempt that it works on."""

    __slots__ = (
        "_below",
        "_board",
        "_descriptor",
        "attempt",
        "base",
        "channel",
        "cores",
        "gone",
        "number",
        "pid",
        "rested",
        "subreaper",
        "tasks_left",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        board: Switchboard,
        number: int,
        pid: int,
        subreaper: int,
        sock: socket.socket,
        output: int,
        said: Callable[[Child, Frame], None],
        lost: Callable[[Child], None],
    ) -> None:
        self.number = number
        self.pid = pid
        self.subreaper = subreaper  # the same where there are none
        self._below = system.open_children(subreaper) if subreaper != pid else -1
        self.attempt: Attempt | None = None
        self.gone = False  # all of its processes are
        self.rested = 0.0
        self.tasks_left = ENDLESS  # that it may still begin
        self.cores: tuple[int, ...] = ()  # those of its last task, empty: it wasn't pinned
        self.base = 0  # MB that its tasks have left in it
        self._board = board
        self._descriptor = output
        os.set_blocking(output, False)
        board.add(output, self.drain, early=True)
        on_frame, on_silence = functools.partial(said, self), functools.partial(lost, self)
        self.channel = Channel(loop, sock, on_frame, on_silence, board, FIELDS)

    def _read_output(self) -> bool:
        """Take some of what was printed; whether there may be more."""
        try:
            data = os.read(self._descriptor, READ)
        except BlockingIOError:
            return False
        if not data:
            self._board.remove(self._descriptor)
        elif self.attempt is not None:
            output = self.attempt.output
            output += data
            if len(output) > self.attempt.order.log_limit:
                self.attempt.cut += shorten(output, self.attempt.order.log_limit)
        return len(data) == READ

    def drain(self) -> None:
        """Take all that was printed so far."""
        while self._read_output():
            pass

    def drain_before(self) -> None:
        """Take all that was printed before the frame that is being heard was sent. It is taken already when that frame
        was what made the socket readable, as outputs are read before sockets."""
        if not (self.channel.first and self._board.complete):
            self.drain()

    def processes(self) -> list[int]:
        """All processes of the child's task, its own too."""
        return system.below(self.subreaper) if self.subreaper != self.pid else [self.pid, *system.below(self.pid)]

    def alone(self) -> bool:
        """Whether nothing of its task has been orphaned, or was never below it (those below it, it knows itself)."""
        if self._below < 0 or os.pread(self._below, 64, 0) == b"%d " % self.pid:  # a microsecond
            return True
        return not any(system.runs(pid) for pid in system.children_of(self.subreaper) if pid != self.pid)

    def runs(self) -> bool:
        """Whether anything of it runs, by what the system says: for when the parent is dead."""
        return system.group_runs(self.pid) or (self.subreaper != self.pid and system.runs(self.subreaper))

    def close(self) -> None:
        self._board.remove(self._descriptor)
        os.close(self._descriptor)
        if self._below >= 0:
            os.close(self._below)
            self._below = -1
        self.channel.close()


ENDLESS = 2**62
