"""What the agent tells Redis of its attempts: ends, starts, output, progress.

Ends are the hot path: at most one ``task_finish`` is under way, and what ends meanwhile forms the next one, so batches
grow with the load by themselves; the reply brings the next orders. A start is reported once it has lasted
``START_AFTER``; of a shorter task the end says how long it ran. From a task's second attempt on the start is reported
first (``attempts.ANNOUNCED``). What can't be sent is kept.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rq_sched.errors import RedisFull, RqSchedError
from rq_sched.link.outage import is_outage
from rq_sched.node import Order
from rq_sched.store import REFILL, Report, Store
from rq_sched.worker.session import Session, Superseded, back_off, together

if TYPE_CHECKING:
    from rq_sched.worker.attempt import Attempt

log = logging.getLogger("rq_sched.worker")

BATCH = REFILL * 7 // 8
"""Reports in one call: fewer than the orders that its reply may carry. A reply that is full leaves the question whether
there is more, and costs a poll, a ring for the schedulers and a look of theirs."""
BATCH_BYTES = 512 * 1024
"""Bytes of results, errors and output in one call, unless a single report has more."""
START_AFTER = 0.05
"""Seconds that an attempt has run before its start is reported."""
OUTPUT_EVERY = 0.5
"""Seconds between two reports of what a running task has printed, and of its progress."""
REMEMBERED = 10_000
"""Tokens that are remembered as reported, at least."""


class Remembered:
    """The last things that were added: at least ``count`` of them, at most twice as many."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._new: set[str] = set()
        self._old: set[str] = set()

    def __contains__(self, thing: str) -> bool:
        return thing in self._new or thing in self._old

    def add(self, thing: str) -> None:
        self._new.add(thing)
        if len(self._new) > self._count:
            self._new, self._old = set(), self._new

    def clear(self) -> None:
        self._new, self._old = set(), set()


