"""When an allocation should change, judged by what its task was measured to use. Pure: samples and times are passed in.

The worker asks ``target`` after each sample of a running attempt, ``simulate`` does the same in virtual time. What the
policies allow (a task's ``elastic``):

=======  =================================================================================================
``off``  nothing is taken from it
``cpu``  cores below its need that it hasn't used for a while are given back, and asked for again when it
         uses all that it has left
``all``  the same for memory
=======  =================================================================================================

Cores above the need aren't given back here: they count as free for others anyway, and are taken when one wants them.
Memory that a task is about to need is asked for under every policy, up to its maximum: else it would be killed.

One answer never mixes more of the one with less of the other: growth that is refused must not keep what is to be given
back. ``Usage.answered`` notes a refusal, so that the next question asks for less, and not at once.
"""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass

from rq_sched.model.resources import Resources


@dataclass(frozen=True, slots=True)
class Rules:
    """How cautious to be. Times in seconds, memory in MB.

    Parameters:
        cpu_window: for how long cores must have been unused.
        cpu_spare: share of the used cores that is kept on top (1 used core of 4: 2 are kept).
        busy: share of its cores that a task must use to count as using all of them.
        memory_window: for how long the use of memory must not have risen: while it rises, nobody knows where that ends.
        memory_age: and for this share of the time that it was watched, for what rises slowly seems to stay in a short
            one.
        memory_still: by how much, as a share of what it was, it must rise to count as risen.
        memory_spare: share of the peak that is kept on top; at least ``memory_least``.
        memory_floor: share of the need that is always kept.
        memory_step: gives back only this share of the allocation, or more: small change isn't worth a call.
        near: when less than this share of the allocation is left (at least ``near_least``, and at least what the use
            rises by in ``lead`` seconds), more is asked for.
        ask_again: how long to wait after a refusal.
    """

    cpu_window: float = 15.0
    cpu_spare: float = 0.2
    busy: float = 0.9
    memory_window: float = 5.0
    memory_age: float = 0.25
    memory_still: float = 0.02
    memory_spare: float = 0.25
    memory_least: int = 32
    memory_floor: float = 0.125
    memory_step: float = 0.1
    near: float = 0.1
    near_least: int = 12
    lead: float = 1.0
    ask_again: float = 1.0


RULES = Rules()


@dataclass(frozen=True, slots=True)
class Sample:
    """What was used. ``cpu``: cores, on average since the sample before; ``memory``: MB, at this time."""

    at: float
    cpu: float
    memory: float


class Usage:
    """What one attempt was measured to use lately, and how its wishes were answered.

    >>> usage = Usage()
    >>> for second in range(20):
    ...     usage.add(float(second), cpu=0.4, memory=50)
    >>> target(usage, "all", need=Resources(4, 500), allocation=Resources(4, 500), maximum=Resources(4, 500))
    Resources(cpu=1, memory=82)
    """

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.samples: collections.deque[Sample] = collections.deque()
        """Those of ``cpu_window``, and one before it."""
        self.peak = 0.0
        """MB: the most memory that was used."""
        self._level = -math.inf  # the use of memory when it last rose, when that was, and since when it is watched
        self._rose_at = self._began = math.inf
        self.refusals = 0
        """How many wishes in a row were refused."""
        self._ask_from = -math.inf

    def add(self, at: float, cpu: float, memory: float) -> None:
        """A sample; later than those before. About one a second is enough."""
        self.samples.append(Sample(at, cpu, memory))
        while len(self.samples) > 1 and self.samples[1].at <= at - self.rules.cpu_window:
            self.samples.popleft()
        self._began = min(self._began, at)
        self.peak = max(self.peak, memory)
        if memory > self._level + max(self.rules.memory_still * self._level, 1):
            self._level, self._rose_at = memory, at

    def answered(self, at: float, granted: bool) -> None:
        """A wish for more was granted, or refused."""
        self.refusals = 0 if granted else self.refusals + 1
        self._ask_from = -math.inf if granted else at + self.rules.ask_again

    def corrected(self, at: float, memory: float) -> None:
        """So much memory is used: what was told of it before was too much."""
        self.peak = self._level = memory
        self._began = self._rose_at = at

    def may_ask(self, at: float) -> bool:
        """Whether the last refusal is long enough ago."""
        return at >= self._ask_from

    def within(self, window: float) -> list[Sample]:
        """The samples of the last so many seconds; none if it isn't watched for so long."""
        now = self.samples[-1].at if self.samples else 0.0
        if not self.samples or self.samples[0].at > now - window:
            return []
        return [sample for sample in self.samples if sample.at >= now - window]

    @property
    def stays(self) -> bool:
        """Whether its use of memory seems to rise no more."""
        if not self.samples:
            return False
        now = self.samples[-1].at
        return now - self._rose_at >= max(self.rules.memory_window, self.rules.memory_age * (now - self._began))

    @property
    def rise(self) -> float:
        """MB a second by which the use of memory grows, by the last two samples."""
        if len(self.samples) < 2:
            return 0.0
        before, last = self.samples[-2], self.samples[-1]
        return max(0.0, (last.memory - before.memory) / max(last.at - before.at, 0.001))


