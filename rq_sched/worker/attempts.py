"""What runs here: each attempt from its start order to its report.

An attempt waits for its arguments (where they were too long for the order), then for a child; then it runs. It ends by
itself (DONE), by the death of its child, or because we end it: ``Ending`` says why. Whoever is ended by us is reported
only when all of its processes are gone; so is one that left processes behind.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import signal
from enum import StrEnum

from rq_sched.node import Start, Stop
from rq_sched.resources import Resources
from rq_sched.signing import Signer
from rq_sched.store import Report
from rq_sched.task import Reason
from rq_sched.worker.errands import Errands
from rq_sched.worker.frames import Frame, Word
from rq_sched.worker.outbox import Outbox
from rq_sched.worker.pool import Child, Pool
from rq_sched.worker.runner import signal_name

log = logging.getLogger("rq_sched.worker")

NOT_SIGNED = (
    "this node runs only signed requests, and the signature of this one is missing or wrong: submit it with the "
    "workers' secret (--signing-key-file, RQ_SCHED_SIGNING_KEY)"
)
FORK_AGAIN = 1.0
"""Seconds until a child is asked for again when the machine had no room for one."""


class Ending(StrEnum):
    """Why we end an attempt."""

    TIMEOUT = "timeout"  # it ran longer than its time limit
    RETURNED = "returned"  # shutdown, self-fencing: the task goes back, at no cost
    STOPPED = "stopped"  # a stop order: someone else has decided what follows
    DROPPED = "dropped"  # the incarnation was given up: nobody wants to hear of it


class Attempt:
    """One attempt of a task on this node."""

    __slots__ = ("allocation", "begun", "child", "ending", "final", "order", "output", "resizes", "timer", "told")

    def __init__(self, order: Start) -> None:
        self.order = order
        self.allocation = order.allocation
        self.child: Child | None = None
        self.begun = 0.0
        self.told = False  # whether the start was reported
        self.output = bytearray()  # what wasn't reported yet
        self.ending: Ending | None = None
        self.final: Report | None = None  # to be sent when its processes are gone
        self.timer: asyncio.TimerHandle | None = None
        self.resizes = 0


class Attempts:
    """All attempts on this node.

    Parameters:
        errands: gets what attempts need from Redis.
        grace: seconds for a task to end after its time limit.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        outbox: Outbox,
        errands: Errands,
        grace: float,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._outbox = outbox
        self._errands = errands
        self._grace = grace
        self._waiting: collections.deque[Attempt] = collections.deque()
        self.all: dict[str, Attempt] = {}
        self.empty = asyncio.Event()
        self.empty.set()
        self.closing = False
        """Whether new ones are no longer begun."""
        self._returning = False
        self.signer: Signer | None = None
        """Where there is one, only what it has signed is run."""
        pool.listener = self

    # -- orders -----------------------------------------------------------------------------------

    def start(self, order: Start) -> None:
        """A start order."""
        if order.token in self.all or order.token in self._outbox.reported:
            return
        attempt = self.all[order.token] = Attempt(order)
        self.empty.clear()
        if self._returning:
            self._end(attempt, "returned")
        elif self.closing:
            pass  # it waits to be given back
        elif order.payload_bytes:
            self._errands.fetch(attempt)
        else:
            self.launch(attempt)

    def stop(self, order: Stop) -> None:
        """A stop order: answered when nothing of the attempt runs here any more."""
        attempt = self.all.get(order.token)
        if attempt is not None:
            log.info("stopping a task", extra=_about(attempt, grace=order.grace))
            self._stop(attempt, Ending.STOPPED, order.grace)
        elif order.token not in self._outbox.reported:
            self._outbox.add(Report(order.token, order.task_id, "stopped"))

    def launch(self, attempt: Attempt) -> None:
        """Its arguments are there: give it to a child."""
        if attempt.order.token not in self.all or self.closing:
            return  # stopped meanwhile, or about to be given back
        if self.signer is not None and not self._signed(attempt.order, self.signer):
            log.error("a request's signature is missing or wrong: not run", extra=_about(attempt))
            self._end(attempt, "failed", reason=Reason.NOT_ALLOWED, error=NOT_SIGNED)
            return
        child = self._pool.take()
        if child is not None:
            self._begin(attempt, child)
        else:
            self._waiting.append(attempt)
            self._grow()

    @staticmethod
    def _signed(order: Start, signer: Signer) -> bool:
        return signer.verify(order.task_id, order.function, order.arguments, order.time_limit)

    def cannot_launch(self, attempt: Attempt, why: str) -> None:
        """Its arguments are gone."""
        if attempt.order.token not in self.all:
            return
        self._end(attempt, "failed", reason=Reason.ERROR, error=why)

    def stop_all(self, ending: Ending, grace: float) -> None:
        """End everything."""
        for attempt in list(self.all.values()):
            if attempt.ending is not Ending.STOPPED or ending is Ending.DROPPED:
                self._stop(attempt, ending, grace)

    def return_waiting(self) -> None:
        """Give back what hasn't begun, and what may still come."""
        self._returning = True
        for attempt in [attempt for attempt in self.all.values() if attempt.child is None]:
            self._stop(attempt, Ending.RETURNED, 0)

    def resized(self, attempt: Attempt, allocation: Resources) -> None:
        """Tell the task what it has now."""
        attempt.allocation = allocation
        if attempt.child is not None:
            attempt.child.channel.send((Word.SIZE, allocation.cpu, allocation.memory))

    # -- children ---------------------------------------------------------------------------------

    def ready(self, child: Child) -> None:
        if self._waiting and not self.closing:
            self._begin(self._waiting.popleft(), child)
        else:
            self._pool.rest(child)

    def said(self, child: Child, frame: Frame) -> None:
        attempt = child.attempt
        if attempt is None or not _sound(frame):  # a task has written to our socket
            self._pool.signal(child, signal.SIGKILL)
        elif frame[0] == Word.DONE:
            self._done(attempt, child, frame)
        elif frame[0] == Word.PROGRESS:
            self._outbox.progress[attempt.order.token] = frame[1]
        elif frame[0] == Word.RESIZE:
            self._errands.resize(attempt, frame[1], frame[2])

    def gone(self, child: Child, status: int) -> None:
        attempt = child.attempt
        if attempt is None:
            return
        match attempt.ending:
            case None:
                if attempt.final is not None:
                    self._settle(attempt, attempt.final)
                else:
                    how = _how(status)
                    log.error("a task's process died", extra=_about(attempt, pid=child.pid, how=how))
                    self._end(attempt, "crashed", error=f"its process {how}")
            case Ending.TIMEOUT:
                limit = attempt.order.time_limit
                self._end(
                    attempt, "failed", reason=Reason.TIMEOUT, error=f"ran longer than its time limit of {limit:g} s"
                )
            case Ending.DROPPED:
                self._remove(attempt)
            case ending:
                self._end(attempt, ending.value)

    def fork_failed(self) -> None:
        """The machine had no room for a child."""
        self._loop.call_later(FORK_AGAIN, self._grow)

    def _grow(self) -> None:
        while self._pool.starting < len(self._waiting):
            self._pool.grow()

    # -- the life of an attempt -------------------------------------------------------------------

    def _begin(self, attempt: Attempt, child: Child) -> None:
        order = attempt.order
        attempt.child = child
        child.attempt = attempt
        attempt.begun = self._loop.time()
        if order.time_limit is not None:
            attempt.timer = self._loop.call_later(order.time_limit, self._stop, attempt, Ending.TIMEOUT, self._grace)
        frame = (Word.RUN, order.token, order.task_id, order.attempt, order.function, order.arguments)
        if child.channel.send((*frame, *attempt.allocation, *order.maximum)):
            self._outbox.watch()
        else:  # it has died idle, and we haven't heard yet: not the fault of this task
            self._unbind(attempt, child)
            self.launch(attempt)

    def _unbind(self, attempt: Attempt, child: Child) -> None:
        attempt.child = child.attempt = None
        if attempt.timer is not None:
            attempt.timer.cancel()

    def _done(self, attempt: Attempt, child: Child, frame: Frame) -> None:
        _, reason, result, error, exit_code, left = frame
        child.drain_before()
        order = attempt.order
        report = Report(
            order.token,
            order.task_id,
            "completed" if reason is None else "failed",
            self._loop.time() - attempt.begun,
            reason,
            result,
            error,
            exit_code,
            bytes(attempt.output),
        )
        if attempt.ending is not None or left:
            attempt.final = report
            if attempt.timer is not None:
                attempt.timer.cancel()
            self._pool.signal(child, signal.SIGKILL)
            return
        self._settle(attempt, report)
        child.attempt = None
        self.ready(child)

    def _stop(self, attempt: Attempt, ending: Ending, grace: float) -> None:
        """End an attempt: SIGTERM, after the grace SIGKILL."""
        attempt.ending = ending
        child = attempt.child
        if child is None:
            if attempt in self._waiting:
                self._waiting.remove(attempt)
            if ending is Ending.DROPPED:
                self._remove(attempt)
            else:
                self._end(attempt, ending.value)
            return
        if ending is Ending.TIMEOUT:
            log.warning("a task ran too long", extra=_about(attempt, time_limit=attempt.order.time_limit))
        if attempt.timer is not None:
            attempt.timer.cancel()
        if grace > 0 and attempt.final is None:
            self._pool.signal(child, signal.SIGTERM)
            attempt.timer = self._loop.call_later(grace, self._pool.signal, child, signal.SIGKILL)
        else:
            self._pool.signal(child, signal.SIGKILL)

    def _end(self, attempt: Attempt, outcome: str, reason: str | None = None, error: str | None = None) -> None:
        order = attempt.order
        ran = None if attempt.child is None else self._loop.time() - attempt.begun
        output = bytes(attempt.output)
        self._settle(attempt, Report(order.token, order.task_id, outcome, ran, reason, None, error, None, output))

    def _settle(self, attempt: Attempt, report: Report) -> None:
        self._remove(attempt)
        self._outbox.add(report)
        if report.outcome == "completed":
            if log.isEnabledFor(logging.INFO):
                log.info("a task completed", extra=_about(attempt, ran=round(report.ran or 0, 6)))
        else:
            log.info("a task ended", extra=_about(attempt, outcome=report.outcome, reason=report.reason))

    def _remove(self, attempt: Attempt) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        del self.all[attempt.order.token]
        if not self.all:
            self.empty.set()


_REASONS = frozenset(Reason)


def _sound(frame: Frame) -> bool:
    """Whether a child's frame is as it should be: what a task may forge must not get further than here."""
    match frame:
        case [Word.DONE, None, bytes(), None, None | 0, bool()]:
            return True
        case [Word.DONE, str(reason), None, str(), None | int(), bool()]:
            return reason in _REASONS
        case [Word.PROGRESS, float(fraction)]:
            return 0 <= fraction <= 1
        case [Word.RESIZE, None | int(), None | int()]:
            return True
    return False


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was killed by {signal_name(-code)}"
    return f"ended by itself with exit code {code}"


def _about(attempt: Attempt, **more: object) -> dict[str, object]:
    """The fields of a log line."""
    return {"task_id": attempt.order.task_id, "attempt": attempt.order.attempt, **more}
