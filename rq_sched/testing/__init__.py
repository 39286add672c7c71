"""For tests of your own tasks: a cluster inside the test, without a server, without processes, without waiting.

>>> from rq_sched import testing
>>> with testing.cluster(cpu=4, memory=1024) as client:
...     client.submit("math:sqrt", 2.0, cpu=2).result()
1.4142135623730951

The store and its Lua scripts are the real ones, on ``fakeredis[lua]``; only the node is played. So order, needs,
retries, cancelling, ids and every refusal are as in production. What is different:

* A task runs in the test's process, one at a time, when the test waits for something (``result``, ``wait``,
  ``as_completed``) or says ``client.run()``. Until then it can be looked at, held, cancelled.
* Time stands still, and jumps where a task waits for it (a delay, the back-off before a retry, ``advance``). Schedules
  make their tasks when the test says ``advance``.
* When nothing can run any more, waiting raises ``WaitTimeout`` at once, and says what is stuck.
* Memory and time limits aren't enforced, output isn't captured, and every function is allowed. Of where a task runs
  only its environment (``env``) is as asked for: folder and standard streams are the test's.

While the cluster is open it serves ``f.submit()`` of functions marked with ``@task``, too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from rq_sched.client.awaiting import AsyncClient
from rq_sched.client.blocking import Client
from rq_sched.client.decorator import set_default_client
from rq_sched.client.flows import Flows
from rq_sched.errors import WaitTimeout
from rq_sched.link import AsyncEars, AsyncLink, Ears, Link
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.labels import parse_labels
from rq_sched.model.offers import Offers, parse_offers
from rq_sched.model.resources import Resources, parse_cpu, parse_memory
from rq_sched.model.schedule import FEATURE
from rq_sched.model.task import TaskInfo
from rq_sched.store import Store
from rq_sched.testing.node import InlineNode

if TYPE_CHECKING:
    from rq_sched.link import Op

T = TypeVar("T")

IDLE = 0.02
"""Real seconds that a thread waits for others, when there is no task at all that hasn't ended."""
FAR = 10.0**6
"""Seconds: longer than any test lets pass."""


class _Clock:
    """Virtual time: stands still unless it is moved."""

    def __init__(self) -> None:
        self._now = time.time()

    def seconds(self) -> float:
        return self._now

    def ms(self) -> int:
        return int(self._now * 1000)

    def advance(self, seconds: float) -> None:
        self._now += seconds


class _Cluster:
    """The namespace, its nodes and its clock. One thread at a time moves it."""

    def __init__(self, total: Resources, nodes: int, labels: Sequence[str], offers: Offers) -> None:
        self.clock = _Clock()
        self.store = Store("testing", now_ms=self.clock.ms)
        self.link = _InlineLink(self)
        self.flows = Flows(self.store, self.clock.seconds, poll=FAR)  # no doorbell is lost in here
        self._lock = threading.RLock()
        self._next_due: int | None = None
        self._nodes = [
            InlineNode(self.link, self.store, f"node{n}", total, labels, offers) for n in range(1, nodes + 1)
        ]

    def run_next(self) -> bool:
        """Let one thing happen; False if nothing can before time passes."""
        with self._lock:
            if any(node.run_next() for node in self._nodes):
                return True
            promoted = self.link.run(self.store.promote())
            self._next_due = promoted.next_ms
            moved = self.link.run(self.store.make_due()).moved if FEATURE in self.store.in_use else 0
            placed = self.link.run(self.store.place())
            if placed.releasing:
                self.link.run(self.store.release())
            return promoted.promoted > 0 or moved > 0 or placed.placed > 0 or placed.releasing

    def pass_time(self, most: float) -> bool:
        """Jump to the next thing that is due, at most so far; False if there is nothing to wait for.

        Raises:
            WaitTimeout: tasks are left that nothing will ever run.
        """
        with self._lock:
            if self._next_due is not None:
                self.clock.advance(min(most, max(0.001, (self._next_due - self.clock.ms()) / 1000)))
                return True
            left = self._left()
            if left and not self.run_next():  # another thread may just have submitted one of them
                raise WaitTimeout(f"nothing can run any more: {'; '.join(left)}")
            return bool(left)

    def _left(self) -> list[str]:
        """Some tasks that haven't ended, and why. (One that runs may wait for another.)"""
        found = [info.task_id for info in self.link.run(self.store.list_tasks(limit=3)).tasks if not info.state.final]
        return [_stuck(info) for info in self.link.run(self.store.status(found)) if info]


def _stuck(info: TaskInfo) -> str:
    reason = f" ({info.reason})" if info.reason else ""
    need = Resources(info.cpu_needed, info.memory_needed)
    labels = f", labels {'+'.join(info.require)}" if info.require else ""
    more = "".join(f", {name} {amount}" for name, amount in info.resources.items())
    return f"task {info.task_id} is {info.state}{reason}, needs {need}{more}{labels}"


class _InlineLink(Link):
    """A link to fakeredis. To listen is to let the cluster go on."""

    def __init__(self, cluster: _Cluster) -> None:
        super().__init__("redis://fakeredis", client=_fake_redis())
        self._cluster = cluster

    def hear(self, *channels: str) -> Ears:
        return _InlineEars(super().hear(*channels), self._cluster)

    def hears(self, ears: Ears) -> bool:
        return super().hears(ears.inner) if isinstance(ears, _InlineEars) else super().hears(ears)

    def stop(self, ears: Ears) -> None:
        super().stop(ears.inner if isinstance(ears, _InlineEars) else ears)


