"""Measures what runs, and gives back what isn't used, as agents do once a second."""

from __future__ import annotations

import heapq

from rq_sched.simulate.cell import Cell
from rq_sched.simulate.elastic import UsageMeter
from rq_sched.simulate.machines import PlayedAttempt
from rq_sched.simulate.reservation import NEVER


class Sampling:
    """The samples that are due, and what follows from them.

    Parameters:
        elastic: ``off``, ``cpu`` or ``all``: what is released by measurement.
        usage: how a task comes to what it used: ``even`` or ``jump`` (see ``elastic.py``).
    """

    def __init__(self, elastic: str, usage: str) -> None:
        self.hurt = 0
        self._elastic, self._usage = elastic, usage
        self._due: list[tuple[int, int, UsageMeter]] = []
        self._unreleased: set[int] = set()

    @property
    def on(self) -> bool:
        return self._elastic != "off"

    def next(self) -> int:
        """When the next sample is due, ms."""
        return self._due[0][0] if self._due else NEVER

    def started(self, attempt: PlayedAttempt) -> None:
        """It is measured from now on, if its use is known."""
        if self.on and attempt.row.memory_used is not None:
            policy = "cpu" if attempt.number in self._unreleased else self._elastic
            self._later(UsageMeter(attempt, policy, self._usage), attempt.start)

    def _later(self, meter: UsageMeter, now: int) -> None:
        at = meter.next_sample(now)
        if at is not None:
            heapq.heappush(self._due, (at, meter.attempt.number, meter))

    def measure(self, cell: Cell, apart: bool) -> None:
        """The samples that are due, one a node; where something else happens at this instant (``apart``), a ms later:
        what a node gives back must not be handed out before all that happens at an instant is known."""
        seen: set[int] = set()
        later = []
        while self._due and self._due[0][0] <= cell.now:
            _, number, meter = heapq.heappop(self._due)
            attempt = meter.attempt
            if attempt.token not in attempt.node.running:
                continue
            if apart or attempt.node.place in seen:
                later.append((cell.now + 1, number, meter))
                continue
            seen.add(attempt.node.place)
            self._sample(cell, meter)
        for entry in later:
            heapq.heappush(self._due, entry)

    def _sample(self, cell: Cell, meter: UsageMeter) -> None:
        attempt = meter.attempt
        for wish in meter.wishes(cell.now):
            meter.answered(cell.now, wish, cell.resize(attempt, meter.number(), wish))
            cell.read_orders(attempt.node)
        if not meter.short(cell.now):
            self._later(meter, cell.now)
            return
        self.hurt += 1
        self._unreleased.add(attempt.number)
        cell.killed(attempt)
