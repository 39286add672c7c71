"""Orders: worked off once each, in the order of their numbers, however they come.

They come with the reply to a report of ends, or with the doorbell, where there is a single new one; else they are
fetched (``node_poll``) when the doorbell rings or a heartbeat says that there are more than were seen. Each reply holds
all orders after the last one acknowledged, so that the same one may come several times; numbers tell. They are
acknowledged with the next call of any kind. The list in Redis is what counts: what came with a doorbell and isn't there
is ended when the ledger is compared (``docs/decisions/036-the-way-of-one-task.md``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from rq_sched.errors import RqSchedError
from rq_sched.model.orders import Garbled, Order, Reload, Resize, Start, Stop, Void
from rq_sched.model.states import Reason
from rq_sched.process.backoff import backoff
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from rq_sched.store.attempts import REFILL
from rq_sched.store.order_records import ring_of
from rq_sched.worker.agent.session import Session, Superseded

if TYPE_CHECKING:
    from rq_sched.link import AsyncLink
    from rq_sched.worker.agent.attempts import Attempts
    from rq_sched.worker.agent.outbox import Outbox

log = logging.getLogger("rq_sched.worker")

EARS_SECONDS = 60.0


class Orders:
    """The orders of the present incarnation.

    Parameters:
        start, stop, resize: work an order off.
        may: whether orders may be worked off now.
        cannot: hears of an order that can't be read, or not be worked off.
        reload: what children have imported is old.
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        start: Callable[[Start], None],
        stop: Callable[[Stop], None],
        resize: Callable[[Resize], None],
        may: Callable[[], bool],
        cannot: Callable[[Garbled], None],
        reload: Callable[[], None],
    ) -> None:
        self._session = session
        self._store = store
        self._start = start
        self._stop = stop
        self._resize = resize
        self._may = may
        self._cannot = cannot
        self._reload = reload
        self._wanted = asyncio.Event()
        self.seen = 0
        """The number of the last order that was worked off."""
        self.behind: float | None = None
        """Since when (by the event loop's clock) there are orders that weren't worked off; None: there are none."""
        self._known = 0

    def take(self, orders: list[Order]) -> None:
        """Work off those that are new."""
        if not self._may():
            return  # they stay in Redis
        for order in orders:
            if order.number <= self.seen:
                continue
            self.seen = order.number
            if isinstance(order, Void):
                continue
            if isinstance(order, Reload):
                self._reload()
                continue
            try:
                self._work_off(order)
            except Exception as error:  # of this order alone: those behind it, and what runs, are others'
                log.error("an order can't be worked off", extra={"task_id": order.task_id}, exc_info=error)
                self._cannot(Garbled(order.number, order.token, order.task_id, f"{type(error).__name__}: {error}"))
        if len(orders) >= REFILL:
            self._wanted.set()
        if self.seen >= self._known:
            self.behind = None

    def _work_off(self, order: Start | Stop | Resize | Garbled) -> None:
        if isinstance(order, Start):
            self._start(order)
        elif isinstance(order, Stop):
            self._stop(order)
        elif isinstance(order, Resize):
            self._resize(order)
        else:
            log.error("an order can't be read: %s", order.why, extra={"task_id": order.task_id})
            self._cannot(order)

    def rung(self, message: bytes) -> None:
        """The doorbell rang. Anybody may ring it: what counts as ordered is what Redis says."""
        ring = ring_of(message)
        ours = self._session.joined and ring.incarnation == self._session.incarnation
        if ring.order is not None and ours and ring.number == self.seen + 1:
            self.take([ring.order])
        self._look(ring.number)

    def notify(self, ordered: int) -> None:
        """There are orders up to this number."""
        self._known = max(self._known, ordered)
        self._look(ordered)

    def _look(self, ordered: int) -> None:
        """There may be orders up to this number: they are fetched, if they weren't seen."""
        if ordered > self.seen:
            if self.behind is None:
                self.behind = asyncio.get_running_loop().time()
            self._wanted.set()

    def rewind(self, ordered: int) -> None:
        """Redis has lost orders: the next one has the number after this."""
        self.seen = self._known = ordered
        self.behind = None

    def reset(self) -> None:
        """A new incarnation is about to begin."""
        self.seen = self._known = 0
        self.behind = None
        self._wanted.set()

    async def fetch(self) -> None:
        """Fetch orders whenever there are some, until cancelled."""
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            known = self._known
            try:
                orders = await self._session.ask(
                    lambda node, incarnation: self._store.node_poll(node, incarnation, acked=self.seen)
                )
                self.take(orders)
                if not orders:
                    self._none_left(known)
                failures = 0
            except Superseded:
                self._wanted.set()
            except RqSchedError:
                failures += 1
                self._wanted.set()
                await asyncio.sleep(backoff(failures))

    def _none_left(self, known: int) -> None:
        """There are none, though Redis had given some when it was asked (``known``: up to this number): they were
        acknowledged unread, by a call from before Redis lost its last writes. Reconciliation gives back what they were
        about. Those that were heard of since are another matter: they are still to be fetched."""
        if self.seen < known:
            self.seen = known
        if self.seen >= self._known:
            self.behind = None

    async def listen(self, link: AsyncLink, channel: str) -> None:
        """Hear the doorbell, until cancelled. It may miss a ring: the heartbeat doesn't."""
        failures = 0
        while True:
            try:
                async with link.listen(channel) as ears:
                    failures = 0
                    self._wanted.set()
                    while True:
                        message = await ears.get(timeout=EARS_SECONDS)
                        if message is not None:
                            self.rung(message[1])
            except RqSchedError:
                failures += 1
                await asyncio.sleep(backoff(failures))


def fail(order: Garbled, attempts: Attempts, outbox: Outbox) -> None:
    """An order that can't be read, or not be worked off: its attempt fails, and nothing else."""
    attempt = attempts.all.get(order.token)
    if attempt is not None and attempt.child is None:
        attempts.cannot_launch(attempt, order.why)
    elif attempt is None and order.token and order.token not in outbox.reported:
        outbox.add(EndReport(order.token, order.task_id, "failed", reason=Reason.UNREADABLE, error=order.why))
