"""Against starvation: keeps a node for the first blocked task, and lets more important tasks preempt others.

All of the choosing is in ``reserve.lua``; the settings ``reserve_after`` and ``preempt_after`` say how long a task must
have waited.
"""

from __future__ import annotations

import logging

from rq_sched.link import AsyncLink
from rq_sched.store import Store
from rq_sched.store.answers import Reserved

log = logging.getLogger(__name__)


class Reserver:
    """Looks every ``every`` seconds: a reservation is late by no more than that."""

    every = 0.5
    on_bell = False
    min_gap = 0.0

    def __init__(self, link: AsyncLink, store: Store) -> None:
        self._link = link
        self._store = store

    async def run_once(self) -> Reserved:
        """Reserve, or preempt, where it is time to."""
        done = await self._link.run(self._store.reserve())
        if done.preempted:
            log.info("preempting", extra={"task_id": done.task_id, "node_id": done.node_id, "stopped": done.preempted})
        return done
