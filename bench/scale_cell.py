"""A thousand nodes as coroutines: they speak the real protocol, but their tasks only take time."""

from __future__ import annotations

import asyncio
import random
import resource
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from rq_sched.errors import RqSchedError, StaleIncarnation
from rq_sched.link import AsyncLink
from rq_sched.link.outage import is_outage
from rq_sched.model.orders import Order, Start
from rq_sched.model.resources import Resources
from rq_sched.process.backoff import backoff
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from rq_sched.store.order_records import ring_of
from rq_sched.worker.agent.lease import BEAT
from rq_sched.worker.agent.outbox import BATCH, START_AFTER, START_WITH

LINES = 64
"""Connections that the nodes share."""


def allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Node:
    """One node: registers, sends heartbeats, takes orders when the doorbell or a heartbeat says so, reports starts and
    ends, one call at a time, as an agent does."""

    def __init__(self, cell: Cell, name: str) -> None:
        self._cell = cell
        self._name = name
        self._incarnation = f"i{random.randrange(1 << 40):x}"
        self._seen = 0
        self._rung = True
        self._something = asyncio.Event()
        self._ended: deque[EndReport] = deque()
        self._starts: list[str] = []
        self._starts_due = self._end_told = 0.0
        self.running = 0
        self.told = 0
        """Ends that were recorded."""
        self.registered = False
        """Whether it has registered."""
        self.dead = False
        """Set from outside: it stops at once, and tells nobody."""

    def ring(self, ordered: int) -> None:
        """The doorbell."""
        if ordered > self._seen:
            self._rung = True
            self._something.set()

    async def live(self) -> None:
        """Until dead."""
        cell, store = self._cell, self._cell.store
        loop = asyncio.get_running_loop()
        await self._ask(store.node_register, cell.total, ttl=cell.ttl)
        self.registered = True
        beat = loop.time() + cell.ttl * BEAT * random.random()
        try:
            while not self.dead:
                if self._ended:
                    await self._finish()
                elif self._rung:
                    self._rung = False
                    self._take(await self._ask(store.node_poll, acked=self._seen))
                elif self._starts and loop.time() >= self._starts_due:
                    await self._ask(store.task_start, self._next_starts())
                elif loop.time() < beat:
                    self._something.clear()
                    timer = loop.call_at(min(beat, self._starts_due) if self._starts else beat, self._something.set)
                    await self._something.wait()
                    timer.cancel()
                if loop.time() >= beat:
                    heartbeat = await self._ask(store.node_heartbeat, acked=self._seen)
                    self.ring(heartbeat.ordered)
                    beat = loop.time() + cell.ttl * BEAT * random.uniform(0.9, 1.0)
        except StaleIncarnation:
            self.dead = True

    async def _ask(self, make: Callable[..., Generator[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
        failures = 0
        while True:
            try:
                async with self._cell.lines:
                    return await self._cell.link.run(make(self._name, self._incarnation, *args, **kwargs))
            except RqSchedError as error:
                if not is_outage(error):
                    raise
                failures += 1
                await asyncio.sleep(min(backoff(failures), self._cell.ttl * BEAT))

    async def _finish(self) -> None:
        reports = [self._ended.popleft() for _ in range(min(BATCH, len(self._ended)))]
        starts = self._next_starts()
        finished = await self._ask(self._cell.store.task_finish, acked=self._seen, reports=reports, starts=starts)
        self._end_told = asyncio.get_running_loop().time()
        self._cell.ends += len(reports)
        self.told += len(reports)
        self._take(finished.orders)

    def _next_starts(self) -> list[str]:
        starts, self._starts = self._starts[:BATCH], self._starts[BATCH:]
        return starts

    def _take(self, orders: Sequence[Order]) -> None:
        loop = asyncio.get_running_loop()
        for order in orders:
            if order.number <= self._seen:
                continue
            self._seen = order.number
            if isinstance(order, Start):
                self.running += 1
                seconds = self._cell.duration()
                loop.call_later(seconds, self._end, order, seconds)
                if seconds > START_AFTER:
                    loop.call_later(START_AFTER, self._started, order.token)

    def _started(self, token: str) -> None:
        now = asyncio.get_running_loop().time()
        if not self._starts:
            self._starts_due = now + START_WITH if now - self._end_told < START_WITH else now
        self._starts.append(token)
        self._something.set()

    def _end(self, order: Start, seconds: float) -> None:
        self.running -= 1
        self._ended.append(EndReport(order.token, order.task_id, "completed", ran=seconds, result=b"\xc0"))
        self._something.set()


class Cell:
    """All nodes, on one event loop, with one connection that hears all their doorbells."""

    def __init__(self, url: str, store: Store, total: Resources, ttl: float, duration: Callable[[], float]) -> None:
        self.link = AsyncLink(url)
        self.lines = asyncio.Semaphore(LINES)
        self.store = store
        self.total = total
        self.ttl = ttl
        self.duration = duration
        self.nodes: dict[str, Node] = {}
        self.ends = 0
        """Ends that were recorded."""
        self._lives: set[asyncio.Task[None]] = set()
        self._ears: asyncio.Task[None] | None = None

    async def join(self, names: Sequence[str]) -> None:
        """So many nodes at once."""
        for name in names:
            node = self.nodes[name] = Node(self, name)
            life = asyncio.ensure_future(node.live())
            self._lives.add(life)
            life.add_done_callback(self._over)
        if self._ears is not None:
            self._ears.cancel()
        self._ears = asyncio.ensure_future(self._hear())

    def kill(self, names: Sequence[str]) -> None:
        """They stop at once, without a word."""
        for name in names:
            self.nodes.pop(name).dead = True

    async def _hear(self) -> None:
        bells = {self.store.keys.bell(name): node for name, node in self.nodes.items()}
        while True:
            try:
                async with self.link.listen(*bells) as ears:
                    for node in bells.values():
                        node.ring(1 << 50)  # what was missed
                    while True:
                        rung = await ears.get(timeout=60)
                        if rung is not None:
                            bells[rung[0]].ring(ring_of(rung[1]).number)
            except RqSchedError:
                await asyncio.sleep(backoff(1))

    def _over(self, life: asyncio.Task[None]) -> None:
        self._lives.discard(life)
        if not life.cancelled():
            life.result()

    async def close(self) -> None:
        for work in (*self._lives, self._ears):
            if work is not None:
                work.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await self.link.close()
