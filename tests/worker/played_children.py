"""Attempts whose children, pool and errands the test plays."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from rq_sched.model.orders import Start, Stop
from rq_sched.model.resources import Resources
from rq_sched.store.answers import EndReport
from rq_sched.worker.agent.attempts import Attempt, Attempts
from rq_sched.worker.agent.waiting import Pace
from rq_sched.worker.frames import Word


def completed(token: str = "k1", spent: str = "", kept: int = 0) -> list[Any]:
    return [Word.DONE, token, None, b"\xc0", None, None, spent, kept]


class FakeOutbox:
    def __init__(self) -> None:
        self.reports: list[EndReport] = []
        self.reported: dict[str, None] = {}
        self.progress: dict[str, float] = {}
        self.put_off: set[str] = set()

    def gave_up(self, token: str) -> bool:
        return token in self.put_off

    def add(self, report: EndReport) -> None:
        self.reports.append(report)
        self.reported[report.token] = None

    def watch(self) -> None: ...

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(report.token, report.outcome) for report in self.reports]


class FakeWatcher:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def over(self, attempt: Attempt) -> None:
        self.heard.append("over")

    def shrunk(self, attempt: Attempt) -> None:
        self.heard.append("shrunk")


class FakeChannel:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed = False
        self.unread = False

    def send(self, frame: Any) -> bool:
        self.sent.append(frame)
        return not self.closed


class FakeChild:
    def __init__(self) -> None:
        self.pid = 1
        self.attempt: Attempt | None = None
        self.tasks_left = 1000
        self.channel = FakeChannel()
        self.signals: list[int] = []
        self.gone = False
        self.number = 0
        self.base = 0

    def drain_before(self) -> None: ...

    def alone(self) -> bool:
        return True


class FakePool:
    def __init__(self, idle: int) -> None:
        self.idle = [FakeChild() for _ in range(idle)]
        self.starting = 0
        self.asked = 0
        self.listener: Any = None

    def take(self) -> FakeChild | None:
        return self.idle.pop() if self.idle else None

    def put_back(self, child: FakeChild) -> None:
        self.idle.append(child)

    def grow(self) -> int:
        self.starting += 1
        self.asked += 1
        return self.asked

    def retire(self, child: FakeChild) -> None:
        child.channel.closed = True

    def signal(self, child: FakeChild, signum: int) -> None:
        child.signals.append(signum)

    def end(self, child: FakeChild) -> None:
        if child in self.idle:
            self.idle.remove(child)
        self.signal(child, signal.SIGKILL)


class FakeErrands:
    def __init__(self) -> None:
        self.fetched: list[Attempt] = []
        self.resized: list[Any] = []

    def fetch(self, attempt: Attempt) -> None:
        self.fetched.append(attempt)

    def fetch_results(self, attempt: Attempt) -> None:
        self.fetched.append(attempt)

    def resize(self, attempt: Attempt, cpu: int | None, memory: int | None) -> None:
        self.resized.append((attempt, cpu, memory))


class Scene:
    def __init__(self, idle: int = 1, pace: Pace | None = None) -> None:
        self.pool, self.outbox, self.errands = FakePool(idle), FakeOutbox(), FakeErrands()
        loop = asyncio.get_running_loop()
        self.attempts = Attempts(loop, self.pool, self.outbox, self.errands, 10.0, pace=pace)  # type: ignore[arg-type]
        self.number = 0

    def start(self, token: str = "k1", *, payload: int = 0, memory: int = 64, uses: bool = False) -> Start:
        self.number += 1
        need = Resources(1, memory)
        order = Start(self.number, token, f"task-{token}", 1, "m:f", b"", payload, need, need, None, "cpu", uses=uses)
        self.attempts.start(order)
        return order

    def stop(self, token: str = "k1", grace: float = 10.0) -> None:
        self.number += 1
        self.attempts.stop(Stop(self.number, token, f"task-{token}", grace))

    def child(self, token: str = "k1") -> FakeChild:
        found: Any = self.attempts.all[token].child
        assert isinstance(found, FakeChild)
        return found

    def says(self, token: str, frame: list[Any]) -> None:
        self.attempts.said(self.child(token), frame)  # type: ignore[arg-type]

    def comes(self, number: int) -> FakeChild:
        """The child that was asked for under this number."""
        child = FakeChild()
        child.number = number
        self.pool.starting -= 1
        self.attempts.ready(child)  # type: ignore[arg-type]
        return child

    def dies(self, child: FakeChild, status: int = signal.SIGKILL) -> None:
        self.attempts.gone(child, status)  # type: ignore[arg-type]


def in_loop(scene: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The test is a coroutine."""

    def test() -> None:
        asyncio.run(scene())

    test.__name__, test.__doc__ = scene.__name__, scene.__doc__
    return test
