"""What the agent tells Redis of its attempts: ends, starts, output, progress.

Ends are the hot path: at most one ``task_finish`` is under way, and what ends meanwhile forms the next one, so batches
grow with the load by themselves; the reply brings the next orders. A start is reported once it has lasted
``START_AFTER``; of a shorter task the end says how long it ran. Starts go with ends, and where ends come often they
wait for one (``START_WITH``): a call of their own costs Redis half as much as an end. From a task's second attempt on
the start is reported first (``attempts.ANNOUNCED``). What can't be sent is kept.

What Redis refuses while it takes other calls can't be kept for ever: nothing behind it would be told. After ``TRIES`` a
start isn't reported, nor what was printed; a batch of ends goes one by one, and an end that is refused alone, though
Redis takes ends, is told without its output, then without its result, as failed. Where it isn't the report that is
refused, but something that is stored can't be read, nothing is told that isn't so. Should all be refused, the end is
put off: nothing waits for it, it is told again now and then, and the attempt stays on the ledger meanwhile. So it is
recorded as soon as somebody has mended what is in Redis.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rq_sched.errors import RedisFull, RqSchedError, Unreadable, WrongType
from rq_sched.link.outage import is_outage
from rq_sched.link.together import together
from rq_sched.model.orders import Order
from rq_sched.model.states import Reason
from rq_sched.process.backoff import backoff
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from rq_sched.store.attempts import REFILL, start_of
from rq_sched.worker.agent.remembered import Remembered
from rq_sched.worker.agent.session import Session, Superseded

if TYPE_CHECKING:
    from rq_sched.worker.agent.attempt import Attempt

log = logging.getLogger("rq_sched.worker")

BATCH = REFILL * 7 // 8
"""Reports in one call: fewer than the orders that its reply may carry. A reply that is full leaves the question whether
there is more, and costs a poll, a ring for the schedulers and a look of theirs."""
BATCH_BYTES = 512 * 1024
"""Bytes of results, errors and output in one call, unless a single report has more."""
START_AFTER = 0.05
"""Seconds that an attempt has run before its start is reported."""
START_WITH = 0.5
"""Seconds that a start waits for an end to go with, where one was told not longer ago."""
OUTPUT_EVERY = 0.5
"""Seconds between two reports of what a running task has printed, and of its progress."""
ERROR_CHARACTERS = 1000
"""Of the error of an end that is told without its result."""
TRIES = 5
"""Refusals in a row until what is to be told is cut down."""
AGAIN_SECONDS = 60.0
"""How long the start of an attempt isn't told again once it was given up; the longest pause before an end that was put
off is told again."""
AGAIN_FIRST = 1.0
"""Seconds before an end that was put off is told again; twice as long after each refusal."""
MOST_PUT_OFF = 100
"""Ends that are kept to be told again. Of more the oldest is forgotten: ``reconcile.py`` gives its attempt back."""
REMEMBERED = 10_000
"""Tokens that are remembered as reported, at least."""


@dataclass(slots=True)
class PutOff:
    """An end that Redis refuses for now."""

    report: EndReport
    due: float  # by the event loop's clock
    pause: float

    def refused(self, now: float) -> None:
        self.due = now + self.pause
        self.pause = min(AGAIN_SECONDS, 2 * self.pause)


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
        self._reports: collections.deque[EndReport] = collections.deque()
        self._starts: list[Attempt] = []
        self._starts_due = 0.0  # by the event loop's clock: they wait no longer for an end
        self._end_told = -math.inf
        self._output: dict[str, bytes] = {}
        self._output_due = 0.0
        self._refused = 0  # so often in a row, by a Redis that takes other calls
        self._alone = 0  # so many of the first ends go one by one
        self._cut = ""  # the token of an end that was cut down
        self._given_up: dict[str, float] = {}  # tokens of starts, with when
        self._put_off: dict[str, PutOff] = {}  # by token, the oldest first
        self._again: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None
        self.progress: dict[str, float] = {}
        self.reported = Remembered(REMEMBERED)
        """Tokens whose end stands here or was told, the last ones."""
        self.last_progress = self._loop.time()
        """When (by the event loop's clock) ends were last told, or there were none to tell."""
        self.empty = asyncio.Event()
        self.empty.set()

    def add(self, report: EndReport) -> None:
        """Tell of an end."""
        if not self._reports:
            self.empty.clear()
            self.last_progress = self._loop.time()
            self._work.set()
        self._reports.append(report)
        self._put_off.pop(report.token, None)  # it was to stop meanwhile: that is told instead
        self.reported.add(report.token)

    @property
    def on_its_way(self) -> bool:
        """Whether starts or ends wait to be told, or for the answer."""
        return bool(self._reports or self._starts)

    def holds(self, token: str) -> bool:
        """Whether an end of this attempt waits to be told, or for the answer; or can't be told now."""
        return any(report.token == token for report in self._reports) or self.gave_up(token)

    def gave_up(self, token: str) -> bool:
        """Whether Redis has lately refused again and again what was to be told of this attempt."""
        lately = self._loop.time() - self._given_up.get(token, -math.inf) < AGAIN_SECONDS
        return lately or token in self._put_off

    def _give_up(self, tokens: Iterable[str]) -> None:
        now = self._loop.time()
        self._given_up = {token: at for token, at in self._given_up.items() if now - at < AGAIN_SECONDS}
        self._given_up.update(dict.fromkeys(tokens, now))

    def tell_start(self, attempt: Attempt) -> None:
        """Tell that this one runs, be it once more; one that wasn't told yet is launched when Redis has heard."""
        if attempt not in self._starts:
            self._starts.append(attempt)
            self._starts_due = 0.0
            self._work.set()

    def watch(self) -> None:
        """Something runs: look now and then for what is to be told of it."""
        if self._tick is None:
            self._tick = self._loop.call_later(START_AFTER, self._look)

    def clear(self) -> None:
        """Forget everything: the incarnation that it is about is gone."""
        self._reports.clear()
        self._starts.clear()
        self._put_off.clear()
        self._output.clear()
        self.progress.clear()
        self.reported.clear()
        self._refused = self._alone = 0
        self.empty.set()

    async def run(self) -> None:
        """Tell, until cancelled."""
        failures = 0
        while True:
            await self._work.wait()
            try:
                await self._tell()
                failures = self._refused = 0
            except Superseded:
                continue
            except RqSchedError as error:
                failures += 1
                self._refused = 0 if is_outage(error) else self._refused + 1
                if failures == 1 and not is_outage(error):
                    log.warning("reports wait: %s", error, extra={"reports": len(self._reports)})
                await asyncio.sleep(backoff(failures))

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
                if not attempt.start_reported:
                    attempt.start_reported = True
                    if not self._starts:
                        self._starts_due = now + START_WITH if now - self._end_told < START_WITH else now
                    self._starts.append(attempt)
                self._lasts(attempt)
                log.info("a task runs", extra={"task_id": attempt.order.task_id, "attempt": attempt.order.attempt})
            token = attempt.order.token
            if due and attempt.output and token not in self._output:
                self._output[token] = attempt.take_written()
        if due:
            self._output_due = now + OUTPUT_EVERY
        if (self._starts and not self._starts_may_wait) or (due and (self._output or self.progress)):
            self._work.set()
        if running:
            self.watch()

    async def _tell(self) -> None:
        """Everything there is. In this order: a task's output must not come after its end."""
        if self._starts and (self._refused or not self._starts_may_wait):
            await self._tell_starts()
        if self._output or self.progress:
            await self._tell_output()
        if self._reports:
            await self._tell_ends()
        if self._put_off:
            await self._tell_again()
        if not self._reports:
            self.empty.set()
            if not self._starts or self._starts_may_wait:
                self._work.clear()
                self._wait_for_due()

    @property
    def _starts_may_wait(self) -> bool:
        """Whether there is an end that they can go with, or may be one soon."""
        return bool(self._reports) or self._loop.time() < self._starts_due

    async def _tell_starts(self) -> None:
        starts = self._starts[:BATCH]
        told = self._told_of(starts)
        try:
            await self._session.ask(lambda node, incarnation: self._store.task_start(node, incarnation, told))
        except RqSchedError as error:
            if not self._is_enough(error):
                raise
            log.error("starts are not reported: %s", error, extra={"starts": len(starts)})
            self._give_up(attempt.order.token for attempt in starts)
        self._starts_told(starts)

    def _told_of(self, starts: Iterable[Attempt]) -> list[str]:
        """As Redis is told: one that hasn't begun begins now."""
        now = self._loop.time()
        return [start_of(one.order.token, now - one.begun if one.begun else 0) for one in starts]

    def _starts_told(self, starts: list[Attempt]) -> None:
        del self._starts[: len(starts)]
        for attempt in starts:
            if not attempt.start_reported:
                attempt.start_reported = True
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
        except RqSchedError as error:
            if self._is_enough(error):
                log.error("output and progress are not reported: %s", error, extra={"tasks": len(output)})
                return
            self.progress = progress | self.progress
            for token, data in self._output.items():
                output[token] = output.get(token, b"") + data
            self._output = output
            raise

    def _is_enough(self, error: RqSchedError) -> bool:
        """Whether what was refused now is to be cut down. (A full server drains: it is waited for.)"""
        if is_outage(error) or isinstance(error, RedisFull) or self._refused + 1 < TRIES:
            return False
        self._refused = 0
        return True

    async def _tell_ends(self) -> None:
        batch = [self._reports[0]] if self._alone else self._next_batch()
        starts = [] if self._refused or self._alone else self._starts[:BATCH]
        try:
            outcomes = await self._finish(batch, starts)
        except RqSchedError as error:
            if not self._is_enough(error):
                raise
            if len(batch) > 1:
                self._alone = len(batch)
                return
            await self._finish([])  # where no ends are taken, not even none, this one isn't the cause
            try:
                outcomes = await self._finish(batch)
            except RqSchedError as still:
                if is_outage(still):
                    raise
                self._cut_down(batch[0], still)
                return
        self.last_progress = self._end_told = self._loop.time()
        self._starts_told(starts)
        self._alone = max(0, self._alone - 1)
        for report, outcome in zip(batch, outcomes, strict=True):
            self._reports.popleft()
            _notice(report, outcome)

    async def _tell_again(self) -> None:
        """The ends that were put off and are due."""
        for token, end in list(self._put_off.items()):
            if end.due > self._loop.time() or self._put_off.get(token) is not end:
                continue
            try:
                (outcome,) = await self._finish([end.report])
            except RqSchedError as error:
                if is_outage(error):
                    raise
                end.refused(self._loop.time())
                continue
            self._put_off.pop(token, None)
            self.reported.add(token)
            _notice(end.report, outcome)

    def _wait_for_due(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        due = [end.due for end in self._put_off.values()] + ([self._starts_due] if self._starts else [])
        if due:
            self._again = self._loop.call_at(min(due), self._work.set)

    async def _finish(self, batch: list[EndReport], starts: Sequence[Attempt] = ()) -> list[str]:
        """Tell these ends and starts, and take the orders that come with the answer."""
        told = self._told_of(starts)
        finished = await self._session.ask(
            lambda node, incarnation: self._store.task_finish(
                node, incarnation, acked=self._taken(), reports=batch, starts=told
            )
        )
        if finished.orders:
            self._take(finished.orders)
        return finished.outcomes

    def _cut_down(self, report: EndReport, error: RqSchedError) -> None:
        """An end was refused again and again, also alone: less of it, then nothing for now."""
        if (less := self._less(report, error)) is not None:
            log.error("an end was refused: telling less of it: %s", error, extra={"task_id": report.task_id})
            self._reports[0] = less
            return
        log.error(
            "an end can't be told: until it can, the task counts as running: %s",
            error,
            extra={"task_id": report.task_id, "outcome": report.outcome},
        )
        self._reports.popleft()
        self._alone = max(0, self._alone - 1)
        self.reported.discard(report.token)  # a stop order is answered anew
        end = self._put_off[report.token] = PutOff(report, 0, AGAIN_FIRST)
        end.refused(self._loop.time())
        if len(self._put_off) > MOST_PUT_OFF:
            del self._put_off[next(iter(self._put_off))]

    def _less(self, report: EndReport, error: RqSchedError) -> EndReport | None:
        """What else can be told of an end that was refused: without its output, then as failed; None: nothing."""
        if report.output:
            return replace(report, output=b"")
        if self._cut == report.token or isinstance(error, Unreadable | WrongType):
            return None
        self._cut = report.token
        ended = report.outcome in ("completed", "failed")
        text = f"{report.error or f'it {report.outcome}'}; Redis refused the report of this: {error}"
        return replace(
            report,
            outcome="failed" if ended else report.outcome,
            reason=report.reason or (Reason.ERROR if ended else None),
            result=None,
            error=text[:ERROR_CHARACTERS],
        )

    def _next_batch(self) -> list[EndReport]:
        batch: list[EndReport] = []
        size = 0
        for report in self._reports:
            size += len(report.output) + len(report.result or b"") + len(report.error or "")
            if batch and (size > BATCH_BYTES or len(batch) == BATCH):
                break
            batch.append(report)
        return batch


def _notice(report: EndReport, outcome: str) -> None:
    if outcome == "stale":
        log.warning("an end came too late", extra={"task_id": report.task_id, "outcome": report.outcome})
