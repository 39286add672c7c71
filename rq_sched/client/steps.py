"""The steps that a client's flows are made of, and what flows share.

A flow is a generator of steps. ``Client`` takes each step by blocking, ``AsyncClient`` by awaiting, and both send the
answer back in; a step that fails is thrown in. So everything worth a thought stands once, in ``flows/``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import isnan
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rq_sched.client.outcomes import forgotten
from rq_sched.errors import InvalidValue, TaskNotFound
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.given import given
from rq_sched.model.states import State

if TYPE_CHECKING:
    from rq_sched.link import Op

T = TypeVar("T")

BATCH = 1000
"""Tasks in one operation, at most: what is sent at once, and what a lost connection has to send again."""


@dataclass(slots=True)
class Run:
    """Carry out an operation of the store; the answer is what it returns.

    ``within``: seconds that it may wait for a connection if all are in use; None: as long as others get answers.
    ``follows``: the server waits with its answer until there is something to tell."""

    op: Op[Any]
    within: float | None = None
    follows: bool = False


@dataclass(slots=True)
class Listen:
    """Listen to this channel from now on, and to no other; None: to one that nobody else has. The answer is its
    name."""

    channel: str | None = None


@dataclass(slots=True)
class ListenAlready:
    """Listen to a channel of those that this client keeps (``doorbells.py``), if one rests; the answer is its name or
    None."""


@dataclass(slots=True)
class ListenOn:
    """Have this client listen on after the flow, for who waits for this task."""

    task_id: str


@dataclass(slots=True)
class TakeOver:
    """Listen where this client has listened for this task since its submit; the answer is whether it has."""

    task_id: str


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


Step = Run | Listen | ListenAlready | ListenOn | TakeOver | Hear | Pause | Emit
Flow = Generator[Step, Any, T]


def run(op: Op[T], deadline: Deadline | None = None, follows: bool = False) -> Flow[T]:
    """The step ``Run``, with the type of its answer."""
    answer: T = yield Run(op, None if deadline is None else deadline.left(), follows)
    return answer


def advance(flow: Flow[Any], answer: Any = None, error: Exception | None = None) -> Step | None:
    """The next step of a flow, given the answer to the one before, or what went wrong with it; None at its end."""
    try:
        return flow.send(answer) if error is None else flow.throw(error)
    except StopIteration:
        return None


def last(flow: Flow[T]) -> Flow[None]:
    """The flow, with what it returns as the last value it emits."""
    yield Emit((yield from flow))


def new_channel() -> str:
    """A name that nobody else has."""
    return os.urandom(8).hex()


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Lists of at most ``size`` items. When ``items`` raises, what came before it is given out first."""
    batch: list[T] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


class Deadline:
    """When a caller's time is up.

    Parameters:
        timeout: seconds, ``"10m"`` or a ``timedelta``; None: never.
        clock: tells seconds.
    """

    def __init__(self, timeout: Duration | None, clock: Callable[[], float] = time.monotonic) -> None:
        if isinstance(timeout, (str, timedelta)):
            timeout = parse_duration(timeout, "timeout")
        if timeout is not None and (not isinstance(timeout, (int, float)) or isnan(timeout)):
            raise InvalidValue(f"timeout must be a number of seconds, or None, not {given(timeout)}")
        self.timeout = timeout
        self._clock = clock
        self._end = None if timeout is None else clock() + timeout

    @overload
    def left(self) -> float | None: ...
    @overload
    def left(self, most: float) -> float: ...
    def left(self, most: float | None = None) -> float | None:
        """Seconds left, at most ``most``; 0 when the time is up. None: any number."""
        if self._end is None:
            return most
        left = self._end - self._clock()
        return max(0.0, left if most is None else min(most, left))

    @property
    def passed(self) -> bool:
        return self._end is not None and self._clock() >= self._end


class Waiting:
    """The tasks that haven't ended yet, looked at in turn."""

    def __init__(self, task_ids: Iterable[str] = (), known: bool = False, results: bool = False) -> None:
        self._open = dict.fromkeys(task_ids)
        self._missing: list[str] = []
        self.known = known
        """Whether they were there when the waiting began."""
        self.results: dict[str, bytes] = {}
        """What ended ones returned, packed, where it came with the news; kept only if asked for."""
        self._keeps_results = results

    def __len__(self) -> int:
        return len(self._open)

    def goes_on(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self._open)

    def unknown(self, task_id: str) -> None:
        """Called for a task that isn't there.

        Raises:
            TaskNotFound
        """
        raise forgotten(task_id) if self.known else TaskNotFound.of(task_id)

    def complain(self) -> None:
        """Tell of those that aren't there, once what has ended is delivered.  Raises: TaskNotFound."""
        missing, self._missing = self._missing, []
        for task_id in missing:
            self.unknown(task_id)

    def add(self, task_ids: Iterable[str]) -> None:
        self._open.update(dict.fromkeys(task_ids))

    def all(self) -> list[str]:
        return list(self._open)

    def next_batch(self) -> list[str]:
        """Those that haven't been looked at for longest; they go to the end of the row."""
        batch = list(self._open)[:BATCH]
        for task_id in batch:
            self._open.pop(task_id, None)  # another thread may have been faster
        self.add(batch)
        return batch

    def hear(self, message: bytes) -> list[tuple[str, State]]:
        """``settle`` with what a notification says."""
        states, results = read_notification(message)
        ended = self.settle(states)
        if self._keeps_results:
            self.results.update((task_id, results[task_id]) for task_id, _ in ended if task_id in results)
        return ended

    def settle(self, states: Iterable[tuple[str, State | None]]) -> list[tuple[str, State]]:
        """Of these, those that were open and have ended: they are open no longer, nor are those that aren't there,
        of which ``complain`` tells."""
        ended = []
        for task_id, state in states:
            if task_id not in self._open:
                continue
            if state is None or state.final:
                self._open.pop(task_id, None)
            if state is None:
                self._missing.append(task_id)
            elif state.final:
                ended.append((task_id, state))
        return ended


def read_notification(message: bytes) -> tuple[list[tuple[str, State]], dict[str, bytes]]:
    """What a notification says: the states of tasks that have ended, and what some of them returned.

    It is ``ID STATE ID STATE …``; behind a STATE ``:BYTES`` may say how many bytes of what follows that line the task
    returned. One that can't be read says nothing: who waits looks now and then.

    >>> read_notification(b"t1 completed:1 t2 failed\\n\\x07")
    ([('t1', <State.COMPLETED: 'completed'>), ('t2', <State.FAILED: 'failed'>)], {'t1': b'\\x07'})
    """
    line, _, packed = message.partition(b"\n")
    states: list[tuple[str, State]] = []
    results: dict[str, bytes] = {}
    try:
        words = line.decode("ascii").split()
        for task_id, word in zip(words[::2], words[1::2], strict=True):
            state, told, size = word.partition(":")
            states.append((task_id, State(state)))
            if told:
                results[task_id], packed = packed[: int(size)], packed[int(size) :]
    except ValueError:
        return [], {}
    return states, results
