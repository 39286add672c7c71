"""``rq-sched cancel``: stop tasks, wait until their processes are gone, say what happened."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.failure import print_error
from rq_sched.cli.follow import patiently
from rq_sched.cli.look import not_found
from rq_sched.cli.options import DURATION, TEXT, Invocation, command, task_ids
from rq_sched.client.steps import Deadline
from rq_sched.errors import InvalidValue, TaskFinal, TaskNotFound, WaitTimeout
from rq_sched.model.states import State
from rq_sched.model.task import DEFAULT_GRACE
from rq_sched.store.answers import Cancelled
from rq_sched.store.base import nonce

PATIENCE = 5.0
"""Seconds beyond the grace that a worker has to report that the processes are gone."""
LOOK_SECONDS = 0.05
MAX_LOOK_SECONDS = 0.5


@dataclass
class Answer:
    """What became of the cancelling of one task. ``attempt`` is the one that was stopped."""

    task_id: str
    outcome: str  # requeued, cancelled, stopping, unchanged, already …
    state: State
    attempt: int
    elements: int = 0  # of an array: how many were told to stop


@command("cancel")
@task_ids
@click.option("--no-requeue", is_flag=True, help="End it: it won't run again.")
@click.option("--grace", type=DURATION, default=DEFAULT_GRACE, metavar="SECONDS", show_default=True,
              help="What its processes have between SIGTERM and SIGKILL.")  # fmt: skip
@click.option("--reason", type=TEXT, help="Kept in the decision log.")
@click.pass_obj
def cancel_command(
    session: Invocation, task_ids: Sequence[str], no_requeue: bool, grace: float, reason: str | None
) -> int:
    """Stop tasks; they are queued again, behind their equals. --no-requeue ends them for good.

    Waits until the processes are gone. A delayed or held task stays as it is, unless --no-requeue is given. Of an array
    all elements are stopped that haven't ended.
    """
    if grace > 86_400:
        raise InvalidValue(f"--grace must be at most a day, not {grace:g} seconds")
    missing = 0
    answers: list[Answer] = []
    elements: list[Answer] = []  # those of arrays, told only where something is wrong
    for task_id in dict.fromkeys(task_ids):
        try:
            done = _cancel(session, task_id, requeue=not no_requeue, grace=grace, reason=reason)
        except TaskNotFound:
            missing = not_found(session, task_id)
            continue
        answers.append(Answer(task_id, done.outcome, State(done.state), done.attempt, len(done.elements)))
        if not no_requeue:  # else the array itself shows when they are gone
            elements += [Answer(t, "stopping", State.RUNNING, attempt) for t, attempt in done.elements.items()]
    _await_end(session, answers + elements, grace + PATIENCE, "cancelled" if no_requeue else "requeued")
    codes = [_report(session, answer) for answer in answers]
    codes += [_report(session, answer) for answer in elements if answer.outcome == "stopping"]
    return missing or max(codes, default=0)


def _cancel(session: Invocation, task_id: str, **how: Any) -> Cancelled:
    """Tell it to stop. However often that is sent, it is one cancel."""
    operation = nonce()
    return patiently(session, lambda: session.store.cancel(task_id, operation=operation, **how))


def _await_end(session: Invocation, answers: list[Answer], patience: float, outcome: str) -> None:
    """Wait until no process of a stopped attempt is left; what is still there then keeps the outcome `stopping`."""
    deadline = Deadline(patience)
    open_ = {answer.task_id: answer for answer in answers if answer.outcome == "stopping"}
    pause = LOOK_SECONDS
    while open_:
        ids = list(open_)
        for task_id, info in zip(ids, patiently(session, partial(session.store.status, ids), deadline), strict=True):
            answer = open_[task_id]
            if info is None:  # ended, and forgotten since
                answer.outcome, answer.state = outcome, State.CANCELLED
            elif info.attempt != answer.attempt or info.state not in (State.ASSIGNED, State.RUNNING):
                ended = info.state is State.CANCELLED and info.attempt == answer.attempt
                answer.outcome, answer.state = "cancelled" if ended else "requeued", info.state
                if info.array is not None and not ended:  # its last elements were faster
                    answer.outcome = f"already {info.state}"
            if answer.outcome != "stopping":
                del open_[task_id]
        if not open_ or deadline.passed:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, MAX_LOOK_SECONDS)


def _report(session: Invocation, answer: Answer) -> int:
    """Print one answer; returns its exit code."""
    task_id, outcome = answer.task_id, answer.outcome
    if session.json:
        show.json_line({"task_id": task_id, "outcome": outcome, "state": answer.state})
    if outcome == "stopping":
        error = WaitTimeout(f"{task_id} is still being stopped: its worker hasn't reported that the processes are gone "
                            f"(`rq-sched status {task_id}`){_fault_there(session, task_id)}")  # fmt: skip
        print_error(error.code, str(error), as_json=session.json)
        return error.exit_status
    if outcome.startswith("already"):
        (info,) = patiently(session, partial(session.store.status, [task_id]))
        again = f"; to run {show.again(task_id, info.array)}" if info is not None else ""
        print_error(TaskFinal.code, f"{task_id} is {outcome}{again}", as_json=session.json)
        return TaskFinal.exit_status
    if not session.json:
        show.paragraph(_sentence(answer))
    return 0


def _fault_there(session: Invocation, task_id: str) -> str:
    """What is wrong with its node, if anything is: it may be why a task doesn't end."""
    (info,) = patiently(session, partial(session.store.status, [task_id]))
    fault = patiently(session, session.store.faults).get(info.node_id or "") if info is not None else None
    return f"; {info.node_id} is faulty: {fault}" if info is not None and fault else ""


def _sentence(answer: Answer) -> str:
    task_id = answer.task_id
    to_end = f"to end it for good: `rq-sched cancel --no-requeue {task_id}`"
    if answer.outcome == "cancelled":
        return f"{task_id} cancelled"
    if answer.outcome == "unchanged":
        return f"{task_id} is {answer.state} and stays so; {to_end}"
    stopped = "stopped and requeued" if answer.attempt else "requeued"
    too = f" ({show.count(answer.elements, 'element')} stopped)" if answer.elements else ""
    return f"{task_id} {stopped}, behind its equals{too}; {to_end}"