class Outbox:
    """Everything that is to be told, and the one coroutine that tells it.

    Parameters:
        taken: the number of the last order that was worked off.
        take: works off orders.
        attempts: what runs now.
        lasts: hears of an attempt when it has run for ``START_AFTER``.
        launch: hears of an attempt whose start was told before it has begun.
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        taken: Callable[[], int],
        take: Callable[[list[Order]], None],
        attempts: Callable[[], Iterable[Attempt]],
        lasts: Callable[[Attempt], object] = lambda _: None,
        launch: Callable[[Attempt], object] = lambda _: None,
    ) -> None:
        self._session = session
        self._store = store
        self._taken = taken
        self._take = take
        self._attempts = attempts
        self._lasts = lasts
        self._launch = launch
        self._loop = asyncio.get_running_loop()
        self._reports: collections.deque[Report] = collections.deque()
        self._starts: list[Attempt] = []
        self._output: dict[str, bytes] = {}
        self._output_due = 0.0
        self._work = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None
        self.progress: dict[str, float] = {}
        self.reported = Remembered(REMEMBERED)
        """Tokens whose end stands here or was told, the last ones."""
        self.told = self._loop.time()
        """When (by the event loop's clock) ends were last told, or there were none to tell."""
        self.empty = asyncio.Event()
        self.empty.set()

    def add(self, report: Report) -> None:
        """Tell of an end."""
        if not self._reports:
            self.empty.clear()
            self.told = self._loop.time()
            self._work.set()
        self._reports.append(report)
        self.reported.add(report.token)

    @property
    def on_its_way(self) -> bool:
        """Whether starts or ends wait to be told, or for the answer."""
        return bool(self._reports or self._starts)

    def holds(self, token: str) -> bool:
        """Whether an end of this attempt waits to be told, or for the answer."""
        return any(report.token == token for report in self._reports)

    def tell_start(self, attempt: Attempt) -> None:
        """Tell that this one runs, be it once more; one that wasn't told yet is launched when Redis has heard."""
        if attempt not in self._starts:
            self._starts.append(attempt)
            self._work.set()

    def watch(self) -> None:
        """Something runs: look now and then for what is to be told of it."""
        if self._tick is None:
            self._tick = self._loop.call_later(START_AFTER, self._look)

    def clear(self) -> None:
        """Forget everything: the incarnation that it is about is gone."""
        self._reports.clear()
        self._starts.clear()
        self._output.clear()
        self.progress.clear()
        self.reported.clear()
        self.empty.set()

    async def run(self) -> None:
        """Tell, until cancelled."""
        failures = 0
        while True:
            await self._work.wait()
            try:
                await self._tell()
                failures = 0
            except Superseded:
                continue
            except RqSchedError as error:
                failures += 1
                if failures == 1 and not is_outage(error):
                    log.warning("reports wait: %s", error, extra={"reports": len(self._reports)})
                await asyncio.sleep(back_off(failures))

    def _look(self) -> None:
        """Find starts to report, and collect output when it is due."""
        self._tick = None
        now = self._loop.time()
        due = now >= self._output_due
        running = False
        for attempt in self._attempts():
            if attempt.child is None:
                continue
            running = True
            if not attempt.lasts and now - attempt.begun >= START_AFTER:
                attempt.lasts = True
                if not attempt.told:
                    attempt.told = True
                    self._starts.append(attempt)
                self._lasts(attempt)
                log.info("a task runs", extra={"task_id": attempt.order.task_id, "attempt": attempt.order.attempt})
            token = attempt.order.token
            if due and attempt.output and token not in self._output:
                self._output[token] = bytes(attempt.output)
                attempt.output.clear()
        if due:
            self._output_due = now + OUTPUT_EVERY
        if self._starts or (due and (self._output or self.progress)):
            self._work.set()
        if running:
            self.watch()

    async def _tell(self) -> None:
        """Everything there is. In this order: a task's output must not come after its end."""
        if self._starts:
            await self._tell_starts()
        if self._output or self.progress:
            await self._tell_output()
        if self._reports:
            await self._tell_ends()
        if not self._reports:
            self.empty.set()
            if not self._starts:
                self._work.clear()

    async def _tell_starts(self) -> None:
        starts = self._starts[:BATCH]
        tokens = [attempt.order.token for attempt in starts]
        await self._session.ask(lambda node, incarnation: self._store.task_start(node, incarnation, tokens))
        del self._starts[: len(starts)]
        for attempt in starts:
            if not attempt.told:
                attempt.told = True
                self._launch(attempt)

    async def _tell_output(self) -> None:
        output, progress = self._output, self.progress
        self._output, self.progress = {}, {}
        try:
            await self._session.ask(
                lambda node, incarnation: together(
                    *([self._store.task_progress(node, incarnation, progress)] if progress else ()),
                    *(self._store.task_output(node, incarnation, token, data) for token, data in output.items()),
                )
            )
        except RedisFull:
            pass  # output is worth the least
        except RqSchedError:
            self.progress = progress | self.progress
            for token, data in self._output.items():
                output[token] = output.get(token, b"") + data
            self._output = output
            raise

    async def _tell_ends(self) -> None:
        batch = self._next_batch()
        finished = await self._session.ask(
            lambda node, incarnation: self._store.task_finish(node, incarnation, acked=self._taken(), reports=batch)
        )
        self.told = self._loop.time()
        for report, outcome in zip(batch, finished.outcomes, strict=True):
            self._reports.popleft()
            if outcome == "stale":
                log.warning("an end came too late", extra={"task_id": report.task_id, "outcome": report.outcome})
        if finished.orders:
            self._take(finished.orders)

    def _next_batch(self) -> list[Report]:
        batch: list[Report] = []
        size = 0
        for report in self._reports:
            size += len(report.output) + len(report.result or b"") + len(report.error or "")
            if batch and (size > BATCH_BYTES or len(batch) == BATCH):
                break
            batch.append(report)
        return batch
