"""What a client does in more than one step: submit a stream, wait, cancel. Nothing here does IO (see ``steps.py``).

How a client waits. It subscribes to a channel of its own, and only then says which tasks it waits for (``watch``; the
answer tells those that have ended already), so that no end falls in between. A message is a doorbell and may be lost,
so what is still open is asked for every ``POLL`` seconds as well, a batch at a time. When the connection is lost it
begins anew, for as long as the caller has time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rq_sched.client.outcomes import Unaccepted, forgotten, unaccepted, value_of
from rq_sched.client.steps import (
    Deadline,
    Emit,
    Flow,
    Hear,
    Listen,
    Pause,
    Waiting,
    batches,
    heard,
    new_channel,
    run,
)
from rq_sched.errors import (
    ClientBusy,
    DurabilityNotReached,
    InvalidValue,
    RedisUnavailable,
    TaskNotFound,
    UsageError,
    WaitTimeout,
)
from rq_sched.link.outage import may_pass
from rq_sched.model.ids import known_id
from rq_sched.model.output import as_text
from rq_sched.model.states import State
from rq_sched.model.target import checked, packable
from rq_sched.model.task import PRIORITY_LIMIT, TaskInfo, TaskRequest, check_seconds
from rq_sched.process.backoff import backoff
from rq_sched.store.submit import ACCEPTED

if TYPE_CHECKING:
    from rq_sched.link import Command, Op
    from rq_sched.model.node import NodeState
    from rq_sched.store import Store
    from rq_sched.store.answers import Cancelled

T = TypeVar("T")
log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at tasks whose doorbell may have been lost."""
CANCEL_MARGIN = 5.0
"""Seconds beyond the grace that a cancel waits for the processes to be gone."""
PATIENCE = 30.0
"""Seconds that what is part of something longer goes on trying while Redis is away: a restart or a failover is
shorter."""
FOLLOW_MS = 1000
"""Milliseconds that one call waits for new events."""


