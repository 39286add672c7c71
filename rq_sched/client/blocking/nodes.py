# Made from ../awaiting/nodes.py by `python -m tools.twins`: change that one, and run it again.
"""What is done with nodes, and asked of the namespace as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from rq_sched.client.blocking.stepper import Stepper
from rq_sched.model.durations import Duration
from rq_sched.model.events import Event
from rq_sched.model.namespace import NamespaceInfo
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.task import DEFAULT_GRACE


class NodeMethods(Stepper):
    """The methods of ``Client`` about nodes and the namespace."""

    def nodes(self) -> list[NodeInfo]:
        """All nodes, by id.

        >>> free = sum(node.free_cpu for node in client.nodes())  # doctest: +SKIP
        """
        return self._do(self._flows.nodes())

    def drain(self, node_id: str, *, requeue: bool = False, grace: Duration = DEFAULT_GRACE) -> NodeState:
        """No new tasks for a node, until ``undrain``.  Raises: NodeNotFound.

        Parameters:
            requeue: whether what runs there is stopped and goes back to its place in the order, or ends by itself.
            grace: with ``requeue``, time between SIGTERM and SIGKILL, in seconds or such as ``"1m"``.

        >>> client.drain("n1", requeue=True, grace="1m")  # doctest: +SKIP
        """
        return self._do(self._flows.drain(node_id, requeue, grace))

    def undrain(self, node_id: str) -> NodeState:
        """A drained node takes tasks again.  Raises: NodeNotFound.

        >>> client.undrain("n1")  # doctest: +SKIP
        """
        return self._do(self._flows.undrain(node_id))

    def reload(self, node_id: str) -> NodeState:
        """Tasks on a node begin in new processes from now on: they find new code.  Raises: NodeNotFound, WrongState.

        >>> client.reload("n1")  # doctest: +SKIP
        """
        return self._do(self._flows.reload(node_id))

    def events(
        self,
        *,
        task_id: str | None = None,
        node_id: str | None = None,
        after: str | None = None,
        follow: bool = False,
    ) -> Iterator[Event]:
        """The decision log: what was placed, started, ended, given back, and why.

        Parameters:
            task_id, node_id: only what is about these.
            after: only what came after the event of this id; None: all there is, or with ``follow`` what comes.
            follow: go on for ever, also over a lost connection.

        >>> for event in client.events(follow=True):  # doctest: +SKIP
        ...     print(event.type, event.task_id)
        """
        for batch in self._stream(self._flows.events(task_id, node_id, after, follow)):
            yield from batch

    def info(self) -> NamespaceInfo:
        """Totals: tasks by state, nodes by state, capacity.

        >>> totals = client.info()  # doctest: +SKIP
        """
        return self._do(self._flows.info())

    def ping(self) -> None:
        """Ask Redis something small: raises what is wrong with it.

        >>> client.ping()  # doctest: +SKIP
        """
        self._do(self._flows.ping())
