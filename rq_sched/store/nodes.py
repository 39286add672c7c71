"""What nodes say of themselves, and what users ask of them."""

from __future__ import annotations

from collections.abc import Sequence

from rq_sched.link import Op
from rq_sched.model.ids import check_id
from rq_sched.model.labels import suffix
from rq_sched.model.node import NodeState
from rq_sched.model.orders import LedgerEntry, Order
from rq_sched.model.reading import text
from rq_sched.model.resources import Resources
from rq_sched.model.task import DEFAULT_GRACE
from rq_sched.store.answers import Heartbeat, Ledger
from rq_sched.store.attempts import REFILL
from rq_sched.store.base import BATCH, Base
from rq_sched.store.order_records import order_of
from rq_sched.store.schema import known_features

MAX_FOLDERS = 2000
"""Characters of what a node says of folders."""
MAX_FAULT = 500
"""Characters of what is told of a node's fault."""


class Nodes(Base):
    """The life of a node, from its registration until it is forgotten."""

    def node_register(
        self,
        node_id: str,
        incarnation: str,
        total: Resources,
        *,
        labels: Sequence[str] = (),
        ttl: float = 10.0,
        host: str = "",
        folders: Sequence[str] = (),
        resources: str = "",
    ) -> Op[NodeState]:
        """Join as a new incarnation. ``folders``: its own, and those that requests may name (``worker/reach.py``);
        ``resources``: as its record has them (``keys.py``).

        Raises: NodeAlive, FeatureMissing.
        """
        size = (total.cpu, total.memory, round(ttl * 1000))
        words = (host, suffix(labels), known_features(), "\t".join(folders)[:MAX_FOLDERS], resources)
        state = yield from self._one("node_register", check_id(node_id, "node id"), incarnation, *size, *words)
        return NodeState(state.decode())

    def node_heartbeat(self, node_id: str, incarnation: str, *, acked: int, digest: str = "") -> Op[Heartbeat]:
        """Say that the node lives, and what it believes it holds (``node.digest``; empty: it doesn't say).

        Raises:
            StaleIncarnation
        """
        state, ordered, agrees = yield from self._one("node_heartbeat", node_id, incarnation, acked, digest)
        return Heartbeat(NodeState(state.decode()), ordered, None if agrees < 0 else bool(agrees))

    def node_ledger(self, node_id: str, incarnation: str, cursor: str = "0") -> Op[Ledger]:
        """One batch of what Redis believes that the node holds; call with the cursor until it is ``"0"``.

        Raises:
            StaleIncarnation
        """
        after, ordered, flat = yield from self._one("node_ledger", node_id, incarnation, cursor)
        texts = [text(part) for part in flat]
        entries = [LedgerEntry.read(token, entry) for token, entry in zip(texts[::2], texts[1::2], strict=True)]
        return Ledger(after.decode(), ordered, entries)

    def node_poll(self, node_id: str, incarnation: str, *, acked: int, limit: int = REFILL) -> Op[list[Order]]:
        """The orders after ``acked``, at most ``limit``.  Raises: StaleIncarnation."""
        return [order_of(o) for o in (yield from self._one("node_poll", node_id, incarnation, acked, limit))]

    def node_drain(self, node_id: str, *, requeue: bool = False, grace: float = DEFAULT_GRACE) -> Op[NodeState]:
        """No new tasks for a node; with ``requeue`` what runs there is stopped and goes back to its old place.

        Raises:
            NodeNotFound
        """
        return (yield from self._drain(node_id, "", True, requeue, grace))

    def node_closing(self, node_id: str, incarnation: str) -> Op[NodeState]:
        """No new tasks for this incarnation: its agent is about to stop.  Raises: StaleIncarnation, NodeNotFound."""
        return (yield from self._drain(node_id, incarnation, False, False, 0))

    def _drain(self, node_id: str, incarnation: str, keep: bool, requeue: bool, grace: float) -> Op[NodeState]:
        cursor = b"0"
        while True:
            state, cursor = yield from self._one(
                "node_drain", node_id, incarnation, int(keep), int(requeue), round(grace * 1000), cursor
            )
            if cursor == b"0":
                return NodeState(state.decode())

    def node_undrain(self, node_id: str) -> Op[NodeState]:
        """A drained node takes tasks again.  Raises: NodeNotFound."""
        return NodeState((yield from self._one("node_undrain", node_id)).decode())

    def node_reload(self, node_id: str) -> Op[NodeState]:
        """Tasks on a node begin in new processes from now on: they find new code.  Raises: NodeNotFound, WrongState."""
        return NodeState((yield from self._one("node_reload", node_id)).decode())

    def node_fault(self, node_id: str, incarnation: str, text: str) -> Op[NodeState]:
        """A fault of its machine keeps the node from beginning tasks; empty: none does any more.

        Raises:
            StaleIncarnation
        """
        return NodeState((yield from self._one("node_fault", node_id, incarnation, text[:MAX_FAULT])).decode())

    def node_leave(self, node_id: str, incarnation: str, *, crashed: bool = False) -> Op[bool]:
        """The node is no more; False if this incarnation was gone already."""
        return bool((yield from self._one("node_leave", node_id, incarnation, int(crashed))))

    def forget_nodes(self, *, older_than: float, limit: int = BATCH) -> Op[int]:
        """Drop nodes that have been gone for ``older_than`` seconds."""
        return int((yield from self._one("node_trim", round(older_than * 1000), limit)))
