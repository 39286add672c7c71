"""What commands that wait have in common: an outage of Redis is told once and waited out, and what can't be placed is
told while it is waited for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rq_sched.cli import show
from rq_sched.cli.failure import print_warning
from rq_sched.cli.missing import no_node, no_scheduler, too_large
from rq_sched.cli.options import Invocation
from rq_sched.client.steps import Deadline, Waiting
from rq_sched.errors import RedisUnavailable
from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskInfo

if TYPE_CHECKING:
    from rq_sched.link import Op

T = TypeVar("T")
LOOK_SECONDS = 5.0
"""Seconds between two looks at why what is waited for waits."""
LOOKED_AT = 100
"""Tasks that such a look takes in."""


def patiently(session: Invocation, make: Callable[[], Op[T]]) -> T:
    """The answer to a question, however long Redis is away. An address at which nothing has ever answered is no outage.

    Parameters:
        make: makes the operation, once a try.
    """
    return session.taker.do(session.flows.patiently(make, Deadline(None)))


class Awaited(Waiting):
    """Tasks that a command waits for, counted as they end. ``forgotten``: those that were dropped before that was
    seen."""

    def __init__(self, task_ids: Sequence[str]) -> None:
        super().__init__(task_ids)
        self.ended: Counter[State] = Counter()
        self.forgotten = 0

    def unknown(self, task_id: str) -> None:
        self.forgotten += 1

    @property
    def done(self) -> int:
        return self.ended.total() + self.forgotten


class Follower:
    """Waits for tasks, and tells of those that can't be placed."""

    def __init__(self, session: Invocation) -> None:
        self._session = session
        self._look = time.monotonic()

    def ends(self, awaited: Awaited, timeout: float | None = None) -> Iterator[None]:
        """Wait until all have ended; each time something was looked at there is a turn for the caller.

        Raises:
            WaitTimeout
        """
        flow = self._session.flows.ends(awaited, Deadline(timeout))
        for batch in self._session.taker.stream(flow):
            awaited.ended.update(state for _, state in batch)
            self._look_after(awaited)
            yield

    def _look_after(self, awaited: Awaited) -> None:
        """Say why tasks can't be placed: once for each reason."""
        if time.monotonic() < self._look or not awaited:
            return
        self._look = time.monotonic() + LOOK_SECONDS
        try:
            infos = self._session.run(self._session.store.status(awaited.all()[:LOOKED_AT]))
            waiting = [info for info in infos if info is not None and info.state in (State.PENDING, State.DELAYED)]
            for problem in self._problems(waiting):
                print_warning(f"waiting for {problem}", as_json=self._session.json)
        except RedisUnavailable:
            pass  # the wait itself tells of that

    def _problems(self, waiting: Sequence[TaskInfo]) -> Iterator[str]:
        store, told = self._session.store, self._session.warned
        by_reason: dict[str | None, list[TaskInfo]] = {}
        for info in waiting:
            by_reason.setdefault(info.reason, []).append(info)
        if Reason.NO_NODES in by_reason and Reason.NO_NODES not in told:
            told.add(Reason.NO_NODES)
            yield f"a node: {no_node(self._session.run(store.nodes()))}"
        if Reason.INFEASIBLE in by_reason and Reason.INFEASIBLE not in told:
            told.add(Reason.INFEASIBLE)
            first, *others = by_reason[Reason.INFEASIBLE]
            more = f" (and so with {show.count(len(others), 'other task')})" if others else ""
            yield f"a larger node: {too_large(first)}{more}"
        if waiting and "scheduler" not in told and (absent := no_scheduler(self._session.run(store.scheduler_seen()))):
            told.add("scheduler")
            yield f"a scheduler: {absent}"
