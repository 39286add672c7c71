"""A machine as a test plays it: what its processes use, and what the watchdog makes of that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from unittest import mock

from rq_sched.model.orders import Start
from rq_sched.model.resources import Resources
from rq_sched.worker.agent import watchdog
from rq_sched.worker.agent.attempt import Attempt, Ending
from rq_sched.worker.agent.watchdog import FRESH, Watchdog
from rq_sched.worker.config import MEMORY_FLOOR
from rq_sched.worker.measure import Use

SHARED = 30.0
"""MB of each process that aren't its own."""
By = Callable[[float], float]
"""By the seconds since the scene began: MB, or CPU seconds."""


class Machine:
    """What processes use, as the test plays it, and what becomes of the attempts."""

    def __init__(self, memory: bool = True, floor: int = MEMORY_FLOOR) -> None:
        self.loop = asyncio.get_running_loop()
        self._began = self.loop.time()
        self._own: dict[int, By] = {}
        self._cpu: dict[int, By] = {}
        self._below: dict[int, list[tuple[float, int]]] = {}
        self.attempts = SimpleNamespace(all={}, kill=self._kill)
        self.killed: dict[str, float] = {}
        self.wishes: list[tuple[float, int | None, int | None]] = []
        self.grants: Callable[[], bool] = lambda: True
        self.answers_after = 0.01
        self.quick_looks: list[float] = []
        self.exact_looks: list[float] = []
        self.look_takes = self.exact_takes = 0.0
        self._spent = 0.0
        self.dog = Watchdog(self.loop, self.attempts, self, memory, floor)  # type: ignore[arg-type]

    @property
    def now(self) -> float:
        return round(self.loop.time() - self._began, 3)

    # -- processes: these stand in for ``measure`` and what a child knows -------------------------

    def process(self, pid: int, own: By, cpu: By = lambda _: 0.0, above: int | None = None) -> None:
        """There is a process from now on, perhaps below another one."""
        self._own[pid], self._cpu[pid] = own, cpu
        if above is not None:
            self._below.setdefault(above, []).append((self.now, pid))

    def tree(self, leader: int) -> list[int]:
        found = [leader]
        for pid in found:
            found += [below for since, below in self._below.get(pid, []) if since <= self.now]
        return found

    def quick(self, pids: Iterable[int]) -> Use:
        self.quick_looks.append(self.now)
        self._spent += self.look_takes
        pids = list(pids)
        return Use(sum(self._cpu[pid](self.now) for pid in pids), self.exact(pids, False) + SHARED * len(pids))

    def exact(self, pids: Iterable[int], noted: bool = True) -> float:
        if noted:
            self.exact_looks.append(self.now)
            self._spent += self.exact_takes
        return sum(self._own[pid](self.now) for pid in pids)

    def perf_counter(self) -> float:
        return self._spent

    # -- attempts: these stand in for ``Attempts`` and ``Errands`` --------------------------------

    def watch(
        self,
        name: str,
        used: By,
        need: Resources,
        most: Resources | None = None,
        elastic: str = "off",
        cpu: By = lambda _: 0.0,
    ) -> Attempt:
        """An attempt that has run for a moment."""
        pid = 1000 * (1 + len(self._own))
        self.process(pid, lambda time: FRESH + used(time), cpu)
        attempt = Attempt(Start(1, name, name, 1, "m:f", b"", 0, need, most or need, None, elastic))
        child = SimpleNamespace(pid=pid, base=0, processes=lambda: self.tree(pid))
        attempt.child = child  # type: ignore[assignment]
        self.attempts.all[name] = attempt
        self.dog.lasts(attempt)
        return attempt

    def _kill(self, attempt: Attempt, ending: Ending) -> None:
        assert ending is Ending.OOM
        assert attempt.ending is None
        attempt.ending = ending
        self.killed[attempt.order.token] = self.now

    def adjust(self, attempt: Attempt, cpu: int | None, memory: int | None, then: Callable[[bool], None]) -> None:
        self.wishes.append((self.now, cpu, memory))
        had = attempt.allocation

        def answer() -> None:
            wish = Resources(cpu or had.cpu, memory or had.memory)
            granted = wish.fits(had) or self.grants()
            if granted:
                attempt.allocation = wish
            then(granted)

        self.loop.call_later(self.answers_after, answer)


@contextlib.contextmanager
def played() -> Iterator[Callable[..., Machine]]:
    """Gives what makes the machine, inside the scene; what the watchdog sees is then what is played there."""
    made: list[Machine] = []
    told = SimpleNamespace(
        quick=lambda pids: made[0].quick(pids),
        exact=lambda pids: made[0].exact(pids),
        perf_counter=lambda: made[0].perf_counter(),
    )

    def make(memory: bool = True, floor: int = MEMORY_FLOOR) -> Machine:
        made.append(Machine(memory, floor))
        return made[0]

    with (
        mock.patch.object(watchdog, "measure", told),
        mock.patch.object(watchdog, "time", told),
    ):
        yield make
    made[0].dog.close()


def mb(memory: int) -> Resources:
    return Resources(1, memory)


def steady(amount: float) -> By:
    return lambda _: amount


def rising(rate: float, since: float = 0.0, first: float = 0.0) -> By:
    return lambda time: first + rate * max(0.0, time - since)
