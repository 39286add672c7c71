"""Submitting: one task, any number of them, or none (``dry_run``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rq_sched.client.flows.base import BaseFlows
from rq_sched.client.in_order import Asked, InOrder
from rq_sched.client.outcomes import Unaccepted, unaccepted
from rq_sched.client.steps import Emit, Flow, ListenAlready, ListenOn, batches, run
from rq_sched.errors import DurabilityNotReached, UsageError
from rq_sched.model.explanation import Explanation
from rq_sched.model.target import checked, packable
from rq_sched.model.task import TaskRequest
from rq_sched.store.submit import ACCEPTED


class SubmitFlows(BaseFlows):
    """The flows of submitting."""

    def submit(self, request: TaskRequest) -> Flow[str]:
        """Submit one checked request; returns its id, which was there before anything was sent: a repeated call is
        the same task. Where the client listens already, that channel is told of the end."""
        self.check_own(request)
        channel = yield ListenAlready()
        (outcome,) = yield from run(self.store.submit([request], watch=channel))
        task_id = str(request.task_id)
        if outcome not in ACCEPTED:
            raise unaccepted(outcome, [task_id], 1)
        if channel is not None and outcome == "new":  # that of a task that is here already was kept as it stands
            yield ListenOn(task_id)
        return task_id

    def submit_stream(self, requests: Iterable[TaskRequest | Mapping[str, Any]]) -> Flow[None]:
        """Submit everything, a batch at a time; emits lists of ids, in the order of the requests. One may wait for
        another that comes later, in whatever batch.

        Raises:
            TaskExists, TooManyLabelSets, DependencyNotFound: after everything else was submitted.
            UsageError: a request is bad; those before it are submitted.
            DurabilityNotReached: after the batch that wasn't safe in time; what follows isn't submitted.
        """
        before = 0
        others = Unaccepted()
        row = InOrder()
        for batch in batches(requests):
            good, bad = checked(batch, self.check_own)
            try:
                late = yield from self._submit_row(row, row.add(good))
            except UsageError:
                good, bad = packable(good)
                row.all()
                late = yield from self._submit_row(row, row.add(good))
            yield Emit(others.sift(row.settled()))
            before += len(good)
            if late is not None:
                raise late
            if bad is not None:
                raise type(bad)(f"request {before + 1}: {bad} (those before it are submitted)") from None
        if rest := row.rest():  # what they wait for may have come from elsewhere; if they form a cycle, it is named
            late = yield from self._submit_row(row, rest)
            yield Emit(others.sift(row.all()))
            if late is not None:
                raise late
        others.complain()

    def _submit_row(self, row: InOrder, asked: list[Asked]) -> Flow[DurabilityNotReached | None]:
        """Submit these, and those that have waited for them; the error if not all are safe in time."""
        late: DurabilityNotReached | None = None
        while asked and late is None:
            try:
                outcomes = yield from run(self.store.submit([one.request for one in asked]))
            except DurabilityNotReached as error:
                late, outcomes = error, error.outcomes
            asked = row.settle(asked, outcomes)
        return late

    def submit_watched(self, requests: Sequence[TaskRequest], channel: str) -> Flow[list[str]]:
        """Submit checked requests whose ends are to be told on a channel.

        Returns the outcome of each.
        """
        return self.at_last(lambda: self.store.submit(requests, watch=channel))

    def dry_run(self, request: TaskRequest) -> Flow[Explanation]:
        """What would become of a checked request.  Raises: TaskExists."""
        self.check_own(request)
        return run(self.store.dry_run(request))
