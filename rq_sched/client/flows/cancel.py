"""Cancelling tasks, and waiting until their processes are gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from rq_sched.client.flows.base import PATIENCE, Base
from rq_sched.client.steps import Deadline, Flow, Pause, batches, new_channel
from rq_sched.errors import InvalidValue, RedisUnavailable, TaskNotFound
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.ids import known_id
from rq_sched.model.states import CancelOutcome, State
from rq_sched.model.task import TaskInfo
from rq_sched.process.backoff import backoff
from rq_sched.store.answers import Cancelled

CANCEL_MARGIN = 5.0
"""Seconds beyond the grace that a cancel waits for the processes to be gone."""
LONGEST_PAUSE = 0.25
"""Seconds between two looks at whether they are gone, at most."""


class CancelFlows(Base):
    """The flows of cancelling."""

    def cancel(self, task_id: str, requeue: bool, grace: Duration, reason: str | None, wait: bool) -> Flow[Cancelled]:
        """Cancel one task, as ``cancel_many`` does.  Raises: InvalidValue, TaskNotFound."""
        answers = yield from self.cancel_many([task_id], requeue, grace, reason, wait)
        answer = answers[task_id]
        if isinstance(answer, TaskNotFound):
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
    ) -> Flow[dict[str, Cancelled | TaskNotFound]]:
        """Cancel tasks, and wait until the processes of all are gone: grace + 5 s at most. Tells what each cancel did.

        After the tasks come the elements that were told to stop of arrays that are requeued. Of an array that ends for
        good no elements are told: the array itself shows when they are gone.

        Parameters:
            patience: seconds to wait for Redis while it is away; None: any number.

        Raises:
            InvalidValue
        """
        seconds = parse_duration(grace, "grace")
        if reason is not None and not isinstance(reason, str):
            raise InvalidValue(f"reason must be text, not {reason!r:.80}")
        how: Any = {"requeue": requeue, "grace": seconds, "reason": reason}
        answers: dict[str, Cancelled | TaskNotFound] = {}
        for task_id in dict.fromkeys(map(known_id, task_ids)):
            cancel = partial(self.store.cancel, task_id, operation=new_channel(), **how)  # repeated, it is the same one
            try:
                answers[task_id] = yield from self.patiently(cancel, Deadline(patience, self.clock))
            except TaskNotFound as error:
                answers[task_id] = error
        if wait:
            answers |= {task_id: answer for task_id, answer in _elements(answers) if task_id not in answers}
            yield from self._stopped(answers, requeue, Deadline(seconds + CANCEL_MARGIN, self.clock))
        return answers

    def _stopped(self, answers: dict[str, Cancelled | TaskNotFound], requeue: bool, deadline: Deadline) -> Flow[None]:
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


def _elements(answers: dict[str, Cancelled | TaskNotFound]) -> Iterator[tuple[str, Cancelled]]:
    """The elements to wait for one by one."""
    for answer in answers.values():
        if isinstance(answer, Cancelled) and answer.outcome is not CancelOutcome.STOPPING:
            for task_id, attempt in answer.elements.items():
                yield task_id, Cancelled(CancelOutcome.STOPPING, State.RUNNING, attempt)


def _stopping(answers: dict[str, Cancelled | TaskNotFound]) -> dict[str, Cancelled]:
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
