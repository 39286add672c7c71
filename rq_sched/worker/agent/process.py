"""The agent: one event loop between Redis and the children. It never runs a task.

What it consists of: ``session`` (the registration), ``orders`` (what to do), ``attempts`` and ``pool`` (what runs, and
in which child), ``errands`` (what attempts need), ``outbox`` (what to tell), ``lease`` (heartbeat and self-fencing).
Here they are put together, and end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Coroutine, Sequence
from typing import Any

from rq_sched.errors import FeatureMissing, FunctionsMissing, NodeAlive, OtherSchema, RedisUnavailable, RqSchedError
from rq_sched.link import AsyncLink, Outage
from rq_sched.link.outage import is_outage
from rq_sched.model.signing import Signer
from rq_sched.process.backoff import backoff
from rq_sched.process.health import EVERY, LATE, Mood, Reporter
from rq_sched.store import Store
from rq_sched.worker import system
from rq_sched.worker.agent.attempt import ENDLESS, Attempt, Ending
from rq_sched.worker.agent.attempts import Attempts
from rq_sched.worker.agent.background import Background, first
from rq_sched.worker.agent.cores import Cores
from rq_sched.worker.agent.errands import Errands
from rq_sched.worker.agent.growth import Growth
from rq_sched.worker.agent.lease import Lease
from rq_sched.worker.agent.orders import Orders, fail
from rq_sched.worker.agent.outbox import Outbox
from rq_sched.worker.agent.pool import KEEP, SPARE, Pool
from rq_sched.worker.agent.reconcile import Reconciler
from rq_sched.worker.agent.session import Session, Superseded
from rq_sched.worker.agent.watchdog import Watchdog
from rq_sched.worker.config import DEFAULT_TTL, Assignment, WorkerConfig
from rq_sched.worker.frames import Frame, ParentChannel, Word

log = logging.getLogger("rq_sched.worker")

TERM_SECONDS = 2.0
"""What tasks have between SIGTERM and SIGKILL when the drain at shutdown is over."""
KILLED_SECONDS = 5.0
"""How long killed processes may take to be gone."""
TELL_SECONDS = 5.0
"""How long the last reports may take."""
TRIM_EVERY = 10.0
NO_DESCRIPTORS = "the worker can open no more files"
PATIENCE = (0.5, 10.0)
"""Seconds, least and most, that a call may take before its connection counts as dead."""


def main(config: WorkerConfig, sock: socket.socket, assignment: Assignment, cores: Sequence[int], unpinned: str) -> int:
    """Be the agent, in a process just forked; the exit code. ``unpinned``: why there are no cores."""
    return asyncio.run(Agent(config, sock, assignment, cores, unpinned).run())


def _allow_many_descriptors() -> None:
    """Two for each child: a large machine needs more than most systems give at first."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Agent:
    """The agent of one worker.

    Parameters:
        cores: those that its tasks are pinned to; none: they aren't.
    """

    def __init__(
        self,
        config: WorkerConfig,
        sock: socket.socket,
        assignment: Assignment,
        cores: Sequence[int] = (),
        unpinned: str = "",
    ) -> None:
        self._config = config
        self._sock = sock
        self._assignment = assignment
        self._cores = cores
        self._unpinned = unpinned

    async def run(self) -> int:
        """Work until told to stop; the exit code."""
        self._build()
        _allow_many_descriptors()
        self._background.serve(self._give_signs_of_life)
        try:
            await self._until_close(self._report_previous(), TELL_SECONDS)
            if not self._assignment.only_leave:
                await self._until_close(self._come())
        except RqSchedError as error:
            self._parent.send((Word.REFUSED, error.code, str(error)))
            return 1
        if self.session.joined:
            if self._cores:
                log.info("tasks are pinned to cores", extra={"cores": ",".join(map(str, self._cores))})
            else:
                log.info("tasks aren't pinned to cores: %s", self._unpinned)
            self.pool.make_spare()
            bell = self._store.keys.bell(self._config.node_id)
            for service in (
                self.lease.beat,
                self.lease.watch,
                self.reconciler.run,
                self.orders.fetch,
                lambda: self.orders.listen(self._link, bell),
                self.outbox.run,
                lambda: self.attempts.faults.run(self.session, self._store),
                self._trim,
                self._rejoin,
            ):
                self._background.serve(service)
            await self._closing.wait()
            await self._close()
        elif self.session.incarnation:  # stopped while joining: Redis may have heard of it
            await self._leave()
        return 0

    def _build(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._background = Background(loop)
        config = self._config
        self._closing, self._at_once = asyncio.Event(), asyncio.Event()
        self._parent = ParentChannel(loop, self._sock, self._received, self._parent_lost)
        patience = min(max(config.ttl / 2, PATIENCE[0]), PATIENCE[1])
        self.outage = Outage()
        self._store = store = Store(config.namespace)
        self._link = AsyncLink(
            config.url,
            outage=self.outage,
            answer_seconds=patience / 2,
            patience=patience,
            greeting=store.check_schema,
        )
        self.session = Session(config, self._link, store, lambda name: self._parent.send((Word.INCARNATION, name)))
        most = (config.max_tasks_per_child or ENDLESS) if system.LINUX else 1  # elsewhere nothing tells what one leaves
        keep, spare = min(KEEP, config.total.cpu), min(SPARE, config.total.cpu) if most == 1 else 0
        self.pool = Pool(loop, self._parent.send, keep, most, spare)
        self.outbox = Outbox(
            self.session,
            store,
            lambda: self.orders.seen,
            lambda orders: self.orders.take(orders),
            lambda: self.attempts.all.values(),
            self._lasts,
            lambda attempt: self.attempts.launch(attempt),
        )
        errands = Errands(self.session, store, lambda: self.attempts, self._background.spawn)
        cores = Cores(self._cores) if self._cores else None
        self.attempts = attempts = Attempts(loop, self.pool, self.outbox, errands, config.grace, cores)
        if config.signing_key is not None:
            attempts.signer = Signer(config.signing_key, config.namespace)
        self.watchdog = Watchdog(loop, attempts, errands, config.enforce_memory, config.memory_floor)
        self.growth = Growth(self.session, store, attempts, self._background.spawn, config.total.cpu)
        attempts.watchers.extend((self.watchdog, self.growth))
        self.orders = Orders(
            self.session,
            store,
            attempts.start,
            attempts.stop,
            attempts.resize,
            lambda: self.lease.valid,
            lambda order: fail(order, attempts, self.outbox),
            self.pool.renew,
        )
        self.reconciler = Reconciler(self.session, store, self.orders, self.outbox, lambda: self.attempts, config.grace)
        kill = config.on_lost_redis == "kill"
        self.lease = Lease(
            self.session, store, self.orders, self.reconciler, config.ttl, kill, self._fence, attempts.faults.on_state
        )

    def _lasts(self, attempt: Attempt) -> None:
        self.watchdog.lasts(attempt)
        self.growth.lasts(attempt)

    # -- coming -----------------------------------------------------------------------------------

    async def _report_previous(self) -> None:
        """What died before us."""
        previous = self._assignment.previous
        if previous is not None:
            await self._insist(lambda: self.session.leave(previous, crashed=True))
            log.info("reported the death of the previous agent", extra={"incarnation": previous})

    async def _come(self) -> None:
        await asyncio.sleep(self._assignment.delay)
        await self._insist(self._join)

    async def _join(self) -> None:
        self.orders.reset()  # first: who asks from now on asks for the new incarnation
        sent = self.lease.now()
        await self.session.join()
        self.lease.renew(sent)

    async def _insist(self, step: Any) -> None:
        """Do a step; while Redis is away try again, unless this is the first start, when a person is waiting. (No
        person has to start the schedulers first: they load the functions.)"""
        failures = 0
        while True:
            try:
                await step()
                return
            except RedisUnavailable as error:
                wanted = self._assignment.patient or isinstance(error, FunctionsMissing)
                if not wanted or isinstance(error, OtherSchema):
                    raise
                failures += 1
                if failures == 1 and not is_outage(error):
                    log.warning("%s; trying again", error)
                await asyncio.sleep(backoff(failures))

    async def _rejoin(self) -> None:
        """When the incarnation was given up: nothing of it may run on, then a new one begins."""
        while True:
            await self.session.lost.wait()
            log.warning(
                "this registration was given up: ending all tasks, joining anew",
                extra={"tasks": len(self.attempts.all)},
            )
            self._assignment.patient = True
            self.attempts.stop_all(Ending.DROPPED, 0)
            await self.attempts.empty.wait()
            self.outbox.clear()
            try:
                await self._insist(lambda: self.session.leave(self.session.incarnation, crashed=False))
                if self._closing.is_set():
                    return
                await self._join_again()
            except (NodeAlive, OtherSchema, FeatureMissing) as error:
                self._parent.send((Word.REFUSED, error.code, str(error)))
                self._loop.call_later(0.1, os._exit, 1)
                return

    async def _join_again(self) -> None:
        """Join anew. After a failover that lost writes Redis may hold an older registration of ours for alive: until
        that has run out (with the grace after an outage: two times to live), wait. Where its record doesn't say it any
        more, the time to live is taken to be the default."""
        until = self._loop.time() + 2 * max(self._config.ttl, DEFAULT_TTL) + 1.0
        while True:
            try:
                return await self._insist(self._join)
            except NodeAlive:
                if self._loop.time() >= until:
                    raise
                await asyncio.sleep(min(self._config.ttl / 5, 1.0))

    # -- the parent -------------------------------------------------------------------------------

    def _received(self, frame: Frame) -> None:
        word = frame[0]
        if word == Word.FORKED:
            _, number, pid, subreaper = frame
            sock, output = self._parent.descriptors[:2]
            del self._parent.descriptors[:2]
            if sock < 0:  # no room for them here: its end is told as that of one that never came to be
                self._parent.send((Word.SIGNAL, number, int(signal.SIGKILL)))
                return
            self.pool.forked(number, pid, subreaper, socket.socket(fileno=sock), output)
        elif word == Word.EXITED:
            _, number, status, why = frame
            if not self.pool.exited(number, status):
                self.attempts.fork_failed(number, why or NO_DESCRIPTORS)
        elif word == Word.CLOSE:
            if frame[1]:
                self._at_once.set()
            self._closing.set()
        elif word == Word.RELOAD:
            self.pool.renew()

    def _parent_lost(self) -> None:
        """The parent was killed. The subreapers kill the children and what they have started, then they end."""
        log.error("the parent died: ending all tasks")
        self._background.spawn(self._leave_alone())

    async def _leave_alone(self) -> None:
        """End, whatever happens: an agent without a parent would hold its tasks' places for ever."""
        try:
            children = list(self.pool.children.values())
            for child in children:
                system.signal_group(child.pid, signal.SIGKILL)
            deadline = self._loop.time() + KILLED_SECONDS
            while any(child.runs() for child in children) and self._loop.time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            if self.session.incarnation:
                await self.session.leave(self.session.incarnation, crashed=True)
        except Exception as error:
            log.error("the node's end could not be reported: %s", error)
        finally:
            os._exit(1)

    async def _give_signs_of_life(self) -> None:
        config = self._config
        reporter = Reporter("worker", config.node_id, config.health_file, url=config.url, namespace=config.namespace)
        noted = -EVERY
        try:
            while True:
                mood, message = self._mood()
                self._parent.send((Word.ALIVE, str(mood), message))
                if self._loop.time() - noted >= EVERY:
                    noted = self._loop.time()
                    self.attempts.faults.check_parent()
                    reporter.note(mood, message)
                await asyncio.sleep(min(self._config.tick, EVERY))
        finally:
            reporter.remove()

    def _mood(self) -> tuple[Mood, str]:
        """How we are (``health.py``)."""
        now = self._loop.time()
        if self.outage.since is not None:
            return Mood.WAITING, self.outage.error
        if not self.session.joined:
            return Mood.WAITING, "not joined yet"
        if not self.lease.valid:
            return Mood.STUCK, "no heartbeat got through"
        if self.orders.behind is not None and now - self.orders.behind > LATE:
            return Mood.STUCK, f"orders wait for {now - self.orders.behind:.0f} s"
        if not self.outbox.empty.is_set() and now - self.outbox.last_progress > LATE:
            return Mood.STUCK, f"reports wait for {now - self.outbox.last_progress:.0f} s"
        if failing := self._background.failing():
            return Mood.STUCK, failing
        if self.attempts.faults.text:
            return Mood.FAULTY, self.attempts.faults.text
        return Mood.OK, ""

    # -- the end ----------------------------------------------------------------------------------

    async def _close(self) -> None:
        """Drain within the grace, then stop what still runs and give it back, tell, leave."""
        attempts, config = self.attempts, self._config
        log.info("draining", extra={"tasks": len(attempts.all), "grace": config.grace})
        attempts.closing = True
        if not self._at_once.is_set():
            self._background.spawn(self._say_closing())
            await first(attempts.empty.wait(), self._at_once.wait(), seconds=config.grace)
        if attempts.all and not self._at_once.is_set():
            attempts.stop_all(Ending.RETURNED, TERM_SECONDS)
            await first(attempts.empty.wait(), self._at_once.wait(), seconds=TERM_SECONDS + KILLED_SECONDS)
        if attempts.all:
            attempts.stop_all(Ending.RETURNED, 0)
            await first(attempts.empty.wait(), seconds=KILLED_SECONDS)
        await first(self.outbox.empty.wait(), seconds=TELL_SECONDS)
        left = not attempts.all and self.outbox.empty.is_set() and await self._leave()
        log.info("node left" if left else "node ended, but could not say so")
        self.watchdog.close()
        await self._background.close()

    async def _say_closing(self) -> None:
        """No new tasks; those that haven't begun go back. (Before Redis knows, they would come again at once.)"""
        failures = 0
        while True:
            try:
                await self.session.ask(self._store.node_closing)
                return self.attempts.return_waiting()
            except Superseded:
                return None
            except RqSchedError:
                failures += 1
                await asyncio.sleep(backoff(failures))

    async def _leave(self) -> bool:
        if self.session.lost.is_set():
            return True  # it is dead already
        try:
            await self.session.leave(self.session.incarnation, crashed=False)
        except RqSchedError as error:
            log.warning("%s", error)
            return False
        return True

    # -- services ---------------------------------------------------------------------------------

    def _fence(self) -> None:
        self.attempts.stop_all(Ending.RETURNED, 0)

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(TRIM_EVERY)
            self.pool.trim()

    async def _until_close(self, work: Coroutine[Any, Any, None], seconds: float = 0) -> None:
        """Do this, or as much of it as there is time for until the worker is stopped, and some seconds more."""
        task, closing = asyncio.ensure_future(work), asyncio.ensure_future(self._closing.wait())
        await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not task.done() and seconds:
            await asyncio.wait({task}, timeout=seconds)
        if task.done():
            task.result()
        task.cancel()
