"""Finds nodes for pending tasks. All of the choosing is in ``place.lua``; this calls it until nothing is left."""

from __future__ import annotations

import logging

from rq_sched.link import AsyncLink
from rq_sched.store import Store
from rq_sched.store.answers import Placed

log = logging.getLogger(__name__)

BITES = 50
"""Calls in a row before the other actors get their turn."""


class Placer:
    """Woken by submits, joins and releases; looks every ``every`` seconds by itself, as a doorbell may be missed."""

    every = 0.5
    rung = True
    calm = 0.0

    def __init__(self, link: AsyncLink, store: Store) -> None:
        self._link = link
        self._store = store

    async def run_once(self) -> Placed:
        """Place what can be placed; ``more`` if the turn ended before the work did."""
        total = 0
        for _ in range(BITES):
            bite = await self._link.run(self._store.place())
            total += bite.placed
            if bite.placed:
                log.info("placed", extra={"tasks": bite.items})
            if not bite.more:
                return Placed(total, False)
        return Placed(total, True)
