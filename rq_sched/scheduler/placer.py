"""Finds nodes for pending tasks. All of the choosing is in ``place.lua``; this calls it until nothing is left.

Where a task has ended for which very many wait, it has them told, a batch at a time."""

from __future__ import annotations

import logging

from rq_sched.link import AsyncLink
from rq_sched.store import Store
from rq_sched.store.answers import Placed

log = logging.getLogger(__name__)

BATCHES = 50
"""Calls in a row before the other actors get their turn."""


class Placer:
    """Woken by submits, joins and releases; looks every ``every`` seconds by itself, as a doorbell may be missed."""

    every = 0.5
    on_bell = True
    min_gap = 0.0

    def __init__(self, link: AsyncLink, store: Store) -> None:
        self._link = link
        self._store = store

    async def run_once(self) -> Placed:
        """Place what can be placed; ``more`` if the turn ended before the work did."""
        total = 0
        for _ in range(BATCHES):
            batch = await self._link.run(self._store.place())
            total += batch.placed
            if batch.placed:
                log.info("placed", extra={"tasks": batch.items})
            if batch.releasing:
                await self._link.run(self._store.release())
            if not batch.more:
                return Placed(total, False)
        return Placed(total, True)
