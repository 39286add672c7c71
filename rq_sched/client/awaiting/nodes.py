"""What is done with nodes, and asked of the namespace as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rq_sched.client.awaiting.stepper import AsyncStepper
from rq_sched.model.durations import Duration
from rq_sched.model.events import Event
from rq_sched.model.namespace import NamespaceInfo
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.task import DEFAULT_GRACE


class AsyncNodeMethods(AsyncStepper):
    """The methods of ``AsyncClient`` about nodes and the namespace."""

    async def nodes(self) -> list[NodeInfo]:
        """All nodes, by id.

        >>> free = sum(node.free_cpu for node in await client.nodes())  # doctest: +SKIP
        """
        return await self._do(self._flows.nodes())

    async def drain(self, node_id: str, *, requeue: bool = False, grace: Duration = DEFAULT_GRACE) -> NodeState:
        """No new tasks for a node, until ``undrain``.  Raises: NodeNotFound.

        Parameters:
            requeue: whether what runs there is stopped and goes back to its place in the order, or ends by itself.
            grace: with ``requeue``, time between SIGTERM and SIGKILL, in seconds or such as ``"1m"``.

        >>> await client.drain("n1", requeue=True, grace="1m")  # doctest: +SKIP
        """
        return await self._do(self._flows.drain(node_id, requeue, grace))

    async def undrain(self, node_id: str) -> NodeState:
        """A drained node takes tasks again.  Raises: NodeNotFound.

        >>> await client.undrain("n1")  # doctest: +SKIP
        """
        return await self._do(self._flows.undrain(node_id))

    async def reload(self, node_id: str) -> NodeState:
        """Tasks on a node begin in new processes from now on: they find new code.  Raises: NodeNotFound, WrongState.

        >>> await client.reload("n1")  # doctest: +SKIP
        """
        return await self._do(self._flows.reload(node_id))

    async def events(
        self,
        *,
        task_id: str | None = None,
        node_id: str | None = None,
        after: str | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Event]:
        """The decision log: what was placed, started, ended, given back, and why.

        Parameters:
            task_id, node_id: only what is about these.
            after: only what came after the event of this id; None: all there is, or with ``follow`` what comes.
            follow: go on for ever, also over a lost connection.

        >>> async for event in client.events(follow=True):  # doctest: +SKIP
        ...     print(event.type, event.task_id)
        """
        async for batch in self._stream(self._flows.events(task_id, node_id, after, follow)):
            for item in batch:
                yield item

    async def info(self) -> NamespaceInfo:
        """Totals: tasks by state, nodes by state, capacity.

        >>> totals = await client.info()  # doctest: +SKIP
        """
        return await self._do(self._flows.info())

    async def ping(self) -> None:
        """Ask Redis something small: raises what is wrong with it.

        >>> await client.ping()  # doctest: +SKIP
        """
        await self._do(self._flows.ping())