def target(
    usage: Usage, policy: str, *, need: Resources, allocation: Resources, maximum: Resources
) -> Resources | None:
    """What the allocation should be now; None: as it is.

    Parameters:
        policy: ``off``, ``cpu`` or ``all``.
        need, maximum: what the task was submitted with.
    """
    if not usage.samples:
        return None
    last = usage.samples[-1]
    if usage.may_ask(last.at):
        memory = more_memory(
            last.memory, usage.rise, allocation.memory, maximum.memory, usage.refusals, rules=usage.rules
        )
        if memory is not None:
            return Resources(allocation.cpu, memory)
        if policy != "off" and (cpu := _more_cpu(usage, need.cpu, allocation.cpu)) is not None:
            return Resources(cpu, allocation.memory)
    less_cpu = _less_cpu(usage, need.cpu, allocation.cpu) if policy != "off" else None
    less_memory = _less_memory(usage, need.memory, allocation.memory) if policy == "all" else None
    if less_cpu is None and less_memory is None:
        return None
    return Resources(less_cpu or allocation.cpu, less_memory or allocation.memory)


def uses_all_cpu(usage: Usage, cores: int) -> bool:
    """Whether more than these cores would be used, as far as can be told. Yes while nothing was measured."""
    return not usage.samples or usage.samples[-1].cpu >= usage.rules.busy * cores


def more_memory(
    used: float, rise: float, allocated: int, most: int, refusals: int = 0, rules: Rules = RULES
) -> int | None:
    """MB to ask for because the use comes close to the allocation; None: it doesn't, or it has its maximum.

    Parameters:
        used: MB now.
        rise: MB a second by which it grows.
        refusals: how often that was refused: each time less is asked for.

    >>> more_memory(used=480, rise=0, allocated=500, most=1000)
    720
    """
    if allocated >= most:
        return None
    if allocated - used > max(rules.near * allocated, rules.near_least, rise * rules.lead):
        return None
    extra = max(2 * rules.memory_spare * used, 2 * rules.memory_least, 4 * rise) / (1 << min(refusals, 10))
    return min(most, max(allocated + 1, math.ceil(used + extra)))


def _more_cpu(usage: Usage, need: int, allocated: int) -> int | None:
    if allocated >= need or not uses_all_cpu(usage, allocated):
        return None
    return need if usage.refusals == 0 else allocated + 1


def _less_cpu(usage: Usage, need: int, allocated: int) -> int | None:
    samples = usage.within(usage.rules.cpu_window)
    if not samples:
        return None
    peak = max(sample.cpu for sample in samples)
    keep = max(1, math.ceil(peak * (1 + usage.rules.cpu_spare)))
    return keep if keep < min(need, allocated) else None


def _less_memory(usage: Usage, need: int, allocated: int) -> int | None:
    rules, peak = usage.rules, usage.peak
    if not usage.stays:
        return None
    keep = math.ceil(max(peak + max(rules.memory_spare * peak, rules.memory_least), rules.memory_floor * need))
    return keep if allocated - keep >= max(rules.memory_step * allocated, rules.memory_least) else None
