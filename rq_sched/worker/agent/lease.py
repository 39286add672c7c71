"""The lease: a node counts as alive for ``ttl`` seconds after its last heartbeat.

Heartbeats go out every ``BEAT`` of that. When none has got through for ``FENCE`` of it, the node ends its tasks (with
``--on-lost-redis kill``), so that they are gone before anyone declares it dead and starts them elsewhere. Counted from
the moment when the last successful heartbeat was *sent*, on a clock that runs during suspend.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from rq_sched.errors import RqSchedError
from rq_sched.link.outage import is_outage
from rq_sched.model.node import NodeState
from rq_sched.process.backoff import backoff
from rq_sched.store import Store
from rq_sched.worker import system
from rq_sched.worker.agent.orders import Orders
from rq_sched.worker.agent.reconcile import Reconciler
from rq_sched.worker.agent.session import Session, Superseded

log = logging.getLogger("rq_sched.worker")

BEAT = 0.33
"""Three fit into the time to live, two before the fence; more would cost Redis more (docs/performance.md)."""
FENCE = 0.8
RESOLUTION = 0.1
"""Of ``ttl``: how late, at most, the end of a suspension is noticed."""


class Lease:
    """The node's lease.

    Parameters:
        reconciler: gives what a heartbeat says of the attempts, and hears the answer.
        ttl: seconds that it lasts.
        kill: whether tasks are ended when it can't be renewed.
        fence: ends them.
        on_state: called with the node's state as Redis has it.
        clock: tells seconds, also those of a suspended machine.
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        orders: Orders,
        reconciler: Reconciler,
        ttl: float,
        kill: bool,
        fence: Callable[[], None],
        on_state: Callable[[NodeState], object] = lambda _: None,
        clock: Callable[[], float] = system.boot_clock,
    ) -> None:
        self._session = session
        self._store = store
        self._orders = orders
        self._reconciler = reconciler
        self._ttl = ttl
        self._kill = kill
        self._fence = fence
        self._on_state = on_state
        self._clock = clock
        self._sent = clock()
        self._state = NodeState.UP

    def renew(self, sent: float) -> None:
        """A heartbeat (or the registration) that was sent then has got through."""
        self._sent = max(self._sent, sent)

    def now(self) -> float:
        return self._clock()

    @property
    def valid(self) -> bool:
        """Whether tasks may run."""
        return not self._kill or self._clock() - self._sent < self._ttl * FENCE

    async def beat(self) -> None:
        """Send heartbeats, until cancelled."""
        failures = 0
        while True:
            try:
                await self._beat_once()
                failures = 0
                await asyncio.sleep(self._ttl * BEAT * random.uniform(0.9, 1.0))
            except Superseded:
                continue
            except RqSchedError as error:
                failures += 1
                if failures == 1 and not is_outage(error):
                    log.warning("no heartbeat: %s; trying again", error)
                await asyncio.sleep(min(backoff(failures), self._ttl * BEAT))

    async def _beat_once(self) -> None:
        sent, seen, digest = self._clock(), self._orders.seen, self._reconciler.digest()
        heartbeat = await self._session.ask(
            lambda node, incarnation: self._store.node_heartbeat(node, incarnation, acked=seen, digest=digest)
        )
        self.renew(sent)
        self._reconciler.on_heartbeat(heartbeat, seen)
        self._orders.notify(heartbeat.ordered)
        self._on_state(heartbeat.state)
        if heartbeat.state != self._state:
            self._state = heartbeat.state
            log.info("node state changed", extra={"state": str(heartbeat.state)})

    async def watch(self) -> None:
        """End the tasks when the lease runs out, until cancelled."""
        fenced = False
        while True:
            if self.valid:
                fenced = False
            elif not fenced:
                fenced = True
                log.error("no heartbeat got through: ending all tasks before others declare this node dead")
                self._fence()
            left = self._sent + self._ttl * FENCE - self._clock()
            await asyncio.sleep(min(max(left, 0.01), self._ttl * RESOLUTION))
