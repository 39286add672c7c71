"""Recovery: finds nodes whose heartbeat has run out and gives their tasks back.

The scores in ``nodes`` and Redis' clock alone decide who is dead. The expiry of a heartbeat key only rings, so that
recovery begins at once; the sweep finds whatever was not heard.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from rq_sched.link import AsyncLink
from rq_sched.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reaped:
    """How many nodes were declared dead, and how many attempts were given back."""

    dead: int
    reaped: int


class Reaper:
    """Sweeps every ``every`` seconds, and whenever a heartbeat key expires or a node says goodbye.

    Parameters:
        name: the scheduler's, by which it says that it lives.
    """

    every = 0.5
    on_bell = True
    min_gap = 0.05  # places ring, too: a death is noticed so much later at most

    def __init__(self, link: AsyncLink, store: Store, name: str = "") -> None:
        self._link = link
        self._store = store
        self._name = name

    async def run_once(self) -> Reaped:
        """Declare dead, then give back every lost incarnation's tasks, in batches."""
        dead, lost = await self._link.run(self._store.sweep(scheduler=self._name))
        total = 0
        for incarnation in lost:
            left, back = 1, 0
            while left:
                reaped, left = await self._link.run(self._store.reap(incarnation))
                back += reaped
            total += back
            node_id, number, how = incarnation.split(":")
            log.log(
                logging.INFO if how == "left" else logging.WARNING,
                "node left" if how == "left" else "node died",
                extra={"node_id": node_id, "incarnation": number, "given_back": back},
            )
        return Reaped(dead, total)