class _InlineEars(Ears):
    """Instead of waiting for a message, does what leads to one."""

    def __init__(self, inner: Ears, cluster: _Cluster) -> None:
        self.inner = inner
        self.messages = inner.messages
        self._cluster = cluster

    def get(self, timeout: float) -> tuple[str, bytes] | None:
        while (message := self.inner.get(0)) is None and self._cluster.run_next():
            pass
        if message is None and not self._cluster.pass_time(timeout):
            message = self.inner.get(min(timeout, IDLE))
        return message


def _fake_redis() -> Any:
    if not find_spec("fakeredis") or not find_spec("lupa"):
        raise ImportError("rq_sched.testing needs fakeredis with Lua: pip install 'fakeredis[lua]'")
    import fakeredis

    return fakeredis.FakeRedis(server=fakeredis.FakeServer(), version=(7,), protocol=2)


class InlineClient(Client):
    """What ``cluster()`` gives: a ``Client`` that can also say when things happen."""

    def __init__(self, cluster: _Cluster) -> None:
        self._cluster = cluster
        self._use(cluster.link, cluster.flows)

    def run(self) -> None:
        """Run everything that can run now, also what that submits, but nothing that has to wait for a time."""
        while self._cluster.run_next():
            pass

    def advance(self, duration: Duration) -> None:
        """Let time pass, in seconds or such as ``"10m"``: what is due then can run."""
        self._cluster.clock.advance(parse_duration(duration, "the time to pass"))

    def _pause(self, seconds: float) -> None:
        if not self._cluster.run_next():
            self.advance(seconds)


class InlineAsyncClient(AsyncClient):
    """What ``async_cluster()`` gives."""

    def __init__(self, inner: InlineClient) -> None:
        self._inner = inner
        self._use(_InlineAsyncLink(inner._link), inner._flows)

    async def run(self) -> None:
        """See ``InlineClient.run``."""
        await asyncio.to_thread(self._inner.run)

    def advance(self, duration: Duration) -> None:
        """See ``InlineClient.advance``."""
        self._inner.advance(duration)

    async def _pause(self, seconds: float) -> None:
        await asyncio.to_thread(self._inner._pause, seconds)


class _InlineAsyncLink(AsyncLink):
    """The same link for coroutines. Tasks run in another thread, as they may not block the loop or be inside it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.url = link.url
        self._checked = True

    async def run(self, op: Op[T], within: float | None = None, follows: bool = False) -> T:
        return self._link.run(op)

    async def hear(self, *channels: str) -> AsyncEars:
        return _InlineAsyncEars(self._link.hear(*channels))

    def hears(self, ears: AsyncEars) -> bool:
        return isinstance(ears, _InlineAsyncEars) and self._link.hears(ears.inner)

    async def stop(self, ears: AsyncEars) -> None:
        if isinstance(ears, _InlineAsyncEars):
            self._link.stop(ears.inner)

    async def close(self) -> None:
        self._link.close()


class _InlineAsyncEars(AsyncEars):
    def __init__(self, inner: Ears) -> None:
        self.inner = inner
        self.messages = inner.messages

    async def get(self, timeout: float) -> tuple[str, bytes] | None:
        return await asyncio.to_thread(self.inner.get, timeout)


@contextmanager
def cluster(
    cpu: int = 4,
    memory: int | str = 4096,
    *,
    nodes: int = 1,
    labels: Sequence[str] = (),
    resources: Mapping[str, Any] | Sequence[str] = (),
) -> Iterator[InlineClient]:
    """A cluster of its own for a test, and a client for it.

    Parameters:
        cpu: cores of each node.
        memory: MB of each node, or such as ``"2G"``.
        nodes: how many.
        labels: what each carries, for tasks that require them.
        resources: what each has for tasks that ask for it: ``{"gpu": 4}``, ``["gpu=[0,2]"]``.

    Raises:
        ImportError: fakeredis or its Lua isn't installed.
        InvalidResources: below 1.

    >>> with cluster(cpu=1) as client:
    ...     late, soon = client.submit("math:sqrt", 4), client.submit("math:sqrt", 9, priority=5)
    ...     [task == soon for task in client.as_completed([late, soon])]
    [True, False]
    """
    total = Resources(parse_cpu(cpu), parse_memory(memory))
    inner = _Cluster(total, parse_cpu(nodes, "nodes"), parse_labels(labels), parse_offers(resources))
    client = InlineClient(inner)
    before = set_default_client(client)
    try:
        yield client
    finally:
        set_default_client(before)
        client.close()


@asynccontextmanager
async def async_cluster(
    cpu: int = 4,
    memory: int | str = 4096,
    *,
    nodes: int = 1,
    labels: Sequence[str] = (),
    resources: Mapping[str, Any] | Sequence[str] = (),
) -> AsyncIterator[InlineAsyncClient]:
    """The same with an ``AsyncClient``. Parameters and errors: ``cluster``.

    >>> async with async_cluster(cpu=1) as client:  # doctest: +SKIP
    ...     await (await client.submit("math:sqrt", 4)).result()
    2.0
    """
    with cluster(cpu, memory, nodes=nodes, labels=labels, resources=resources) as client:
        yield InlineAsyncClient(client)
