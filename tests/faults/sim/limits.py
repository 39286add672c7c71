"""Limits in the simulation: people ask for them and change them; by the tasks' own records never more is in use."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from rq_sched.link import Op
from rq_sched.model.amounts import limits_in
from rq_sched.store import Store
from rq_sched.store.parts import Record

NAMES = ("api", "db")
ACTIVE = (b"assigned", b"running")


class Limits:
    """What there is, and what people make of it.

    Parameters:
        rng: chance for limits, apart from all other.
    """

    def __init__(self, rng: random.Random, store: Store) -> None:
        self.rng = rng
        self.store = store
        self.most: Counter[str] = Counter()
        """How much of each there ever was."""

    def set(self, name: str, most: int) -> Op[None]:
        self.most[name] = max(self.most[name], most)
        return self.store.limit_set(name, most)

    def act(self) -> Op[None]:
        """Somebody changes one."""
        return self.set(self.rng.choice(NAMES), self.rng.choice([0, 1, 2, 3]))

    def asked(self) -> dict[str, int]:
        """What a task asks for."""
        return self.rng.choice([{}, {"api": 1}, {"api": 1}, {"api": 2}, {"db": 1}, {"api": 1, "db": 2}])

    def left(
        self, tasks: Mapping[str, Record], limits: Mapping[bytes, bytes], kept: Mapping[bytes, bytes]
    ) -> Counter[str]:
        """What is left of each by the tasks' own records; none of one that is kept for somebody.

        Raises:
            AssertionError: the tasks that are somewhere have more together than there ever was.
        """
        used: Counter[str] = Counter()
        for record in tasks.values():
            if record[b"state"] in ACTIVE:
                used.update(limits_in(record[b"class"].decode()))
        for name, number in used.items():
            assert number <= self.most[name], f"{number} of {name} in use, of {self.most[name]} at most"
        free = Counter({name: int(limits.get(name.encode(), -1)) - used[name] for name in NAMES})
        return Counter({n: -99 if kept.get(n.encode(), b"").startswith(b"kept") else left for n, left in free.items()})
