"""What runs here: each attempt from its start order to its report.

An attempt waits for its arguments (where they were too long for the order), then for a child; then it runs. It ends by
itself (DONE), by the death of its child, or because we end it: ``Ending`` says why. Whoever is ended by us is reported
only when all of its processes are gone; so is one that left processes behind.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Final

from rq_sched.model.orders import Resize, Start, Stop
from rq_sched.model.signing import Signer
from rq_sched.model.states import Reason
from rq_sched.model.values import MAX_PAYLOAD
from rq_sched.store.answers import EndReport
from rq_sched.worker import system
from rq_sched.worker.agent.allocations import Allocations, Watcher
from rq_sched.worker.agent.attempt import NOT_SIGNED, Child, about, how_it_ended, how_we_ended, signed, sound
from rq_sched.worker.agent.attempt import Attempt as Attempt
from rq_sched.worker.agent.attempt import Ending as Ending
from rq_sched.worker.agent.cores import Cores
from rq_sched.worker.agent.errands import Errands
from rq_sched.worker.agent.faults import Faults
from rq_sched.worker.agent.outbox import Outbox
from rq_sched.worker.agent.pool import FAT, FAT_SHARE, Pool
from rq_sched.worker.agent.remembered import Remembered
from rq_sched.worker.agent.waiting import Pace, Waiting, short_at_a_time
from rq_sched.worker.frames import Frame, Word

log = logging.getLogger("rq_sched.worker")

MOST_BYTES = MAX_PAYLOAD + 64
"""Bytes of arguments that are fetched: what a client may send, and a signature."""
ANNOUNCED = 2
"""From this attempt on the start is reported before the task begins, not 50 ms after: the attempt before may have
killed its node so soon that nobody knows. Where all goes well that costs nothing, else a round trip an attempt."""
MISLED = 1000
"""Tasks that are remembered because a frame of another attempt has ended theirs."""
MOST_ASKED = 8
"""Wishes for another allocation that a task may have without having heard the answers: its threads take turns."""


class Attempts:
    """All attempts on this node.

    Parameters:
        errands: gets what attempts need from Redis.
        grace: seconds for a task to end after its time limit.
        cores: the cores of this node; None: tasks aren't pinned to them.
        pace: says how many begin at a time; None: as many as suit this machine.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        outbox: Outbox,
        errands: Errands,
        grace: float,
        cores: Cores | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._outbox = outbox
        self._errands = errands
        self._grace = grace
        self._pace = pace or Pace(short_at_a_time())
        self._waiting = Waiting(loop, pool, self._begin, lambda: not (self.paused or self.closing), self._pace)
        self.all: Final[dict[str, Attempt]] = {}
        self.empty = asyncio.Event()
        self.empty.set()
        self.closing = False
        """Whether new ones are no longer begun."""
        self._returning = False
        self.paused = False
        """Whether none is begun, because of a fault of the machine."""
        self.faults = Faults(loop, self, pool)
        self.signer: Signer | None = None
        """Where there is one, only what it has signed is run."""
        self.oom_kills = system.oom_kills()
        """How often the kernel has killed for memory, as far as we have noticed."""
        self.last_start = 0.0
        """When the last attempt was given to a child."""
        self.watchers: Final[list[Watcher]] = []
        self.allocations = Allocations(self.all, self.watchers, cores)
        self._misled = Remembered(MISLED)
        pool.listener = self

    # -- orders -----------------------------------------------------------------------------------

    def start(self, order: Start) -> None:
        """A start order."""
        if order.token in self.all or order.token in self._outbox.reported or self._outbox.gave_up(order.token):
            return
        attempt = self.all[order.token] = Attempt(order)
        self.empty.clear()
        if self._returning:
            self._end(attempt, "returned")
        elif self.closing:
            pass  # it waits to be given back
        elif order.payload_bytes > MOST_BYTES:
            error = f"its arguments have {order.payload_bytes} bytes, at most {MAX_PAYLOAD} are taken"
            self._end(attempt, "failed", reason=Reason.ERROR, error=error)
        elif order.payload_bytes:
            self._errands.fetch(attempt)
        else:
            self.launch(attempt)

    def stop(self, order: Stop) -> None:
        """A stop order: answered when nothing of the attempt runs here any more."""
        attempt = self.all.get(order.token)
        if attempt is not None:
            log.info("stopping a task", extra=about(attempt, grace=order.grace))
            self._stop(attempt, Ending.STOPPED, order.grace)
        elif order.token not in self._outbox.reported:
            self._outbox.add(EndReport(order.token, order.task_id, "stopped"))

    def launch(self, attempt: Attempt) -> None:
        """Its arguments are there: give it to a child."""
        if attempt.order.token not in self.all or self.closing:
            return  # stopped meanwhile, or about to be given back
        if self.signer is not None and not signed(attempt.order, self.signer):
            log.error("a request's signature is missing or wrong: not run", extra=about(attempt))
            self._end(attempt, "failed", reason=Reason.NOT_ALLOWED, error=NOT_SIGNED)
            return
        if attempt.order.uses and attempt.results is None:
            self._errands.fetch_results(attempt)  # and then we are called again
        elif self.paused:
            self._waiting.append(attempt)
            self.faults.tell()
        elif attempt.order.attempt >= ANNOUNCED and not attempt.start_reported:
            self._outbox.tell_start(attempt)  # and then we are called again
        else:
            self._waiting.append(attempt)
            self._waiting.wake()

    def cannot_launch(self, attempt: Attempt, why: str) -> None:
        """Its arguments are gone."""
        if attempt.order.token not in self.all:
            return
        self._end(attempt, "failed", reason=Reason.ERROR, error=why)

    def kill(self, attempt: Attempt, ending: Ending) -> None:
        """End one at once."""
        self._stop(attempt, ending, 0)

    def stop_all(self, ending: Ending, grace: float) -> None:
        """End everything."""
        for attempt in list(self.all.values()):
            if attempt.ending is not Ending.STOPPED or ending is Ending.DROPPED:
                self._stop(attempt, ending, grace)

    def return_waiting(self) -> None:
        """Give back what hasn't begun, and what may still come."""
        self._returning = True
        self.give_back()

    def give_back(self) -> None:
        """Give back what hasn't begun."""
        for attempt in [attempt for attempt in self.all.values() if attempt.child is None]:
            self._stop(attempt, Ending.RETURNED, 0)

    def resize(self, order: Resize) -> None:
        """A resize order."""
        attempt = self.all.get(order.token)
        if attempt is not None and order.number > attempt.ordered:
            self.allocations.changed(attempt, order.allocation, order.number)

    # -- children ---------------------------------------------------------------------------------

    def ready(self, child: Child) -> None:
        if self.paused and self.faults.takes(child):
            return
        if self._waiting and not self.closing and not self.paused:
            self._begin(self._waiting.popleft(), child)
        else:
            self._pool.put_back(child)

    def said(self, child: Child, frame: Frame) -> None:
        attempt = child.attempt
        if not sound(frame):  # a task has written to our socket
            self._pool.end(child)
            return
        word, token = frame[0], frame[1]
        if word == Word.DONE and attempt is not None and token == attempt.order.token:
            self._done(attempt, child, frame)
        elif word == Word.NOT_BEGUN and (attempt is None or token in ("", attempt.order.token)):
            self._not_begun(attempt, child, frame[2])
        elif word == Word.LOOKED and attempt is None:
            self.faults.checked(child, frame[2])
        elif attempt is None:
            self._pool.end(child)
        elif token != attempt.order.token:
            self._confused(attempt, child, token)
        elif word == Word.PROGRESS:
            self._outbox.progress[token] = frame[2]
        elif word == Word.RESIZE and attempt.asked < MOST_ASKED:
            attempt.asked += 1
            self._errands.resize(attempt, frame[2], frame[3])
        else:
            self._pool.end(child)

    def _confused(self, attempt: Attempt, child: Child, token: str) -> None:
        """A frame of another attempt has come. Where that attempt has been here, something of it has outlived it: this
        one, which has done nothing wrong, goes back at no cost; once, as it could have made the frame up."""
        log.error("a frame of another attempt: the child is ended", extra=about(attempt, pid=child.pid, token=token))
        if token in self._outbox.reported and attempt.order.task_id not in self._misled and attempt.ending is None:
            self._misled.add(attempt.order.task_id)
            attempt.ending = Ending.RETURNED
        self._pool.end(child)

    def gone(self, child: Child, status: int) -> None:
        attempt = child.attempt
        if attempt is None:
            self.faults.gone(child.number, f"a child {how_it_ended(status)} before it could begin a task")
            return
        if attempt.ending is Ending.DROPPED:
            self._remove(attempt)
        elif attempt.ending is not None:
            self._end(attempt, *how_we_ended(attempt))
        elif attempt.final is not None:
            self._settle(attempt, attempt.final)
        elif child.channel.unread and not attempt.sized:  # its order, so that it died before the task began
            self._unbind(attempt, child)
            self.faults.died_early(f"children die before they begin a task: the last one {how_it_ended(status)}")
            self.launch(attempt)
        else:
            self._died(attempt, child, status)

    def _died(self, attempt: Attempt, child: Child, status: int) -> None:
        """Its process died, and not by us."""
        how = how_it_ended(status)
        log.error("a task's process died", extra=about(attempt, pid=child.pid, how=how))
        if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
            before, self.oom_kills = self.oom_kills, system.oom_kills()
            if self.oom_kills > before:
                allowed = attempt.allocation.memory
                why = f"the kernel killed it, as the machine ran out of memory; it was allowed {allowed} MB"
                self._end(attempt, "failed", reason=Reason.OOM, error=why)
                return
        self._end(attempt, "crashed", error=f"its process {how}")

    def fork_failed(self, number: int, why: str) -> None:
        """The machine had no room for a child."""
        self.faults.gone(number, why)
        self.faults.found(why)

    def go_on(self) -> None:
        """There is no fault any more."""
        self.paused = False
        waiting = list(self._waiting)
        self._waiting.clear()
        for attempt in waiting:
            self.launch(attempt)

    # -- the life of an attempt -------------------------------------------------------------------

    def _begin(self, attempt: Attempt, child: Child) -> None:
        order = attempt.order
        attempt.child = child
        child.attempt = attempt
        child.tasks_left -= 1
        self.last_start = attempt.begun = self._loop.time()
        self._pace.began(attempt)
        cores = self.allocations.give(attempt, child)
        if order.time_limit is not None:
            attempt.timer = self._loop.call_later(order.time_limit, self._stop, attempt, Ending.TIMEOUT, self._grace)
        arguments = (order.arguments, attempt.results) if order.uses else order.arguments
        attempt.results = None  # they are large, and many may run
        frame = (Word.RUN, order.token, order.task_id, order.attempt, order.function, arguments)
        if child.channel.send((*frame, *attempt.allocation, *order.maximum, cores, order.held)):
            self._outbox.watch()
        else:  # it has died idle, and we haven't heard yet: not the fault of this task
            self._unbind(attempt, child)
            self.launch(attempt)

    def _not_begun(self, attempt: Attempt | None, child: Child, why: str) -> None:
        """A child has ended before it began: its task, if it had one, goes to another one, unless it is being stopped;
        then the death of the child tells the rest.

        Parameters:
            why: it couldn't run any task. Empty: someone has sent it SIGTERM, or it would have run old code.
        """
        if attempt is not None and attempt.ending is None:
            self._unbind(attempt, child)
            if why and not attempt.order.uses:
                self._waiting.appendleft(attempt)
            else:
                self.launch(attempt)
        if why:
            self.faults.gone(child.number, why)
            self.faults.found(why)
        self._pool.end(child)

    def _unbind(self, attempt: Attempt, child: Child) -> None:
        self.allocations.take_back(attempt)
        self._pace.forget(attempt)
        attempt.child = child.attempt = None
        attempt.lasts = attempt.sized = False
        if attempt.timer is not None:
            attempt.timer.cancel()

    def _done(self, attempt: Attempt, child: Child, frame: Frame) -> None:
        _, _, reason, result, error, exit_code, spent, child.base = frame
        child.drain_before()
        order, now = attempt.order, self._loop.time()
        self._pace.ended(attempt)
        report = EndReport(
            order.token,
            order.task_id,
            "completed" if reason is None else "failed",
            now - attempt.begun,
            reason,
            result,
            error,
            exit_code,
            attempt.written(),
        )
        if attempt.ending is not None or spent or not child.alone():
            if spent:
                log.debug("a child isn't used again: %s", spent, extra=about(attempt, pid=child.pid))
            attempt.final = report
            if attempt.timer is not None:
                attempt.timer.cancel()
            self._pool.end(child)
            return
        self._settle(attempt, report)
        self.faults.all_is_well()
        child.attempt = None
        fat = child.base > FAT and child.base > FAT_SHARE * attempt.allocation.memory
        if fat:
            log.debug("a child kept much memory", extra=about(attempt, pid=child.pid, kept=child.base))
        if fat or child.tasks_left <= 0:
            self._pool.retire(child)
            self._waiting.wake()
        elif child.gone:
            self._waiting.wake()
        else:
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
            log.warning("a task ran too long", extra=about(attempt, time_limit=attempt.order.time_limit))
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
        output = attempt.written()
        self._settle(attempt, EndReport(order.token, order.task_id, outcome, ran, reason, None, error, None, output))

    def _settle(self, attempt: Attempt, report: EndReport) -> None:
        self._remove(attempt)
        self._outbox.add(report)
        if report.outcome == "completed":
            if log.isEnabledFor(logging.INFO):
                log.info("a task completed", extra=about(attempt, ran=round(report.ran or 0, 6)))
        else:
            log.info("a task ended", extra=about(attempt, outcome=report.outcome, reason=report.reason))

    def _remove(self, attempt: Attempt) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        del self.all[attempt.order.token]
        self._pace.forget(attempt)
        self.allocations.take_back(attempt)
        self.allocations.settle()
        for watcher in self.watchers:
            watcher.over(attempt)
        if not self.all:
            self.empty.set()
