"""What is done with nodes, and what is asked of the namespace as a whole."""

from __future__ import annotations

from functools import partial

from rq_sched.client.flows.base import BaseFlows, ride_out
from rq_sched.client.steps import Deadline, Emit, Flow, run
from rq_sched.errors import RedisUnavailable
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.namespace import NamespaceInfo
from rq_sched.model.node import NodeInfo, NodeState

FOLLOW_MS = 1000
"""Milliseconds that one call waits for new events."""


class NodeFlows(BaseFlows):
    """The flows about nodes and the namespace."""

    def drain(self, node_id: str, requeue: bool, grace: Duration) -> Flow[NodeState]:
        """No new tasks for a node.  Raises: NodeNotFound, InvalidValue."""
        seconds = parse_duration(grace, "grace")
        return (yield from run(self.store.node_drain(node_id, requeue=requeue, grace=seconds)))

    def events(self, task_id: str | None, node_id: str | None, after: str | None, follow: bool) -> Flow[None]:
        """Emits lists of events: those after an id (None: all there are, or with ``follow`` from now on)."""
        if after is None and follow:
            newest = yield from self.patiently(partial(self.store.events, newest=True, limit=1), Deadline(None))
            after = newest[-1].id if newest else None
        last_id = after or "0-0"
        tries = 0
        while True:
            try:
                op = self.store.events_follow(last_id, FOLLOW_MS) if follow else self.store.events(last_id)
                found = yield from run(op, follows=follow)
                tries = 0
            except RedisUnavailable as error:
                if not follow:
                    raise
                found = []
                tries = yield from ride_out(error, tries, Deadline(None))
            if found:
                last_id = found[-1].id
                yield Emit([e for e in found if task_id in (None, e.task_id) and node_id in (None, e.node_id)])
            elif not follow:
                return

    def ping(self) -> Flow[None]:
        """Ask something small."""
        yield from run(self.store.counts())

    def nodes(self) -> Flow[list[NodeInfo]]:
        """All nodes, by id."""
        return run(self.store.nodes())

    def undrain(self, node_id: str) -> Flow[NodeState]:
        """A drained node takes tasks again.  Raises: NodeNotFound."""
        return run(self.store.node_undrain(node_id))

    def reload(self, node_id: str) -> Flow[NodeState]:
        """Tasks on a node begin in new processes from now on.  Raises: NodeNotFound, WrongState."""
        return run(self.store.node_reload(node_id))

    def info(self) -> Flow[NamespaceInfo]:
        """Totals."""
        return run(self.store.info())
