"""Makes the tasks of schedules when they are due.

When that is, it works out (``store/schedules.py``). That each due time is passed once is the affair of
``schedule_make.lua``, so that any number of timers may look at once.
"""

from __future__ import annotations

from rq_sched.link import AsyncLink
from rq_sched.store import Store
from rq_sched.store.answers import MadeDue

NONE = MadeDue(0, False, None)


class Timer:
    """Looks when the next schedule is due, and every ``every`` seconds: one that is made since is at most so late.

    Where there are no schedules it asks nothing: the reaper's sweep tells whether there are.
    """

    every = 0.5
    on_bell = False
    min_gap = 0.0

    def __init__(self, link: AsyncLink, store: Store) -> None:
        self._link = link
        self._store = store

    async def run_once(self) -> MadeDue:
        """Make what is due; ``more`` if there is more than one turn does."""
        if not self._store.has_schedules:
            return NONE
        return await self._link.run(self._store.make_due())
