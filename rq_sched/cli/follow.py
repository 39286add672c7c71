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
from rq_sched.cli.options import Session
from rq_sched.errors import RedisUnavailable
from rq_sched.flows import Flows
from rq_sched.node import NodeInfo, NodeState
from rq_sched.stepper import Stepper
from rq_sched.steps import Deadline, Waiting, back_off, new_channel, passing
from rq_sched.task import Reason, State, TaskInfo

if TYPE_CHECKING:
    from rq_sched.link import Op

T = TypeVar("T")
LOOK_SECONDS = 5.0
"""Seconds between two looks at why what is waited for waits."""
LOOKED_AT = 100
"""Tasks that such a look takes in."""
NODES_TOLD = 3


def patiently(session: Session, make: Callable[[], Op[T]], deadline: Deadline | None = None) -> T:
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
            if not (session.answered and passing(error)) or (deadline is not None and deadline.passed):
                raise
            if tries == 0:
                print_warning(f"waiting for Redis: {error}", as_json=session.json)
            pause = back_off(tries)
            time.sleep(pause if deadline is None else deadline.left(pause))
            tries += 1


class _Warnings(logging.Handler):
    """What a flow logs, as warnings of the command."""

    def __init__(self, session: Session) -> None:
        super().__init__(logging.WARNING)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        print_warning(record.getMessage(), as_json=self._session.json)


def tell_outages(session: Session) -> None:
    """Have flows tell that they wait for Redis, as ``patiently`` does."""
    logging.getLogger("rq_sched.flows").handlers = [_Warnings(session)]


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

    def __init__(self, session: Session) -> None:
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
        for bite in self._stream(flow):
            awaited.ended.update(state for _, state in bite)
            self._look_after(awaited)
            yield

    def _look_after(self, awaited: Awaited) -> None:
        """Say why tasks can't be placed: once for each reason."""
        if time.monotonic() < self._look or not awaited:
            return
        self._look = time.monotonic() + LOOK_SECONDS
        store = self._session.store
        try:
            infos = [info for info in self._session.run(store.status(awaited.all()[:LOOKED_AT])) if info is not None]
            nodes = self._session.run(store.nodes()) if any(info.reason == Reason.NO_NODES for info in infos) else []
        except RedisUnavailable:
            return  # the wait itself tells of that
        for reason in (Reason.NO_NODES, Reason.INFEASIBLE):
            stuck = [info for info in infos if info.state is State.PENDING and info.reason == reason]
            if stuck and reason not in self._session.warned:
                self._session.warned.add(reason)
                print_warning(_stuck(stuck, nodes), as_json=self._session.json)


def _stuck(stuck: Sequence[TaskInfo], nodes: Sequence[NodeInfo]) -> str:
    if stuck[0].reason == Reason.NO_NODES:
        return f"waiting for a node: {no_node(nodes)}"
    others = f" (and so with {show.count(len(stuck) - 1, 'other task')})" if len(stuck) > 1 else ""
    return f"waiting for a larger node: {too_large(stuck[0])}{others}"


def too_large(info: TaskInfo) -> str:
    """That no node is enough for a task."""
    needs = show.needs(info.cpu_needed, info.memory_needed, info.require)
    return f"no node could hold {info.task_id} even when empty: it needs {needs} (`rq-sched nodes` shows what there is)"


def no_node(nodes: Sequence[NodeInfo]) -> str:
    """Why no node takes tasks, and what to do."""
    there = [node for node in nodes if node.state is not NodeState.DEAD]
    if not there:
        return "no node is up: tasks wait until a worker is started (`rq-sched worker` or `rq-sched up`)"
    said = [f"{node.node_id} {_why_not(node)}" for node in there[:NODES_TOLD]]
    if len(there) > NODES_TOLD:
        said.append(f"so it is with {len(there) - NODES_TOLD:,} more (`rq-sched nodes`)")
    return f"no node takes tasks: {'; '.join(said)}"


def _why_not(node: NodeInfo) -> str:
    if node.state is NodeState.DRAINING:
        return f"is draining (`rq-sched undrain {node.node_id}` takes it back)"
    return f"is {node.state}: {node.fault}" if node.fault else f"is {node.state}"
