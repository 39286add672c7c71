"""What a client does in more than one step, without doing any of it: waiting, cancelling, submitting a stream.

A flow is a generator of steps. ``Client`` takes each step by blocking, ``AsyncClient`` by awaiting, and both send the
answer back in, so that everything worth a thought stands here once. A failed step is thrown into the flow.

How a client waits. It subscribes to a channel of its own, and only then says which tasks it waits for (``watch``; the
answer tells those that have ended already), so that no end falls in between. A message is a doorbell and may be lost,
so what is still open is asked for every ``POLL`` seconds as well, a bite at a time. When the connection is lost it
begins anew, for as long as the caller has time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from rq_sched.errors import (
    RedisFull,
    RedisUnavailable,
    ServerTooOld,
    TaskExists,
    TaskFailed,
    TaskNotFound,
    UsageError,
    WaitTimeout,
    WrongType,
)
from rq_sched.task import State, TaskInfo, TaskRequest, request_from_json

if TYPE_CHECKING:
    from rq_sched.link import Op
    from rq_sched.store import Cancelled, Event, Store

T = TypeVar("T")

POLL = 1.0
"""Seconds between two looks at tasks whose doorbell may have been lost."""
BITE = 1000
"""Tasks in one operation, at most: what is sent at once, and what a lost connection has to send again."""
CANCEL_MARGIN = 5.0
"""Seconds beyond the grace that a cancel waits for the processes to be gone."""


@dataclass(slots=True)
class Run:
    """Carry out an operation of the store; the answer is what it returns."""

    op: Op[Any]


@dataclass(slots=True)
class Listen:
    """Listen to this channel from now on, and to no other."""

    channel: str


@dataclass(slots=True)
class Hear:
    """Wait for a message, at most so many seconds; the answer is its text or None."""

    timeout: float


@dataclass(slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(slots=True)
class Emit:
    """Give this value to the caller, who iterates."""

    value: Any


Step = Run | Listen | Hear | Pause | Emit
Flow = Generator[Step, Any, T]


def run(op: Op[T]) -> Flow[T]:
    """The step ``Run``, with the type of its answer."""
    answer: T = yield Run(op)
    return answer


def last(flow: Flow[T]) -> Flow[None]:
    """The flow, with what it returns as the last value it emits."""
    yield Emit((yield from flow))


def new_channel() -> str:
    """A name that no other waiting client has."""
    return os.urandom(8).hex()


def passing(error: RedisUnavailable) -> bool:
    """Whether Redis may come back without anybody's doing: a restart, a failover, a broken connection."""
    return not isinstance(error, (RedisFull, ServerTooOld, WrongType))


def bites(items: Iterable[T], size: int = BITE) -> Iterator[list[T]]:
    """Lists of at most ``size`` items."""
    rest = iter(items)
    while bite := list(islice(rest, size)):
        yield bite


def back_off(tries: int) -> float:
    """Seconds before the next try: 0.05, 0.1, … 1."""
    return min(1.0, 0.05 * 2.0 ** min(tries, 10))


class Deadline:
    """When a caller's time is up. ``timeout`` in seconds, None: never."""

    def __init__(self, timeout: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = None if timeout is None else clock() + timeout

    def left(self, most: float) -> float:
        """Seconds left, at most ``most``; 0 when the time is up."""
        return most if self._end is None else max(0.0, min(most, self._end - self._clock()))

    @property
    def passed(self) -> bool:
        return self._end is not None and self._clock() >= self._end


class Waiting:
    """The tasks that haven't ended yet, looked at in turn."""

    def __init__(self, task_ids: Iterable[str] = ()) -> None:
        self._open = dict.fromkeys(task_ids)

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._open))

    def add(self, task_ids: Iterable[str]) -> None:
        self._open.update(dict.fromkeys(task_ids))

    def discard(self, task_id: str) -> None:
        self._open.pop(task_id, None)

    def next_bite(self) -> list[str]:
        """Those that haven't been looked at for longest; they go to the end of the row."""
        bite = list(self._open)[:BITE]
        for task_id in bite:
            self._open.pop(task_id, None)
        self.add(bite)
        return bite

    def settle(self, states: Iterable[tuple[str, State | None]]) -> list[tuple[str, State | None]]:
        """Of these, those that were open and have ended (or are unknown: None): they are open no longer."""
        ended = []
        for task_id, state in states:
            if (state is None or state.final) and task_id in self._open:
                self.discard(task_id)
                ended.append((task_id, state))
        return ended


def heard(message: bytes) -> Iterator[tuple[str, State]]:
    """What a doorbell says: ``ID STATE ID STATE …``."""
    words = message.decode("ascii").split()
    return ((task_id, State(state)) for task_id, state in zip(words[::2], words[1::2], strict=False))


class Flows:
    """The flows of one client. ``clock`` tells seconds, for deadlines."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self.clock = clock

    # -- submit -----------------------------------------------------------------------------------

    def submit(self, request: TaskRequest) -> Flow[str]:
        """Submit one checked request; returns its id.

        The id is there before anything is sent, so a repeated call is the same task.
        """
        (outcome,) = yield from run(self.store.submit([request]))
        if outcome == "conflict":
            raise _taken([str(request.task_id)], 1)
        return str(request.task_id)

    def submit_stream(self, requests: Iterable[TaskRequest | Mapping[str, Any]]) -> Flow[int]:
        """Submit everything, a bite at a time; emits lists of ids, returns how many."""
        count = 0
        taken: list[str] = []
        taken_count = 0
        for bite in bites(requests):
            accepted, outcomes = yield from self._submit_bite(bite, count)
            count += len(accepted)
            refused = [i for i, outcome in zip(accepted, outcomes, strict=True) if outcome == "conflict"]
            taken += refused[: BITE - len(taken)]
            taken_count += len(refused)
            yield Emit([i for i, outcome in zip(accepted, outcomes, strict=True) if outcome != "conflict"])
        if taken:
            raise _taken(taken, taken_count)
        return count

    def _submit_bite(
        self, bite: Sequence[TaskRequest | Mapping[str, Any]], before: int
    ) -> Flow[tuple[list[str], list[str]]]:
        """The ids and outcomes of a bite. A bad request doesn't take those before it along."""
        good: list[TaskRequest] = []
        try:
            for item in bite:
                good.append(as_request(item))
            outcomes = yield from run(self.store.submit(good))
        except UsageError as error:
            good, bad = _before_bad(good, error)
            if good:
                yield from run(self.store.submit(good))
            raise type(bad)(f"request {before + len(good) + 1}: {bad} (those before it are submitted)") from None
        return [str(request.task_id) for request in good], outcomes

    # -- wait -------------------------------------------------------------------------------------

    def ends(self, waiting: Waiting, deadline: Deadline, goes_on: Callable[[], bool] | None = None) -> Flow[None]:
        """Emits lists of (id, state) as tasks end; state None: no such task.

        ``waiting`` may grow while ``goes_on()`` says so.

        Raises:
            WaitTimeout: the time is up and some are still open.
        """
        channel = new_channel() if goes_on is None else ""
        del channel
        return
        yield

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> Flow[dict[str, State]]:
        raise NotImplementedError
