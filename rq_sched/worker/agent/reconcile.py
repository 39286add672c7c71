"""Reconciliation: what the agent does and what Redis believes of it come to agree, also when Redis has lost writes.

A failover may lose the last writes: orders that were worked off, ends that were recorded, stops, starts, other
allocations. Each heartbeat carries a digest of what the agent holds, unless something is on its way; on a difference
the agent reads the ledger, in batches, and for each attempt does what makes both the same. Redis' word counts: what it
doesn't know is ended, what the agent doesn't know is given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from rq_sched.errors import RqSchedError
from rq_sched.model.orders import LedgerEntry, Stop, digest
from rq_sched.model.resources import Resources
from rq_sched.process.backoff import backoff
from rq_sched.store import Store
from rq_sched.store.answers import EndReport, Heartbeat
from rq_sched.worker.agent.attempt import Attempt, Ending
from rq_sched.worker.agent.orders import Orders
from rq_sched.worker.agent.outbox import Outbox
from rq_sched.worker.agent.session import Session, Superseded

if TYPE_CHECKING:
    from rq_sched.worker.agent.attempts import Attempts

log = logging.getLogger("rq_sched.worker")

DIGEST_MOST = 64
"""Attempts of which a digest is offered: it costs Redis 1.5 to 1.8 µs each. With more, reading every fourth time is
cheaper."""
SKIPPED_MOST = 3
"""Heartbeats in a row without a comparison (something was on its way) after which the ledger is read."""


class Reconciler:
    """Sees to it that the agent and Redis agree.

    Parameters:
        attempts: gives what runs here.
        grace: seconds for a task to end whose stop order was lost.
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        orders: Orders,
        outbox: Outbox,
        attempts: Callable[[], Attempts],
        grace: float,
    ) -> None:
        self._session = session
        self._store = store
        self._orders = orders
        self._outbox = outbox
        self._attempts = attempts
        self._grace = grace
        self._wanted = asyncio.Event()
        self._skipped = 0

    def digest(self) -> str:
        """What the next heartbeat says; empty while reports are on their way."""
        attempts = self._attempts().all
        if self._outbox.on_its_way or len(attempts) > DIGEST_MOST:
            return ""
        return digest(_entry(attempt) for attempt in attempts.values())

    def on_heartbeat(self, heartbeat: Heartbeat, seen: int) -> None:
        """The answer to a heartbeat, and the number of the last order when it was sent."""
        if heartbeat.ordered < seen:
            log.error("Redis has forgotten orders", extra={"ordered": heartbeat.ordered, "seen": seen})
            self._orders.rewind(heartbeat.ordered)
            for attempt in self._attempts().all.values():
                attempt.ordered = min(attempt.ordered, heartbeat.ordered)
        if heartbeat.agrees is None and heartbeat.ordered >= seen and self._skipped < SKIPPED_MOST:
            self._skipped += 1
            return
        self._skipped = 0
        if not heartbeat.agrees:
            self._wanted.set()

    async def run(self) -> None:
        """Compare whenever there is a reason to, until cancelled."""
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._compare_all()
                failures = 0
            except Superseded:
                continue
            except RqSchedError:
                failures += 1
                self._wanted.set()
                await asyncio.sleep(backoff(failures))

    async def _compare_all(self) -> None:
        """Read the ledger. What changes meanwhile is left alone: the next heartbeat tells whether it was right."""
        attempts = self._attempts()
        before = {token: attempt.allocation for token, attempt in attempts.all.items()}
        allocated: set[str] = set()
        cursor = ""
        while cursor != "0":
            ledger = await self._session.ask(
                lambda node, incarnation: self._store.node_ledger(node, incarnation, cursor or "0")  # noqa: B023
            )
            cursor = ledger.cursor
            for entry in ledger.entries:
                allocated.add(entry.token)
                if entry.mark == "?":
                    continue  # it can't be read: the end of what runs here counts all the same, the audit does the rest
                attempt = attempts.all.get(entry.token)
                if attempt is None:
                    self._give_back(entry)
                else:
                    self._adapt(attempt, entry, before.get(entry.token), ledger.ordered)
        for token in before.keys() - allocated:
            attempt = attempts.all.get(token)
            if attempt is not None:
                self._differs("Redis doesn't know what runs here: ending it", attempt.order.task_id)
                attempts.kill(attempt, Ending.RETURNED)

    def _give_back(self, entry: LedgerEntry) -> None:
        """It isn't here. Its order may be on its way, or its end."""
        if entry.number <= self._orders.seen and not self._outbox.holds(entry.token):
            self._differs("Redis believes that this runs here: giving it back", entry.task_id)
            self._outbox.add(EndReport(entry.token, entry.task_id, "returned"))

    def _adapt(self, attempt: Attempt, entry: LedgerEntry, before: Resources | None, ordered: int) -> None:
        """It is here: is it as Redis has it?"""
        if entry.mark == "s" and attempt.ending is not Ending.STOPPED:
            self._differs("Redis wants this to stop", entry.task_id)
            self._attempts().stop(Stop(0, entry.token, entry.task_id, self._grace))
        if entry.mark == "a" and attempt.start_reported and not self._outbox.gave_up(entry.token):
            self._outbox.tell_start(attempt)
        if entry.allocation != attempt.allocation and attempt.allocation == before:
            self._attempts().allocations.changed(attempt, entry.allocation, ordered)

    def _differs(self, how: str, task_id: str) -> None:
        log.warning("%s", how, extra={"task_id": task_id})


def _entry(attempt: Attempt) -> LedgerEntry:
    """The entry of the ledger that fits what runs here."""
    order = attempt.order
    mark = "s" if attempt.ending is Ending.STOPPED else "r" if attempt.start_reported else "a"
    return LedgerEntry(order.token, order.task_id, attempt.allocation, mark)
