"""Nodes and schedulers of a cluster are killed while it works: what the long runs share."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from rq_sched.model.states import FINAL
from tests.faults.cluster import Cluster

EVERY = 4.0
"""Seconds from one to the next."""


class Kills:
    """Processes whose names begin with ``n`` are nodes; the others are schedulers.

    Parameters:
        launch: starts a node anew, once nothing of it runs any more.
        look: called again and again while there is work.
    """

    def __init__(
        self,
        cluster: Cluster,
        rng: random.Random,
        launch: Callable[[str], None],
        look: Callable[[], object] = lambda: None,
    ) -> None:
        self.cluster = cluster
        self.rng = rng
        self.launch = launch
        self.look = look
        self.count: Counter[str] = Counter()

    def until_ended(self, tasks: int, kill_at: int | None) -> None:
        """Until so many tasks have ended. Meanwhile processes are killed, one after the other, and come back; with
        ``kill_at`` one node alone, once so many tasks have ended."""
        last = time.monotonic()
        while (ended := self.ended()) < tasks:
            self.look()
            if kill_at is not None:
                if not self.count and ended >= kill_at:
                    self.kill("n0")
            elif time.monotonic() - last > EVERY:
                last = time.monotonic()
                self.kill(self.rng.choice(list(self.cluster.processes)))
            time.sleep(0.02)

    def kill(self, name: str) -> None:
        self.cluster.kill(name)
        if name.startswith("n"):
            self.count["nodes"] += 1
            self.launch(name)
        else:
            self.count["schedulers"] += 1
            self.cluster.scheduler(name)

    def ended(self) -> int:
        counts = self.cluster.run(self.cluster.store.counts())
        return sum(counts.get(state, 0) for state in FINAL)
