"""The attempts that wait for a child, and how many children are woken for them: few while tasks are short.

A child that has slept while sixty others worked takes about twice as long for a short task as one that has just ended
one. So no more than a few begin at a time; what waits gets the child that ends next. Who has run for two milliseconds
isn't short, and doesn't count. And if for a millisecond no child ends, all that waits begins.
"""

from __future__ import annotations

import asyncio
import collections
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from rq_sched.worker.agent.attempt import Attempt, Child

if TYPE_CHECKING:
    from rq_sched.worker.agent.pool import Pool

PATIENCE = 0.001
"""Seconds in which a child should end its task; else those that rest are woken."""
SHORT = 0.002
"""Seconds that a short task runs at most."""
PER_CORE = 4
"""Short tasks that run at a time, for each core: while the agent hears of an end, others must have something to do."""


def short_at_a_time() -> int:
    """How many short tasks run at a time on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return PER_CORE * cores


class Pace:
    """Says whether another child may be woken.

    Parameters:
        most: short tasks that run at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun: collections.deque[Attempt] = collections.deque()  # lately; some of them have ended since
        self._young = 0  # those that run
        self.ends = 0
        """Tasks that children have ended so far."""

    def began(self, attempt: Attempt) -> None:
        """An attempt was given to a child."""
        self._age(attempt.begun)
        attempt.young = True
        self._young += 1
        self._begun.append(attempt)

    def ended(self, attempt: Attempt) -> None:
        """Its child has ended it."""
        self.ends += 1
        self.forget(attempt)

    def forget(self, attempt: Attempt) -> None:
        """It doesn't run any more; harmless if it didn't."""
        if attempt.young:
            attempt.young = False
            self._young -= 1

    def allows(self, now: float) -> bool:
        """Whether a child that rests may begin a task."""
        if self._young < self._most:
            return True
        self._age(now)
        return self._young < self._most

    def _age(self, now: float) -> None:
        begun = self._begun
        while begun and (not begun[0].young or now - begun[0].begun > SHORT):
            self.forget(begun.popleft())


class Waiting(collections.deque[Attempt]):
    """The attempts that wait for a child, the next one first.

    Parameters:
        begin: gives an attempt to a child.
        may: whether any may begin now.
        pace: hears of those that began and ended; it says how many may begin.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        begin: Callable[[Attempt, Child], None],
        may: Callable[[], bool],
        pace: Pace,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._pool = pool
        self._begin = begin
        self._may = may
        self._alarm: asyncio.TimerHandle | None = None
        self.pace = pace

    def wake(self, at_once: bool = False) -> None:
        """Give what waits to children that rest; if there are none, ask for more.

        Parameters:
            at_once: all of it, whatever the pace.
        """
        while self and self._may():
            if not (at_once or self.pace.allows(self._loop.time())):
                if self._alarm is None:
                    self._alarm = self._loop.call_later(PATIENCE, self._rings, self.pace.ends)
                return
            child = self._pool.take()
            if child is None:
                while self._pool.starting < len(self):
                    self._pool.grow()
                return
            self._begin(self.popleft(), child)

    def _rings(self, ends: int) -> None:
        self._alarm = None
        self.wake(at_once=self.pace.ends == ends)