class Flows:
    """The flows of one client.

    Parameters:
        store: makes the operations.
        clock: tells seconds, for deadlines.
        poll: seconds between two looks at tasks whose doorbell may have been lost.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic, poll: float = POLL) -> None:
        self.store = store
        self.clock = clock
        self.poll = poll
        self.met: Callable[[], bool] = lambda: True
        """Whether Redis was ever there: only then it is waited for."""

    # -- submit -----------------------------------------------------------------------------------

    def submit(self, request: TaskRequest) -> Flow[str]:
        """Submit one checked request; returns its id, which was there before anything was sent: a repeated call is
        the same task."""
        (outcome,) = yield from run(self.store.submit([request]))
        task_id = str(request.task_id)
        if outcome not in ACCEPTED:
            raise unaccepted(outcome, [task_id], 1)
        return task_id

    def submit_stream(self, requests: Iterable[TaskRequest | Mapping[str, Any]]) -> Flow[None]:
        """Submit everything, a batch at a time; emits lists of ids.

        Raises:
            TaskExists, TooManyLabelSets: after everything else was submitted.
            UsageError: a request is bad; those before it are submitted.
            DurabilityNotReached: after the batch that wasn't safe in time; what follows isn't submitted.
        """
        before = 0
        others = Unaccepted()
        for batch in batches(requests):
            good, bad = checked(batch)
            late: DurabilityNotReached | None = None
            try:
                outcomes = yield from run(self.store.submit(good))
            except UsageError:
                good, bad = packable(good)
                outcomes = yield from run(self.store.submit(good))
            except DurabilityNotReached as error:
                late, outcomes = error, error.outcomes
            ids = [str(request.task_id) for request in good]
            yield Emit(others.sift(ids, outcomes))
            before += len(good)
            if late is not None:
                raise late
            if bad is not None:
                raise type(bad)(f"request {before + 1}: {bad} (those before it are submitted)") from None
        others.complain()

    def submit_watched(self, requests: Sequence[TaskRequest], channel: str) -> Flow[list[str]]:
        """Submit checked requests whose ends are to be told on a channel.

        Returns the outcome of each.
        """
        return self.at_last(lambda: self.store.submit(requests, watch=channel))

    # -- wait -------------------------------------------------------------------------------------

    def as_completed(self, task_ids: Iterable[str], timeout: float | None) -> Flow[None]:
        """Emits lists of (id, state) as tasks end, each once.

        Raises:
            TaskNotFound: one of them is unknown.
            WaitTimeout: some haven't ended in time.
        """
        deadline = Deadline(timeout, self.clock)
        waiting = Waiting(known_id(task_id) for task_id in task_ids)
        for batch in batches(waiting.all()):
            states = yield from self._patiently(partial(self.store.states, batch), deadline)
            yield Emit(waiting.settle(zip(batch, states, strict=True)))
            waiting.complain()
        waiting.known = True
        yield from self.ends(waiting, deadline, new_channel())

    def ends(self, waiting: Waiting, deadline: Deadline, channel: str) -> Flow[None]:
        """Emits lists of (id, state) as tasks end, for as long as ``waiting`` goes on; it may be added to meanwhile
        if the tasks are submitted with this channel."""
        tries = 0
        while waiting.goes_on():
            if deadline.passed:
                raise _late(waiting, deadline)
            try:
                yield Listen(self.store.keys.done(channel))
                for batch in batches(waiting.all()):
                    states = yield from run(self.store.watch(batch, channel), deadline)
                    yield Emit(waiting.settle(zip(batch, states, strict=True)))
                    waiting.complain()
                tries = 0
                yield from self._hear(waiting, deadline)
            except RedisUnavailable as error:
                tries = yield from _ride_out(error, tries, deadline)

    def _hear(self, waiting: Waiting, deadline: Deadline) -> Flow[None]:
        look = self.clock() + self.poll
        while waiting.goes_on() and not deadline.passed:
            message = yield Hear(deadline.left(look - self.clock()))
            if message is not None:
                yield Emit(waiting.settle(heard(message)))
                waiting.complain()
            if self.clock() >= look:  # not only when nothing was heard: some other doorbell may have been lost
                batch = waiting.next_batch()
                states = yield from run(self.store.states(batch), deadline)
                yield Emit(waiting.settle(zip(batch, states, strict=True)))
                waiting.complain()
                look = self.clock() + self.poll

    def at_last(self, make: Callable[[], Op[T]]) -> Flow[T]:
        """The answer to a question that is part of something longer: asked for ``PATIENCE`` seconds while Redis is
        away."""
        return self._patiently(make, Deadline(PATIENCE, self.clock))

    def outcomes(self, task_ids: Sequence[str]) -> Flow[list[TaskInfo | None]]:
        """Everything known of tasks, however long Redis is away."""
        return (yield from self._patiently(lambda: self.store.status(task_ids), Deadline(None)))

    def ring(self, channel: str) -> Flow[None]:
        """Wake whoever listens to this channel, without news."""
        command = ("PUBLISH", self.store.keys.done(channel), "")
        yield from run(_one(command))

    def result(self, task_id: str, timeout: float | None) -> Flow[Any]:
        """What the task returned, once it has ended.

        Raises:
            TaskNotFound, TaskFailed, WaitTimeout
        """
        deadline = Deadline(timeout, self.clock)
        info = yield from self._patiently(lambda: self.store.result(task_id), deadline)
        while not info.state.final:  # once more if it was requeued between the doorbell and our look
            yield from self.ends(Waiting([task_id], known=True), deadline, new_channel())
            try:
                info = yield from self._patiently(lambda: self.store.result(task_id), deadline)
            except TaskNotFound:
                raise forgotten(task_id) from None
        return value_of(info)

    def _patiently(self, make: Callable[[], Op[T]], deadline: Deadline) -> Flow[T]:
        """Repeat a question until Redis answers or the time is up.

        Raises:
            WaitTimeout: the time was spent waiting for a connection.
            RedisUnavailable: it doesn't answer until then, or never did.
        """
        tries = 0
        while True:
            try:
                return (yield from run(make(), deadline))
            except RedisUnavailable as error:
                if deadline.passed and isinstance(error, ClientBusy):
                    raise WaitTimeout(str(error)) from None
                if deadline.passed or not self.met():
                    raise
                tries = yield from _ride_out(error, tries, deadline)

    # -- cancel -----------------------------------------------------------------------------------

    def cancel(self, task_id: str, requeue: bool, grace: float, reason: str | None, wait: bool) -> Flow[Cancelled]:
        """Cancel, and wait until the processes are gone: grace + 5 s at most."""
        check_seconds(grace, "grace")
        if reason is not None and not isinstance(reason, str):
            raise InvalidValue(f"reason must be text, not {reason!r:.80}")
        how: Any = {
            "requeue": requeue,
            "grace": grace,
            "reason": reason,
            "operation": new_channel(),
        }  # repeated, the same
        cancel = partial(self.store.cancel, task_id, **how)
        cancelled = yield from self._patiently(cancel, Deadline(PATIENCE, self.clock))
        deadline = Deadline(grace + CANCEL_MARGIN, self.clock)
        if wait and cancelled.outcome != "stopping" and cancelled.elements:
            yield from self._stopped(dict(cancelled.elements), deadline)
        if not wait or cancelled.outcome != "stopping":
            return cancelled
        tries = 0
        while not deadline.passed:
            yield Pause(deadline.left(min(0.25, backoff(tries, most=1.0, jitter=False) / 4)))
            tries += 1
            try:
                info = yield from self._patiently(lambda: self.store.result(task_id), deadline)
            except RedisUnavailable:
                return cancelled  # it was told to stop; more isn't known in this time
            if info.attempt != cancelled.attempt or info.state not in (State.ASSIGNED, State.RUNNING):
                return replace(cancelled, outcome=_outcome(info.state), state=info.state, attempt=info.attempt)
        return cancelled

    def _stopped(self, attempts: dict[str, int], deadline: Deadline) -> Flow[None]:
        """Wait until these attempts (task → attempt) are over, or the time is up."""
        tries = 0
        while attempts and not deadline.passed:
            yield Pause(deadline.left(min(0.25, backoff(tries, most=1.0, jitter=False) / 4)))
            tries += 1
            try:
                infos = yield from self._patiently(partial(self.store.status, list(attempts)), deadline)
            except RedisUnavailable:
                return
            going_on = [i.task_id for i in infos if i and i.state in (State.ASSIGNED, State.RUNNING)
                        and i.attempt == attempts[i.task_id]]  # fmt: skip
            attempts = {task_id: attempts[task_id] for task_id in going_on}

    # -- look -------------------------------------------------------------------------------------

    def status(self, task_id: str) -> Flow[TaskInfo]:
        """Everything known of one task.  Raises: TaskNotFound."""
        (info,) = yield from run(self.store.status([known_id(task_id)]))
        if info is None:
            raise TaskNotFound.of(task_id)
        return info

    def array(self, task_id: str) -> Flow[TaskInfo]:
        """Everything known of an array whose elements are to be gone through.  Raises: TaskNotFound."""
        return self.at_last(partial(self.store.result, task_id))

    def ping(self) -> Flow[None]:
        """Ask something small."""
        yield from run(self.store.counts())

    def state(self, task_id: str) -> Flow[State]:
        """Where one task is.  Raises: TaskNotFound."""
        (state,) = yield from run(self.store.states([known_id(task_id)]))
        if state is None:
            raise TaskNotFound.of(task_id)
        return state

    def tasks(
        self, array: str | None, state: State | str | None, node_id: str | None, priority: int | None, limit: int
    ) -> Flow[list[TaskInfo]]:
        """Tasks that match.  Raises: InvalidValue, TaskNotFound."""
        if type(limit) is not int or not 0 <= limit < 2**31:
            raise InvalidValue(f"limit must be a whole number from 0, not {limit!r:.80}")
        which: Any = {"state": _state(state), "node": node_id, "priority": priority, "limit": limit}
        if array is not None:
            return (yield from run(self.store.list_elements(array, **which))).tasks
        return (yield from run(self.store.list_tasks(**which))).tasks

    def logs(self, task_id: str) -> Flow[str]:
        """The captured output of a task.  Raises: TaskNotFound."""
        output = yield from run(self.store.log(known_id(task_id)))
        if not output:
            yield from self.state(task_id)
        return as_text(output)

    def events(self, task_id: str | None, node_id: str | None, after: str | None, follow: bool) -> Flow[None]:
        """Emits lists of events: those after an id (None: all there are, or with ``follow`` from now on)."""
        if after is None and follow:
            newest = yield from self._patiently(partial(self.store.events, newest=True, limit=1), Deadline(None))
            after = newest[-1].id if newest else None
        last_id = after or "0-0"
        tries = 0
        while True:
            try:
                op = self.store.events_follow(last_id, FOLLOW_MS) if follow else self.store.events(last_id)
                found = yield from run(op, follows=follow)
                tries = 0
            except RedisUnavailable as error:
                if not follow:
                    raise
                found = []
                tries = yield from _ride_out(error, tries, Deadline(None))
            if found:
                last_id = found[-1].id
                yield Emit([e for e in found if task_id in (None, e.task_id) and node_id in (None, e.node_id)])
            elif not follow:
                return

    # -- change -----------------------------------------------------------------------------------

    def prioritize(self, task_id: str, priority: int) -> Flow[State]:
        """Change a priority.  Raises: TaskNotFound, TaskFinal, InvalidValue."""
        if type(priority) is not int or abs(priority) > PRIORITY_LIMIT:
            raise InvalidValue(f"priority must be a whole number within ±2³¹, not {priority!r}")
        return (yield from run(self.store.prioritize(task_id, priority)))

    def drain(self, node_id: str, requeue: bool, grace: float) -> Flow[NodeState]:
        """No new tasks for a node.  Raises: NodeNotFound, InvalidValue."""
        check_seconds(grace, "grace")
        return (yield from run(self.store.node_drain(node_id, requeue=requeue, grace=grace)))

    def forget(self, task_ids: Iterable[str] | None, state: State | str | None, older_than: float) -> Flow[int]:
        """Drop ended tasks: these, or batch by batch all that match; returns how many."""
        total = 0
        if task_ids is not None:
            for batch in batches(task_ids):
                total += yield from run(self.store.forget_ids(batch))
            return total
        check_seconds(older_than, "older_than")
        wanted = _state(state)
        while dropped := (yield from run(self.store.forget(state=wanted, older_than=older_than))):
            total += dropped
        return total


def _ride_out(error: RedisUnavailable, tries: int, deadline: Deadline) -> Flow[int]:
    """Pause before the next try, and count it. What won't pass by itself is raised."""
    if not may_pass(error):
        raise error
    if tries == 0:
        log.warning("waiting for Redis: %s", error)
    yield Pause(deadline.left(backoff(tries, most=1.0, jitter=False)))
    return tries + 1


def _one(command: Command) -> Op[Any]:
    return (yield [command])[0]


def _state(state: State | str | None) -> State | None:
    try:
        return None if state is None else State(state)
    except ValueError:
        raise InvalidValue(f"no state {state!r}: it is one of {', '.join(State)}") from None


def _late(waiting: Waiting, deadline: Deadline) -> WaitTimeout:
    open_ids = waiting.all()
    more = f" and {len(open_ids) - 3} more" if len(open_ids) > 3 else ""
    return WaitTimeout(f"not ended within {deadline.timeout:g} s: {', '.join(open_ids[:3])}{more}")


def _outcome(state: State) -> str:
    if state is State.CANCELLED:
        return "cancelled"
    return f"already {state}" if state.final else "requeued"
