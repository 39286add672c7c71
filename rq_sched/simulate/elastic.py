"""Release by measurement in virtual time: what an agent does once a second, from what tasks really used.

A workload says only the most that a task used, ``cpu_used`` and ``memory_used``. How it came to that is assumed:

========  ===========================================================================================================
``even``  its use rises evenly in the first half of its run, and stays there
``jump``  its use of memory is half of that from the start, and doubles at a moment of its run that nothing foretells
========  ===========================================================================================================

The same function decides as in the agent (``model/elastic.py``). Memory that was taken from a task and is needed after
all is asked for; a task that doesn't get it is killed, and runs again with its full need. Too few cores only slow a
task down in reality; here its run takes as long as the workload says, so compare CPU with care.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from rq_sched.model.elastic import Usage, target
from rq_sched.model.resources import Resources
from rq_sched.simulate.machines import PlayedAttempt

CLOSELY = 30_000
"""ms from the start in which a run is sampled every second; later ``PARTS`` times in its length."""
PARTS = 200
SECOND = 1000
USAGES = ("even", "jump")
GOLDEN = 0.6180339887498949
"""Its multiples, without their whole parts, are spread evenly in 0..1: the moments of the jumps."""


class UsageMeter:
    """What one attempt uses, as its agent measures it.

    Parameters:
        attempt: of a task whose use is known.
        policy: ``cpu`` or ``all``.
        usage: one of ``USAGES``.
    """

    def __init__(self, attempt: PlayedAttempt, policy: str, usage: str = "even") -> None:
        self.attempt = attempt
        self._policy = policy
        self._jump = attempt.number * GOLDEN % 1 if usage == "jump" else None
        self._usage = Usage()
        self._number = 0

    def next_sample(self, now: int) -> int | None:
        """When (ms) the next sample is due; None: not before the end."""
        row, start = self.attempt.row, self.attempt.start
        step = SECOND if now - start < CLOSELY else max(SECOND, row.duration // PARTS)
        return now + step if now + step < start + row.duration else None

    def used(self, now: int) -> Resources:
        """Cores and MB in use, rounded up."""
        cpu, memory = self._uses(now)
        return Resources(math.ceil(cpu), math.ceil(memory))

    def _uses(self, now: int) -> tuple[float, float]:
        row = self.attempt.row
        part = (now - self.attempt.start) / row.duration
        rising = min(1.0, 2 * part)
        share = rising if self._jump is None else 0.5 if part < self._jump else 1.0
        return rising * (row.cpu_used or 0.0), share * (row.memory_used or 0)

    def number(self) -> int:
        """Of the next wish."""
        self._number += 1
        return self._number

    def wishes(self, now: int) -> Iterator[Resources]:
        """What to ask for after a sample, one after the other; tell ``answered`` of each before taking the next."""
        attempt, row = self.attempt, self.attempt.row
        self._usage.add(now / 1000, *self._uses(now))
        most = row.most or row.need
        wish = target(self._usage, self._policy, need=row.need, allocation=self._held(), maximum=most)
        if wish is not None:
            yield wish
        if self.short(now):  # it is about to be killed: whatever it lacks, at once
            yield Resources(attempt.cpu, min(row.need.memory, max(self.used(now).memory, attempt.memory)))

    def answered(self, now: int, wish: Resources, got: Resources) -> None:
        """The allocation after a wish."""
        before = self._held()
        self.attempt.cpu, self.attempt.memory = got
        if wish.cpu > before.cpu or wish.memory > before.memory:
            self._usage.answered(now / 1000, got.cpu >= wish.cpu and got.memory >= wish.memory)

    def short(self, now: int) -> bool:
        """Whether memory that was taken from it is in use: it would be killed."""
        attempt = self.attempt
        return attempt.memory < attempt.row.need.memory and self.used(now).memory > attempt.memory

    def _held(self) -> Resources:
        return Resources(self.attempt.cpu, self.attempt.memory)
