"""What commands that wait have in common: an outage of Redis is told once and waited out, and what can't be placed is
told while it is waited for."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rq_sched.cli import show
from rq_sched.cli.failure import print_warning
from rq_sched.cli.missing import no_node, no_scheduler, too_large
from rq_sched.cli.options import Invocation
from rq_sched.client.blocking.stepper import Stepper
from rq_sched.client.flows import Flows
from rq_sched.client.steps import Deadline, Waiting, new_channel
from rq_sched.errors import RedisUnavailable
from rq_sched.link.outage import may_pass
from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskInfo
from rq_sched.process.backoff import backoff

if TYPE_CHECKING:
    from rq_sched.link import Op

T = TypeVar("T")
LOOK_SECONDS = 5.0
"""Seconds between two looks at why what is waited for waits."""
LOOKED_AT = 100
"""Tasks that such a look takes in."""


def patiently(session: Invocation, make: Callable[[], Op[T]], deadline: Deadline | None = None) -> T:
    """The answer to a question, however long Redis is away (at most until the deadline). An address at which nothing
    has ever answered is no outage.

    Parameters:
        make: makes the operation, once a try.
    """
    tries = 0
    while True:
        try:
            return session.run(make())
        except RedisUnavailable as error:
            if not (session.answered and may_pass(error)) or (deadline is not None and deadline.passed):
                raise
            if tries == 0:
                print_warning(f"waiting for Redis: {error}", as_json=session.json)
            pause = backoff(tries, most=1.0, jitter=False)
            time.sleep(pause if deadline is None else deadline.left(pause))
            tries += 1


class _Warnings(logging.Handler):
    """What a flow logs, as warnings of the command."""

    def __init__(self, session: Invocation) -> None:
        super().__init__(logging.WARNING)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        print_warning(record.getMessage(), as_json=self._session.json)


def tell_outages(session: Invocation) -> None:
    """Have flows tell that they wait for Redis, as ``patiently`` does."""
    logging.getLogger("rq_sched.client.flows").handlers = [_Warnings(session)]


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


class Follower(Stepper):
    """Waits for tasks, and tells of those that can't be placed."""

    def __init__(self, session: Invocation) -> None:
        tell_outages(session)
        self._link = session.link
        self._session = session
        self._look = time.monotonic()

    def ends(self, awaited: Awaited, timeout: float | None = None) -> Iterator[None]:
        """Wait until all have ended; each time something was looked at there is a turn for the caller.

        Raises:
            WaitTimeout
        """
        flow = Flows(self._session.store).ends(awaited, Deadline(timeout), new_channel())
        for batch in self._stream(flow):
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
