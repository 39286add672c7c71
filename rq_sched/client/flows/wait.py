"""Waiting for the ends of tasks, and reading what they returned.

How a client waits. It subscribes to a channel of its own, and only then says which tasks it waits for (``watch``; the
answer tells those that have ended already), so that no end falls in between. A message is a doorbell and may be lost,
so what is still open is asked for every ``POLL`` seconds as well, a batch at a time. When the connection is lost it
begins anew, for as long as the caller has time. Where it listened already when the task was submitted, all of this is
done: it only needs to hear (``doorbells.py``). What a task returned comes with the news of its end, if it is short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from rq_sched.client.flows.base import BaseFlows, ride_out
from rq_sched.client.outcomes import forgotten, value_of, value_told
from rq_sched.client.steps import (
    Deadline,
    Emit,
    Flow,
    Hear,
    Listen,
    TakeOver,
    Waiting,
    advance,
    batches,
    run,
)
from rq_sched.errors import (
    InvalidValue,
    RedisUnavailable,
    RqSchedError,
    TaskFailed,
    TaskNotFound,
    UnreadableValue,
    WaitTimeout,
)
from rq_sched.model.arrays import extent
from rq_sched.model.durations import Duration
from rq_sched.model.ids import known_id
from rq_sched.model.task import TaskInfo
from rq_sched.process.environment import tell_of_held_cores

if TYPE_CHECKING:
    from rq_sched.link import Command, Op


class WaitFlows(BaseFlows):
    """The flows of waiting."""

    def as_completed(self, task_ids: Iterable[str], timeout: Duration | None) -> Flow[None]:
        """Emits lists of (id, state) as tasks end, each once.

        Raises:
            TaskNotFound: one of them is unknown.
            WaitTimeout: some haven't ended in time.
        """
        deadline = Deadline(timeout, self.clock)
        waiting = Waiting(known_id(task_id) for task_id in task_ids)
        for batch in batches(waiting.all()):
            states = yield from self.patiently(partial(self.store.states, batch), deadline)
            yield Emit(waiting.settle(zip(batch, states, strict=True)))
            waiting.complain()
        waiting.known = True
        yield from self.ends(waiting, deadline)

    def ends(self, waiting: Waiting, deadline: Deadline, own: str | None = None) -> Flow[None]:
        """Emits lists of (id, state) as tasks end, for as long as ``waiting`` goes on; it may be added to meanwhile
        if the tasks are submitted with the channel ``own``."""
        tries = 0
        while waiting.goes_on():
            if deadline.passed:
                raise _late(waiting, deadline)
            try:
                channel = yield Listen(own)
                for batch in batches(waiting.all()):
                    states = yield from run(self.store.watch(batch, channel), deadline)
                    yield Emit(waiting.settle(zip(batch, states, strict=True)))
                    waiting.complain()
                tries = 0
                yield from self._hear(waiting, deadline)
            except RedisUnavailable as error:
                tries = yield from ride_out(error, tries, deadline)

    def _hear(self, waiting: Waiting, deadline: Deadline) -> Flow[None]:
        if waiting.goes_on():
            tell_of_held_cores()
        look = self.clock() + self.poll
        while waiting.goes_on() and not deadline.passed:
            message = yield Hear(deadline.left(look - self.clock()))
            if message is not None:
                yield Emit(waiting.hear(message))
                waiting.complain()
            if self.clock() >= look:  # not only when nothing was heard: some other doorbell may have been lost
                batch = waiting.next_batch()
                states = yield from run(self.store.states(batch), deadline)
                yield Emit(waiting.settle(zip(batch, states, strict=True)))
                waiting.complain()
                look = self.clock() + self.poll

    def results(self, task_ids: Iterable[str], timeout: Duration | None, return_exceptions: bool) -> Flow[None]:
        """Emits lists of what tasks returned, in the order of the ids, a batch at a time.

        Raises:
            TaskNotFound, WaitTimeout
            TaskFailed, UnreadableValue: with ``return_exceptions`` they are emitted in the places of the values.
        """
        deadline = Deadline(timeout, self.clock)
        for batch in batches(map(known_id, task_ids)):
            infos = yield from self._ended(batch, deadline)
            values: list[Any] = []
            for info in infos:
                try:
                    values.append(value_of(info))
                except (TaskFailed, UnreadableValue) as error:
                    if not return_exceptions:
                        yield Emit(values)
                        raise
                    values.append(error)
            yield Emit(values)

    def array_results(self, array_id: str, timeout: Duration | None, return_exceptions: bool) -> Flow[None]:
        """The same of an array's elements.  Raises: also InvalidValue, where it isn't an array."""
        element_ids = yield from self.elements(array_id)
        yield from self.results(element_ids, timeout, return_exceptions)

    def elements(self, task_id: str) -> Flow[Iterator[str]]:
        """The ids of an array's elements, in their order.  Raises: TaskNotFound, InvalidValue."""
        info = yield from self.at_last(partial(self.store.result, task_id))
        if info.array is None:
            raise InvalidValue(f"{info.task_id} isn't an array: it has no elements")
        first, last = extent(info.array)
        return (f"{info.task_id}/{index}" for index in range(first, last + 1))

    def _ended(self, batch: Sequence[str], deadline: Deadline) -> Flow[list[TaskInfo]]:
        """Everything known of these tasks, in their order, once all have ended.  Raises: TaskNotFound, WaitTimeout."""
        found: dict[str, TaskInfo] = {}
        seen = False  # only what was there before can have been forgotten meanwhile
        while True:
            missing = [task_id for task_id in batch if task_id not in found]
            infos = yield from self.patiently(partial(self.store.status, missing), deadline)
            for task_id, info in zip(missing, infos, strict=True):
                if info is None:
                    raise forgotten(task_id) if seen else TaskNotFound.of(task_id)
                if info.state.final:
                    found[task_id] = info
            if len(found) == len(set(batch)):
                return [found[task_id] for task_id in batch]
            seen = True
            waiting = Waiting((task_id for task_id in batch if task_id not in found), known=True)
            yield from self._silently(self.ends(waiting, deadline))

    def _silently(self, flow: Flow[None]) -> Flow[None]:
        """The flow, without what it emits."""
        step = advance(flow)
        while step is not None:
            answer: Any = None
            try:
                answer = None if isinstance(step, Emit) else (yield step)
            except RqSchedError as error:
                step = advance(flow, error=error)
            else:
                step = advance(flow, answer)

    def outcomes(self, task_ids: Sequence[str]) -> Flow[list[TaskInfo | None]]:
        """Everything known of tasks, however long Redis is away."""
        return (yield from self.patiently(lambda: self.store.status(task_ids), Deadline(None)))

    def ring(self, channel: str) -> Flow[None]:
        """Wake whoever listens to this channel, without news."""
        command = ("PUBLISH", self.store.keys.done(channel), "")
        yield from run(_one(command))

    def result(self, task_id: str, timeout: Duration | None) -> Flow[Any]:
        """What the task returned, once it has ended.

        Raises:
            TaskNotFound, TaskFailed, WaitTimeout
        """
        deadline = Deadline(timeout, self.clock)
        waiting = Waiting([task_id], known=True, results=True)
        seen = yield TakeOver(task_id)
        if seen:
            with suppress(RedisUnavailable):  # what follows waits it out
                yield from self._hear(waiting, deadline)
        while task_id not in waiting.results:
            try:
                info = yield from self.patiently(lambda: self.store.result(task_id), deadline)
            except TaskNotFound:
                if seen:  # else it was never there
                    raise forgotten(task_id) from None
                raise
            if info.state.final:
                return value_of(info)
            seen = True
            waiting.add([task_id])  # once more if it was requeued between the doorbell and our look
            yield from self.ends(waiting, deadline)
        return value_told(task_id, waiting.results[task_id])


def _one(command: Command) -> Op[Any]:
    return (yield [command])[0]


def _late(waiting: Waiting, deadline: Deadline) -> WaitTimeout:
    open_ids = waiting.all()
    more = f" and {len(open_ids) - 3} more" if len(open_ids) > 3 else ""
    return WaitTimeout(f"not ended within {deadline.timeout:g} s: {', '.join(open_ids[:3])}{more}")
