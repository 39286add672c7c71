"""Watches attempts that last: that none uses more memory than it may, and what it doesn't use.

An attempt comes here when it has run for a moment (``outbox.START_AFTER``): short tasks cost nothing. Then it is looked
at as often as it is close to its limit: a quick look tells at least what it uses; when that comes close, an exact one
in a thread decides. What counts is the memory of the whole tree of processes beyond what its child had before.

Close to the limit more is asked for, up to the task's maximum; who is beyond it, and gets no more, is killed. About
once a second ``elastic.target`` says what could be given back.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rq_sched.model import elastic
from rq_sched.model.resources import Resources
from rq_sched.worker import measure
from rq_sched.worker.agent.attempt import Attempt, Ending, about
from rq_sched.worker.config import MEMORY_FLOOR

if TYPE_CHECKING:
    from rq_sched.worker.agent.attempts import Attempts
    from rq_sched.worker.agent.errands import Errands

log = logging.getLogger("rq_sched.worker")

SOONEST, LATEST = 0.01, 1.0
"""Seconds between two looks at an attempt."""
SPEED = 1000.0
"""MB a second that a task may begin to use at any time."""
BUDGET = 0.03
"""Share of a core that looking may take: with many attempts the looks are fewer."""
EXACT_SHARE = 0.1
"""Share of the time that exact looks at one attempt may take."""
PATIENCE = 1.1
"""Times its limit that an attempt may use while the answer to its wish for more is awaited."""
TRIES = 3
"""Wishes for more, each time for less, until an attempt beyond its limit is killed."""
FRESH = 8.0
"""MB that a new child has of its own."""
AT_ONCE = 8
"""Looks before the event loop gets its turn again."""


class Watch:
    """What is known of one attempt."""

    __slots__ = (
        "asking",
        "at",
        "attempt",
        "base",
        "checking",
        "cost",
        "cpu",
        "cpu_at",
        "exact_at",
        "exact_cost",
        "rise",
        "seen",
        "shared",
        "usage",
        "used",
    )

    def __init__(self, attempt: Attempt, base: float, now: float) -> None:
        self.attempt = attempt
        self.base = base  # MB that the child had before
        self.at = now
        self.usage = elastic.Usage()
        self.cpu: float | None = None  # CPU seconds when the last sample was taken
        self.cpu_at = now
        self.seen = 0.0  # MB by the last quick look
        self.shared = 0.0  # how many of them aren't its own, by the last exact one
        self.used = 0.0  # MB that count
        self.rise = 0.0  # MB a second
        self.cost = 0.0  # seconds that a quick look takes
        self.exact_at = 0.0  # when the last exact look was over
        self.exact_cost = 0.0  # seconds that it took
        self.checking = False
        self.asking = False


class Watchdog:
    """Looks after the attempts of a worker.

    Parameters:
        memory: whether those that use too much are killed; else they are only measured.
        floor: MB that none is killed for, however little it has asked for.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        attempts: Attempts,
        errands: Errands,
        memory: bool = True,
        floor: int = MEMORY_FLOOR,
    ) -> None:
        self._loop = loop
        self._attempts = attempts
        self._errands = errands
        self._memory = memory
        self._floor = floor
        self._watched: dict[str, Watch] = {}
        self._due: list[tuple[float, int, Watch]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._cost = 0.0  # seconds that a quick look at each takes, in all
        self._thread = ThreadPoolExecutor(1, "exact")

    def lasts(self, attempt: Attempt) -> None:
        """An attempt has run for a moment."""
        child = attempt.child
        if child is None or (not self._memory and attempt.order.elastic == "off"):
            return
        watch = self._watched[attempt.order.token] = Watch(attempt, FRESH + child.base, self._loop.time())
        self._plan(watch, 0.0)

    def over(self, attempt: Attempt) -> None:
        """An attempt is over."""
        watch = self._watched.pop(attempt.order.token, None)
        if watch is not None:
            self._cost -= watch.cost

    def shrunk(self, attempt: Attempt) -> None: ...

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- quick looks ------------------------------------------------------------------------------

    def _plan(self, watch: Watch, pause: float) -> None:
        heapq.heappush(self._due, (self._loop.time() + pause, next(self._numbers), watch))
        if self._timer is None or self._due[0][2] is watch:
            self._wind()

    def _wind(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due[0][0], self._turn) if self._due else None

    def _turn(self) -> None:
        self._timer = None
        for _ in range(AT_ONCE):
            if not self._due or self._due[0][0] > self._loop.time():
                break
            watch = heapq.heappop(self._due)[2]
            if self._watched.get(watch.attempt.order.token) is watch and watch.attempt.ending is None:
                self._look(watch)
        if self._timer is None:
            self._wind()

    def _look(self, watch: Watch) -> None:
        child = watch.attempt.child
        if child is None:
            return
        began = time.perf_counter()
        pids = child.processes()
        use = measure.quick(pids)
        cost = time.perf_counter() - began
        self._cost += cost - watch.cost
        watch.cost = cost
        self._note(watch, use)
        if not watch.checking and self._wants_exact(watch):
            watch.checking = True
            self._loop.run_in_executor(self._thread, _timed_exact, pids).add_done_callback(
                functools.partial(self._looked_exactly, watch, watch.seen)
            )
        self._plan(watch, self._pause(watch))

    def _note(self, watch: Watch, use: measure.Use) -> None:
        now = self._loop.time()
        span = max(now - watch.at, 0.001)
        watch.rise = max(0.0, use.memory - watch.seen) / span if watch.seen else 0.0
        watch.at, watch.seen = now, use.memory
        watch.used = max(0.0, use.memory - watch.shared - watch.base)
        if watch.cpu is None:
            watch.cpu, watch.cpu_at = use.cpu, now
        elif now - watch.cpu_at >= LATEST * 0.9:
            cores = max(0.0, use.cpu - watch.cpu) / (now - watch.cpu_at)
            watch.cpu, watch.cpu_at = use.cpu, now
            watch.usage.add(now, cores, watch.used)
            self._judge_use(watch)

    def _limit(self, watch: Watch) -> float:
        return max(watch.attempt.allocation.memory, self._floor)

    def _pause(self, watch: Watch) -> float:
        """Half the time that it takes to reach the limit, if it grows twice as fast, or begins to grow."""
        if not self._memory:
            return LATEST
        speed = max(SPEED, 4 * watch.rise)
        soonest = max(SOONEST, self._cost / BUDGET)
        return min(LATEST, max(soonest, (self._limit(watch) - watch.used) / speed))

    # -- exact looks ------------------------------------------------------------------------------

    def _wants_exact(self, watch: Watch) -> bool:
        """Whether what the quick look says is worth a closer one."""
        beyond = watch.shared > 0 and watch.used > self._limit(watch)
        if watch.at < watch.exact_at + watch.exact_cost * (1 if beyond else 1 / EXACT_SHARE):
            return False
        attempt = watch.attempt
        if not watch.shared and attempt.order.elastic == "all":
            return True  # what could be given back is to be known well
        return self._memory and watch.used > self._limit(watch) - self._near(watch)

    def _near(self, watch: Watch) -> float:
        rules, limit = watch.usage.rules, self._limit(watch)
        return max(rules.near * limit, rules.near_least, watch.rise * rules.lead)

    def _looked_exactly(self, watch: Watch, seen: float, done: asyncio.Future[tuple[float, float]]) -> None:
        watch.checking = False
        attempt = watch.attempt
        if done.cancelled() or attempt.ending is not None or attempt.order.token not in self._watched:
            return
        own, watch.exact_cost = done.result()
        if own <= 0.0:
            return  # it has just ended
        watch.exact_at = self._loop.time()
        told = max(0.0, seen - watch.shared - watch.base)
        watch.shared = max(0.001, seen - own)
        watch.used = max(0.0, own - watch.base)
        if told - watch.used > watch.usage.rules.memory_least:
            watch.usage.corrected(watch.exact_at, watch.used)
            watch.rise = 0.0  # what rose isn't its own
        if not self._memory:
            return
        if watch.used > self._limit(watch):
            self._beyond(watch)
        elif watch.used > self._limit(watch) - self._near(watch):
            self._ask_for_memory(watch)

    # -- what follows -----------------------------------------------------------------------------

    def _beyond(self, watch: Watch) -> None:
        """It uses more than it may."""
        if watch.asking and watch.used <= PATIENCE * self._limit(watch):
            return  # the next look will tell
        if not watch.asking and self._ask_for_memory(watch) and watch.used <= PATIENCE * self._limit(watch):
            return
        attempt = watch.attempt
        attempt.why = _too_much(watch.used, attempt, self._floor)
        log.warning("a task used too much memory", extra=about(attempt, used=round(watch.used)))
        self._attempts.kill(attempt, Ending.OOM)

    def _ask_for_memory(self, watch: Watch) -> bool:
        """Ask for more memory, if it may have more and wasn't refused just now; whether it was asked for."""
        attempt, usage, now = watch.attempt, watch.usage, self._loop.time()
        if watch.asking or not (usage.refusals < TRIES or usage.may_ask(now)):
            return False
        more = elastic.more_memory(
            watch.used, watch.rise, attempt.allocation.memory, attempt.order.maximum.memory, usage.refusals, usage.rules
        )
        if more is None:
            return False
        self._adjust(watch, None, more, grows=True)
        return True

    def _judge_use(self, watch: Watch) -> None:
        """Give back what isn't used, ask for cores again."""
        attempt = watch.attempt
        if watch.asking:
            return
        had, order = attempt.allocation, attempt.order
        wish = elastic.target(watch.usage, order.elastic, need=order.allocation, allocation=had, maximum=order.maximum)
        if wish is None or wish.memory > had.memory:
            return  # memory is asked for after an exact look
        grows = wish.cpu > had.cpu
        if wish.memory < had.memory and not watch.shared:
            wish = Resources(wish.cpu, had.memory)  # an exact look is under way
        if wish != had:
            cpu = None if wish.cpu == had.cpu else wish.cpu
            memory = None if wish.memory == had.memory else wish.memory
            self._adjust(watch, cpu, memory, grows=grows)

    def _adjust(self, watch: Watch, cpu: int | None, memory: int | None, grows: bool) -> None:
        def answered(granted: bool) -> None:
            watch.asking = False
            if grows:
                watch.usage.answered(self._loop.time(), granted)
                if not granted and memory is not None and watch.usage.refusals < TRIES:
                    self._ask_for_memory(watch)

        watch.asking = True
        self._errands.adjust(watch.attempt, cpu, memory, answered)


def _timed_exact(pids: list[int]) -> tuple[float, float]:
    began = time.perf_counter()
    return measure.exact(pids), time.perf_counter() - began


def _too_much(used: float, attempt: Attempt, floor: int) -> str:
    allowed, need, most = attempt.allocation.memory, attempt.order.allocation.memory, attempt.order.maximum.memory
    text = f"it used {used:.0f} MB of memory and was allowed {max(allowed, floor)} MB: "
    if allowed < need:
        return text + f"the rest of the {need} MB that it had asked for was lent to others, and none was free"
    if allowed < most:
        return (
            text + f"it may have up to {most} MB, but none was free on its node; ask for more with memory= (--memory)"
        )
    return text + "ask for more with memory= (--memory), or let it grow with max_memory= (--max-memory)"
