"""Time, and processes that run in it: event loops that are stepped by hand."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from typing import Any

START = 1_000_000.0
"""When a simulation begins, in seconds."""


class Exited(SystemExit):
    """A process has called ``os._exit``."""


class Violated(AssertionError):
    """An invariant doesn't hold."""


class _NoSelector:
    """Nothing comes from outside: a step never waits."""

    def select(self, timeout: float | None) -> list[Any]:
        return []


class Process(asyncio.BaseEventLoop):
    """A process: its coroutines, its timers. It runs only when ``World.step`` lets it.

    Parameters:
        name: for the log.
    """

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self._selector = _NoSelector()
        self._clock_resolution = 1e-9
        self._scheduled: list[Any]
        self._ready: Any
        self.world = world
        self.name = name
        self.alive = True
        self.frozen = False
        self.owner: Any = None
        """What it belongs to: the network asks it whether it is cut off."""
        self._tasks: list[Any] = []
        world.processes.append(self)

    def time(self) -> float:
        return self.world.now

    def _process_events(self, events: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...

    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        """Nobody sends signals here."""

    def create_task(self, coro: Any, **options: Any) -> Any:  # what is left of a killed process ends silently
        task: Any = super().create_task(coro, **options)
        task._log_destroy_pending = False
        self._tasks.append(task)
        if len(self._tasks) > 500:
            self._tasks = [task for task in self._tasks if not task.done()]
        return task

    def begin(self, main: Coroutine[Any, Any, Any], ended: Callable[[asyncio.Task[Any]], None]) -> None:
        """Run a program; ``ended`` hears of its end."""
        self.create_task(main).add_done_callback(ended)

    def due(self) -> float | None:
        """When it wants to run next."""
        if not self.alive or self.frozen:
            return None
        if self._ready:
            return self.world.now
        while self._scheduled and self._scheduled[0]._cancelled:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            self._timer_cancelled_count -= 1
        return float(self._scheduled[0]._when) if self._scheduled else None

    def step(self) -> None:
        """Run what is due."""
        asyncio._set_running_loop(self)
        try:
            self._run_once()
        except Exited as exited:
            self.kill()
            self.world.exited(self, exited)
        finally:
            asyncio._set_running_loop(None)

    _run_once: Callable[[], None]
    _timer_cancelled_count: int

    def kill(self) -> None:
        """SIGKILL: it never runs again."""
        self.alive = False
        if self in self.world.processes:
            self.world.processes.remove(self)
            self.world.dead.append(self)

    def bury(self) -> None:
        """At the very end: close what it has left open, whatever that says."""
        self.set_exception_handler(lambda *_: None)
        for task in self._tasks:
            if not task.done():
                try:
                    task.get_coro().close()
                except (RuntimeError, Exited, Exception):
                    pass  # it wants to wait for something: too late
        self._ready.clear()
        self._scheduled.clear()
        self.close()


LABELLED = 4
"""In each fourth seed nodes carry labels, and tasks require some."""
WITH_ARRAYS = 3
"""In each third seed there are arrays."""
WITH_SCHEDULES = 5
"""In each fifth seed there are schedules."""
WITH_GRAPHS = 4
"""In each fourth seed tasks wait for others."""
WITH_LIMITS = 7
"""In each seventh seed tasks ask for limits."""
IN_A_HURRY = 6
"""In each sixth seed some tasks aren't to wait for ever; and some say where they run, and with what."""


class World:
    """One simulation's time, chance, and processes.

    Parameters:
        seed: everything that is left to chance comes from it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.labels = random.Random(seed) if seed % LABELLED == 0 else None
        """Chance for labels, apart from all other: seeds without labels are the stories that they were before."""
        self.arrays = random.Random(seed) if seed % WITH_ARRAYS == 1 else None
        """Chance for arrays, in the same way."""
        self.schedules = random.Random(seed) if seed % WITH_SCHEDULES == 2 else None
        """Chance for schedules, in the same way."""
        self.graphs = random.Random(seed) if seed % WITH_GRAPHS == 3 else None
        """Chance for tasks that wait for others, in the same way."""
        self.limits = random.Random(seed) if seed % WITH_LIMITS == 4 else None
        """Chance for limits, in the same way."""
        self.hurry = random.Random(seed) if seed % IN_A_HURRY == 5 else None
        """Chance for deadlines and the like, in the same way."""
        self.now = START
        self.steps = 0
        self.processes: list[Process] = []
        self.dead: list[Process] = []
        self.story: list[str] = []
        self.crashed: list[str] = []
        """Processes that ended with an error of ours."""
        self._events: list[tuple[float, float, int, Callable[[], object]]] = []
        self._number = 0

    def tell(self, text: str) -> None:
        """A line of the story, printed when something is wrong."""
        self.story.append(f"{self.now - START:9.3f} {text}")

    def at(self, delay: float, act: Callable[[], object]) -> None:
        """Something happens later. What happens at the same time happens in any order."""
        self._number += 1
        heapq.heappush(self._events, (self.now + delay, self.rng.random(), self._number, act))

    def step(self) -> bool:
        """The next thing that happens; False if nothing ever does."""
        when, who = float("inf"), None
        if self._events:
            when = self._events[0][0]
        for process in self.processes:
            due = process.due()
            if due is not None and (due < when or (due == when and self.rng.random() < 0.5)):
                when, who = due, process
        if when == float("inf"):
            return False
        self.now = max(self.now, when)
        self.steps += 1
        if who is not None:
            who.step()
        else:
            heapq.heappop(self._events)[3]()
        return True

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Go on until that time, or until it is done; says whether it is."""
        while not done():
            if self.now >= until or not self.step():
                return done()
        return True

    def exited(self, process: Process, exited: Exited) -> None:
        """``os._exit`` with 70 is how an agent ends that has failed: a bug."""
        self.tell(f"{process.name} ended itself with {exited.code}")
        if exited.code == 70:
            self.crashed.append(process.name)
        if process.owner is not None:
            process.owner.agent_ended(process)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def close(self) -> None:
        for process in [*self.processes, *self.dead]:
            process.kill()
            process.bury()
