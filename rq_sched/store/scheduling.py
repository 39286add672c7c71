"""What schedulers do: place, reserve, promote, declare dead, give back."""

from __future__ import annotations

from rq_sched.link import Op
from rq_sched.model.labels import of_suffix
from rq_sched.model.reading import text
from rq_sched.model.task import DEFAULT_GRACE
from rq_sched.store.answers import Placed, Promoted, Reserved
from rq_sched.store.base import BATCH, Base, nonce
from rq_sched.store.schema import known_features

PLACE_BATCH = 16
"""Placings and look-ups of one call, so that it stays short (docs/performance.md says how short). 32 cost no less a
task."""
REAP_BATCH = 32
"""Attempts of a dead node that one call gives back: each may cost as much as a submit and an end."""
EXPIRE_BATCH = 64
"""Tasks that one call ends."""
SWEEP_GAP = 1.5
"""Seconds without a sweep or a heartbeat that mean Redis was away (schedulers sweep every 0.5 s)."""


class Scheduling(Base):
    """The transitions that schedulers make: each call is one bounded batch."""

    def place(self, limit: int = PLACE_BATCH) -> Op[Placed]:
        """Find nodes for pending tasks: one bounded batch."""
        placed, more, items = yield from self._one("place", nonce(), limit)
        return Placed(placed, bool(more), items.decode(), more == 2)

    def release(self) -> Op[int]:
        """Tell a bounded number of tasks of the ends that they wait for; of how many ends not all are told by then."""
        left: int = yield from self._one("task_release")
        return left

    def reserve(self, grace: float = DEFAULT_GRACE) -> Op[Reserved]:
        """Keep a node for the first blocked task, if it has waited for long enough; ``grace``: seconds that preempted
        tasks have to end."""
        task, node, preempted, looked, kept_for = yield from self._one("reserve", round(grace * 1000))
        return Reserved(task.decode() or None, node.decode() or None, preempted, looked, kept_for.decode() or None)

    def promote(self, limit: int = BATCH) -> Op[Promoted]:
        """Delayed tasks whose time has come join their queues: one batch."""
        promoted, next_ms, *waits = yield from self._one("task_promote", limit)
        due_in, expires_in = (int(ms) / 1000 if ms else None for ms in waits)
        return Promoted(promoted, int(float(next_ms)) if next_ms else None, due_in, expires_in)

    def expire(self, limit: int = EXPIRE_BATCH) -> Op[bool]:
        """Tasks whose deadline has passed fail: one batch; whether there may be more."""
        looked: int = yield from self._one("task_expire", limit)
        return looked == limit

    def sweep(self, gap: float = SWEEP_GAP, limit: int = BATCH, *, scheduler: str = "") -> Op[tuple[int, list[str]]]:
        """Declare dead whose heartbeat has run out; answers how many, and the incarnations to reap.

        Parameters:
            scheduler: the name of the scheduler that sweeps: it counts as alive for five seconds.

        Raises:
            FeatureMissing: something is in use that this code doesn't know.
        """
        reply = yield from self._one("node_sweep", round(gap * 1000), limit, scheduler, known_features())
        dead, lost, in_use, schedules = reply
        self.in_use.update(of_suffix(text(in_use)))
        self.has_schedules = bool(schedules)
        return dead, [entry.decode() for entry in lost]

    def reap(self, lost: str, limit: int = REAP_BATCH) -> Op[tuple[int, int]]:
        """Give back one batch of a dead incarnation's tasks: how many, and how many are left."""
        reaped, left = yield from self._one("node_reap", lost, limit)
        return reaped, left
