"""Which cores of the machine each attempt may use: sets that don't overlap, of which one keeps as many as it can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Cores:
    """The cores of a node, given to owners (tokens of attempts). Pure.

    What Redis allots never comes to more than there is, but news of it may come out of order: a task may start before
    we hear how another gave back. Who doesn't get all that is due gets what is left, or, if there is nothing, may use
    any core until ``settle`` finds more.

    >>> cores = Cores(range(4))
    >>> cores.give("a", 2), cores.give("b", 1), cores.give("a", 1), cores.give("b", 3)
    ((0, 1), (2,), (0,), (1, 2, 3))
    """

    def __init__(self, cores: Iterable[int]) -> None:
        self.all = tuple(sorted(cores))
        self._free = set(self.all)
        self._by_owner: dict[str, tuple[int, ...]] = {}
        self._short: dict[str, int] = {}  # owners with less than is due to them, and what is

    def give(self, owner: str, count: int, prefer: Sequence[int] = ()) -> tuple[int, ...]:
        """From now on the owner has ``count`` cores: those that it has, or else ``prefer``, as far as possible. Who has
        none of its own may use any.

        Returns:
            Those that it may use.
        """
        free = self._free
        if count and owner not in self._by_owner and len(prefer) == count and free.issuperset(prefer):
            free.difference_update(prefer)  # the common case: one task like the other
            self._by_owner[owner] = found = tuple(prefer)
            return found
        had = self._by_owner.get(owner, ())
        kept = had[:count] if had else tuple(core for core in prefer if core in free)[:count]
        free.update(had)
        free.difference_update(kept)
        more = self._choose(count - len(kept))
        free.difference_update(more)
        self._by_owner[owner] = tuple(sorted((*kept, *more)))
        self._short.pop(owner, None)
        if len(self._by_owner[owner]) < count:
            self._short[owner] = count
        return self.of(owner)

    def of(self, owner: str) -> tuple[int, ...]:
        """Those that the owner may use."""
        return self._by_owner.get(owner) or self.all

    def take_back(self, owner: str) -> None:
        """The owner needs none any more; harmless if it had none."""
        self._free.update(self._by_owner.pop(owner, ()))
        self._short.pop(owner, None)

    def settle(self) -> list[str]:
        """After cores came free: who has got what was still due, or some of it."""
        changed = []
        for owner, count in list(self._short.items()):
            before = self._by_owner[owner]
            if self._free:
                self.give(owner, count)
            if self._by_owner[owner] != before:
                changed.append(owner)
        return changed

    def _choose(self, count: int) -> list[int]:
        """Neighbours, as they share caches: the shortest run of free cores that is long enough, else the lowest."""
        if count <= 0:
            return []
        runs: list[list[int]] = []
        for core in sorted(self._free):
            if runs and core == runs[-1][-1] + 1:
                runs[-1].append(core)
            else:
                runs.append([core])
        enough = [run for run in runs if len(run) >= count]
        if enough:
            return min(enough, key=len)[:count]
        return sorted(self._free)[:count]
