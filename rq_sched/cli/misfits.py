"""Tasks of a file that no node could hold, counted while they are submitted."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rq_sched.cli import show
from rq_sched.cli.failure import print_warning
from rq_sched.cli.options import Invocation
from rq_sched.model.arrays import size
from rq_sched.model.fit import Room, Wish
from rq_sched.model.states import Reason
from rq_sched.model.task import TaskRequest

FRESH = 5.0
"""Seconds for which the nodes count as they were."""
REMEMBERED = 10_000
"""Needs that are remembered."""
NAMED = 3
"""Needs that are named."""


class Misfits:
    """What is submitted though no node that is up could hold it. Its memory is bounded."""

    def __init__(self, session: Invocation) -> None:
        self._session = session
        self._rooms: Sequence[Room] = ()
        self._looked = -FRESH
        self._fits: dict[Wish, bool] = {}
        self._found: dict[Wish, list[int]] = {}  # need → its first line, how many tasks
        self._tasks = 0

    def look(self, requests: Sequence[tuple[int, TaskRequest]]) -> None:
        """Look at tasks that were accepted, each with its line."""
        if time.monotonic() - self._looked > FRESH:
            rooms = self._session.run(self._session.store.rooms())
            self._rooms = list({(room.total, room.labels, room.resources): room for room in rooms}.values())
            self._looked = time.monotonic()
            self._fits.clear()
        if not self._rooms:
            return  # that no node is up is told apart
        for line, request in requests:
            need = Wish.of(request)
            fits = self._fits.get(need)
            if fits is None:
                if len(self._fits) >= REMEMBERED:
                    self._fits.clear()
                fits = self._fits[need] = any(r.carries(need.require) and r.could_fit(need) for r in self._rooms)
            if not fits:
                self._count(need, line, 1 if request.array is None else size(str(request.array)))

    def _count(self, need: Wish, line: int, tasks: int) -> None:
        self._tasks += tasks
        if need in self._found:
            self._found[need][1] += tasks
        elif len(self._found) < REMEMBERED:
            self._found[need] = [line, tasks]

    def tell(self) -> None:
        """One warning for all of them."""
        if not self._tasks:
            return
        self._session.warned.add(Reason.INFEASIBLE)
        most = sorted(self._found.items(), key=lambda found: -found[1][1])
        named = [
            f"{tasks:,} {'needs' if tasks == 1 else 'need'} {show.wish(need)} (line {line}"
            f"{' first' if tasks > 1 else ''})"
            for need, (line, tasks) in most[:NAMED]
        ]
        more = f", and {self._tasks - sum(found[1] for _, found in most[:NAMED]):,} others" if len(most) > NAMED else ""
        which = show.count(self._tasks, "task")
        print_warning(
            f"no node could hold {which} even when empty: {', '.join(named)}{more} "
            "(`rq-sched nodes` shows what there is)",
            as_json=self._session.json,
        )
