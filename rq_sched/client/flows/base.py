"""What all flows share: a store that makes the operations, a clock, and patience while Redis is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from rq_sched.client.steps import Deadline, Emit, Flow, Pause, run
from rq_sched.errors import ClientBusy, RedisUnavailable, RqSchedError, WaitTimeout
from rq_sched.link.outage import may_pass
from rq_sched.link.together import together
from rq_sched.model.references import Home, check_home, references
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.process.backoff import backoff
from rq_sched.store.selection import Selection

if TYPE_CHECKING:
    from rq_sched.link import Op
    from rq_sched.store import Store

T = TypeVar("T")
log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at tasks whose doorbell may have been lost."""
PATIENCE = 30.0
"""Seconds that what is part of something longer goes on trying while Redis is away: a restart or a failover is
shorter."""


class BaseFlows:
    """Parameters: those of ``Flows``."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic, poll: float = POLL) -> None:
        self.store = store
        self.clock = clock
        self.poll = poll
        self.met: Callable[[], bool] = lambda: True
        """Whether Redis was ever there: only then it is waited for."""
        self.home: Home | None = None
        """Where the tasks of its client are."""

    def check_own(self, request: TaskRequest) -> None:
        """Whether handles among its arguments are of this namespace.  Raises: InvalidValue."""
        if request.after and self.home is not None:
            check_home(references(request.args, request.kwargs), self.home)

    def at_last(self, make: Callable[[], Op[T]]) -> Flow[T]:
        """The answer to a question that is part of something longer: asked for ``PATIENCE`` seconds while Redis is
        away."""
        return self.patiently(make, Deadline(PATIENCE, self.clock))

    def patiently(self, make: Callable[[], Op[T]], deadline: Deadline) -> Flow[T]:
        """Repeat a question until Redis answers or the time is up.

        Raises:
            WaitTimeout: the time was spent waiting for a connection.
            RedisUnavailable: it doesn't answer until then, or never did.
        """
        tries = 0
        while True:
            try:
                return (yield from run(make(), deadline))
            except RedisUnavailable as error:
                if deadline.passed and isinstance(error, ClientBusy):
                    raise WaitTimeout(str(error)) from None
                if deadline.passed or not self.met():
                    raise
                tries = yield from ride_out(error, tries, deadline)

    def each(
        self, task_ids: Sequence[str], change: Callable[[str], Op[T]], deadline: Deadline
    ) -> Flow[dict[str, T | RqSchedError]]:
        """Change tasks in a few round trips; id → what the change answers, or why it was refused.

        Parameters:
            change: makes the operation. It is made again where an answer was lost, and must know itself then.
        """

        def make() -> Op[list[T | RqSchedError]]:
            return together(*map(change, task_ids), apart=True)

        answers = yield from self.patiently(make, deadline)
        return dict(zip(task_ids, answers, strict=True))

    def selected(self, states: Collection[State], tags: Mapping[str, str], deadline: Deadline) -> Flow[None]:
        """Emits lists of the ids of all tasks that are in these states now and have these tags."""
        selection = Selection(self.store, states, tags)
        while task_ids := (yield from self.patiently(selection.next_batch, deadline)):
            yield Emit(task_ids)


def ride_out(error: RedisUnavailable, tries: int, deadline: Deadline) -> Flow[int]:
    """Pause before the next try, and count it. What won't pass by itself is raised."""
    if not may_pass(error):
        raise error
    if tries == 0:
        log.warning("waiting for Redis: %s", error)
    yield Pause(deadline.left(backoff(tries, most=1.0, jitter=False)))
    return tries + 1
