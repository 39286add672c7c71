"""One registration of the node after another: asking Redis in the name of the present incarnation."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from typing import TypeVar

from rq_sched.errors import NodeAlive, StaleIncarnation
from rq_sched.link import AsyncLink, Op
from rq_sched.model.node import NodeState
from rq_sched.model.offers import offered
from rq_sched.store import Store
from rq_sched.worker.config import WorkerConfig

log = logging.getLogger("rq_sched.worker")
T = TypeVar("T")


class Superseded(Exception):
    """The incarnation that a call was made for is no more: its answer means nothing."""


class Session:
    """The node's registration.

    Parameters:
        announce: tells the parent the incarnation, before it is registered; empty when Redis was told of its end.
    """

    def __init__(self, config: WorkerConfig, link: AsyncLink, store: Store, announce: Callable[[str], object]) -> None:
        self._config = config
        self._link = link
        self._store = store
        self._announce = announce
        self._joined = asyncio.Event()
        self.incarnation = ""
        """The present one; empty before the node has joined."""
        self.lost = asyncio.Event()
        """Set when the incarnation was given up: everything must stop, and the node join anew."""

    async def run(self, op: Op[T]) -> T:
        """Carry an operation out, within a bounded time.

        Raises:
            RqSchedError
        """
        return await self._link.run(op)

    async def ask(self, make: Callable[[str, str], Op[T]]) -> T:
        """Carry out an operation of the present incarnation; waits until there is one.

        Parameters:
            make: makes it from node id and incarnation.

        Raises:
            Superseded: the incarnation was given up meanwhile, before or after the operation. What the caller has
                looked up for it (the number of the last order!) may be of the old one.
            RqSchedError
        """
        incarnation = self.incarnation
        await self._joined.wait()
        if incarnation != self.incarnation:
            raise Superseded
        try:
            answer = await self.run(make(self._config.node_id, incarnation))
        except StaleIncarnation:
            if incarnation == self.incarnation:
                self.give_up()
            raise Superseded from None
        if incarnation != self.incarnation or self.lost.is_set():
            raise Superseded
        return answer

    @property
    def joined(self) -> bool:
        """Whether Redis has confirmed the present incarnation, and it wasn't given up."""
        return self._joined.is_set()

    def give_up(self) -> None:
        """This incarnation is of no more use."""
        self._joined.clear()
        self.lost.set()

    async def join(self) -> NodeState:
        """Register as a new incarnation; called again after a failure, as the same one, since Redis may have heard.

        Raises:
            NodeAlive: someone else has the node id.
            RqSchedError
        """
        if not self.incarnation or self.lost.is_set():
            self.incarnation = secrets.token_hex(6)
            self.lost.clear()
            self._announce(self.incarnation)
        config = self._config
        host = os.uname().nodename
        registration = self._store.node_register(
            config.node_id,
            self.incarnation,
            config.total,
            labels=config.labels,
            ttl=config.ttl,
            host=host,
            folders=(config.folder, *config.reach.folders),
            resources=offered(config.offers),
        )
        try:
            state = await self.run(registration)
        except NodeAlive:
            self.incarnation = ""
            self._announce("")
            raise
        self._joined.set()
        log.info(
            "node joined",
            extra={
                "incarnation": self.incarnation,
                "state": str(state),
                "total_cpu": config.total.cpu,
                "total_memory": config.total.memory,
                "labels": list(config.labels),
                "resources": list(config.resources),
            },
        )
        return state

    async def leave(self, incarnation: str, *, crashed: bool) -> None:
        """Report that an incarnation is no more."""
        await self.run(self._store.node_leave(self._config.node_id, incarnation, crashed=crashed))
        self._announce("")
