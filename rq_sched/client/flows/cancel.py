"""Cancelling tasks, and waiting until their processes are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rq_sched.client.flows.base import PATIENCE, BaseFlows
from rq_sched.client.steps import Deadline, Emit, Flow, Pause, batches, new_channel
from rq_sched.errors import InvalidValue, RedisUnavailable, RqSchedError
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.given import given
from rq_sched.model.ids import known_id
from rq_sched.model.states import UNENDED, CancelOutcome, State, parse_state
from rq_sched.model.tags import TagsGiven, wanted_tags
from rq_sched.model.task import TaskInfo
from rq_sched.process.backoff import backoff
from rq_sched.store.answers import Cancelled
from rq_sched.store.lists import ACTIVE
from rq_sched.store.selection import BATCH, Selection

CANCEL_MARGIN = 5.0
"""Seconds beyond the grace that a cancel waits for the processes to be gone."""
Answer = Cancelled | RqSchedError
"""What a cancel did, or why it was refused."""
LONGEST_PAUSE = 0.25
"""Seconds between two looks at whether they are gone, at most."""


class CancelFlows(BaseFlows):
    """The flows of cancelling."""

    def cancel(self, task_id: str, requeue: bool, grace: Duration, reason: str | None, wait: bool) -> Flow[Cancelled]:
        """Cancel one task, as ``cancel_many`` does.  Raises: InvalidValue, TaskNotFound."""
        answers = yield from self.cancel_many([task_id], requeue, grace, reason, wait)
        answer = answers[task_id]
        if isinstance(answer, RqSchedError):
            raise answer
        return answer

    def cancel_many(
        self,
        task_ids: Iterable[str],
        requeue: bool,
        grace: Duration,
        reason: str | None,
        wait: bool,
        patience: float | None = PATIENCE,
    ) -> Flow[dict[str, Answer]]:
        """Cancel tasks, and wait until the processes of all are gone: grace + 5 s at most. Tells what each cancel did.

        After the tasks come the elements that were told to stop of arrays that are requeued. Of an array that ends for
        good no elements are told: the array itself shows when they are gone.

        Parameters:
            patience: seconds to wait for Redis while it is away; None: any number.

        Raises:
            InvalidValue
        """
        how = _how(requeue, grace, reason)
        answers: dict[str, Answer] = {}
        for batch in batches(dict.fromkeys(map(known_id, task_ids)), BATCH):
            answers |= yield from self._cancel(batch, how, Deadline(patience, self.clock))
        if wait:
            answers |= {task_id: answer for task_id, answer in _elements(answers) if task_id not in answers}
            yield from self._stopped(answers, requeue, Deadline(how["grace"] + CANCEL_MARGIN, self.clock))
        return answers

    def cancelling(
        self,
        task_ids: Iterable[str] | None,
        state: State | str | None,
        tag: TagsGiven,
        requeue: bool,
        grace: Duration,
        reason: str | None,
        wait: bool,
    ) -> Flow[None]:
        """Cancel these tasks, or all in a state or with tags; emits lists of answers.  Raises: InvalidValue."""
        if (task_ids is None) == (state is None and tag is None):
            raise InvalidValue("say which tasks: give either tasks, or a state, a tag or both")
        if task_ids is not None:
            answers = yield from self.cancel_many(task_ids, requeue, grace, reason, wait)
            yield Emit(list(answers.values()))
            return
        chosen = parse_state(state)
        if chosen is not None and chosen.final:
            raise InvalidValue(f"state must be one in which a task hasn't ended, not {given(state)}")
        states = UNENDED if chosen is None else (chosen,)
        yield from self.cancel_selected(states, wanted_tags(tag), requeue, grace, reason, wait)

    def cancel_selected(
        self,
        states: Collection[State],
        tags: Mapping[str, str],
        requeue: bool,
        grace: Duration,
        reason: str | None,
        wait: bool,
        patience: float | None = PATIENCE,
    ) -> Flow[None]:
        """Cancel all tasks that are in these states now and have these tags. Emits lists of answers, one for each task;
        of those whose processes have to be waited for they come last. Parameters and errors: ``cancel_many``."""
        how = _how(requeue, grace, reason)
        how["waiting"] = ACTIVE.isdisjoint(states)  # the rest of an array, not what runs of it
        stopping: dict[str, Answer] = {}
        selection = Selection(self.store, states, tags)
        while task_ids := (yield from self.patiently(selection.next_batch, Deadline(patience, self.clock))):
            answers = yield from self._cancel(task_ids, how, Deadline(patience, self.clock))
            late = _stopping(answers) if wait else {}
            stopping |= late
            yield Emit([answer for task_id, answer in answers.items() if task_id not in late])
        yield from self._stopped(stopping, requeue, Deadline(how["grace"] + CANCEL_MARGIN, self.clock))
        yield Emit(list(stopping.values()))

    def _cancel(self, task_ids: Sequence[str], how: dict[str, Any], deadline: Deadline) -> Flow[dict[str, Answer]]:
        """Tell tasks to stop."""
        cancel = partial(self.store.cancel, operation=new_channel(), **how)  # repeated, it is the same one
        return (yield from self.each(task_ids, cancel, deadline))

    def _stopped(self, answers: dict[str, Answer], requeue: bool, deadline: Deadline) -> Flow[None]:
        """Wait until no process of a stopped attempt is left. What is still there then keeps the outcome `stopping`."""
        tries = 0
        while (stopping := _stopping(answers)) and not deadline.passed:
            yield Pause(deadline.left(min(LONGEST_PAUSE, backoff(tries, most=1.0, jitter=False) / 4)))
            tries += 1
            for batch in batches(stopping):
                try:
                    infos = yield from self.patiently(partial(self.store.status, batch), deadline)
                except RedisUnavailable:
                    return  # they were told to stop; more isn't known in this time
                for task_id, info in zip(batch, infos, strict=True):
                    answers[task_id] = _since(stopping[task_id], info, requeue)


def _how(requeue: bool, grace: Duration, reason: str | None) -> dict[str, Any]:
    """What a cancel says to each task.  Raises: InvalidValue."""
    if reason is not None and not isinstance(reason, str):
        raise InvalidValue(f"reason must be text, not {given(reason)}")
    return {"requeue": requeue, "grace": parse_duration(grace, "grace"), "reason": reason}


def _elements(answers: dict[str, Answer]) -> Iterator[tuple[str, Cancelled]]:
    """The elements to wait for one by one."""
    for answer in answers.values():
        if isinstance(answer, Cancelled) and answer.outcome is not CancelOutcome.STOPPING:
            for task_id, attempt in answer.elements.items():
                yield task_id, Cancelled(CancelOutcome.STOPPING, State.RUNNING, attempt)


def _stopping(answers: dict[str, Answer]) -> dict[str, Cancelled]:
    return {
        task_id: answer
        for task_id, answer in answers.items()
        if isinstance(answer, Cancelled) and answer.outcome is CancelOutcome.STOPPING
    }


def _since(cancelled: Cancelled, info: TaskInfo | None, requeue: bool) -> Cancelled:
    """What a cancel has done by now that told a task to stop."""
    if info is None:  # ended, and forgotten since
        outcome = CancelOutcome.REQUEUED if requeue else CancelOutcome.CANCELLED
        return replace(cancelled, outcome=outcome, state=State.CANCELLED)
    if info.attempt != cancelled.attempt:
        outcome = CancelOutcome.REQUEUED
    elif info.state in (State.ASSIGNED, State.RUNNING):
        outcome = CancelOutcome.STOPPING
    elif info.state is State.CANCELLED:
        outcome = CancelOutcome.CANCELLED
    else:  # final: an array, whose last elements were faster
        outcome = CancelOutcome.already(info.state) if info.state.final else CancelOutcome.REQUEUED
    return replace(cancelled, outcome=outcome, state=info.state)
