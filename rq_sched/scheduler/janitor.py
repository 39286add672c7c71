"""Drops ended tasks that are older, or more, than the settings keep; and nodes that have been gone as long."""

from __future__ import annotations

from rq_sched.link import AsyncLink
from rq_sched.store import Store


class Janitor:
    """Cleans every ``every`` seconds, in batches."""

    every = 5.0
    on_bell = False
    min_gap = 0.0

    def __init__(self, link: AsyncLink, store: Store) -> None:
        self._link = link
        self._store = store

    async def run_once(self) -> int:
        """How many tasks were dropped."""
        settings = await self._link.run(self._store.settings())
        total = 0
        while True:
            dropped = await self._link.run(
                self._store.forget(older_than=float(settings["keep_seconds"]), keep=int(settings["keep_tasks"]))
            )
            total += dropped
            if not dropped:
                break
        await self._link.run(self._store.forget_nodes(older_than=float(settings["keep_seconds"])))
        return total
