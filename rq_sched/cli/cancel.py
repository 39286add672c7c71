"""``rq-sched cancel``: stop tasks, wait until their processes are gone, say what happened."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import click

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.chosen import Chosen, Tally, chosen_tasks, refused
from rq_sched.cli.failure import print_error
from rq_sched.cli.follow import patiently
from rq_sched.cli.options import DURATION, TEXT, Invocation, command
from rq_sched.client.flows.cancel import Answer
from rq_sched.errors import InvalidValue, RqSchedError, TaskFinal, WaitTimeout
from rq_sched.model.states import UNENDED, CancelOutcome
from rq_sched.model.task import DEFAULT_GRACE
from rq_sched.store.answers import Cancelled


@command("cancel")
@chosen_tasks(*UNENDED)
@click.option("--no-requeue", is_flag=True, help="End it: it won't run again.")
@click.option("--grace", type=DURATION, default=DEFAULT_GRACE, metavar="SECONDS", show_default=True,
              help="What its processes have between SIGTERM and SIGKILL.")  # fmt: skip
@click.option("--reason", type=TEXT, help="Kept in the decision log.")
@click.pass_obj
def cancel_command(session: Invocation, chosen: Chosen, no_requeue: bool, grace: float, reason: str | None) -> int:
    """Stop tasks; they are queued again, behind their equals. --no-requeue ends them for good.

    Waits until the processes are gone. A delayed or held task stays as it is, unless --no-requeue is given. Of an array
    all elements are stopped that haven't ended.
    """
    if grace > 86_400:
        raise InvalidValue(f"--grace must be at most a day, not {grace:g} seconds")
    requeue = not no_requeue
    if not chosen.named:
        which = (chosen.states, chosen.tags)
        flow = session.flows.cancel_selected(*which, requeue, grace, reason, wait=True, patience=None)
        return _cancel_all(session, session.taker.stream(flow), requeue)
    ids = dict.fromkeys(chosen.task_ids)
    answers = session.taker.do(session.flows.cancel_many(ids, requeue, grace, reason, wait=True, patience=None))
    refusals = [refused(session, t, answer) for t, answer in answers.items() if isinstance(answer, RqSchedError)]
    codes = [
        _report(session, task_id, answer)
        for task_id, answer in answers.items()
        if isinstance(answer, Cancelled) and (task_id in ids or answer.outcome is CancelOutcome.STOPPING)
    ]  # elements of an array are told only where something is wrong
    return max(refusals or codes, default=0)


def _cancel_all(session: Invocation, batches: Iterator[list[Answer]], requeue: bool) -> int:
    """Say how many became what; returns the exit code."""
    tally, late = Tally(), 0
    with progress_bar("cancelling", None) as update:
        for answers in batches:
            for answer in answers:
                if isinstance(answer, RqSchedError):
                    tally.refuse(answer)
                elif answer.outcome.startswith("already"):
                    tally.move_on()
                elif answer.outcome is CancelOutcome.STOPPING:
                    late += 1
                else:
                    tally.add(answer.outcome)
            update(tally.done, show.count(tally.done, "task"))
    if late:
        gone = "the workers haven't reported that the processes are gone"
        tally.refuse(WaitTimeout(f"{show.count(late, 'task')} still being stopped: {gone}"))
    return tally.report(session, CancelOutcome.REQUEUED if requeue else CancelOutcome.CANCELLED)


def _report(session: Invocation, task_id: str, answer: Cancelled) -> int:
    """Print one answer; returns its exit code."""
    outcome = answer.outcome
    if session.json:
        show.json_line({"task_id": task_id, "outcome": outcome, "state": answer.state})
    if outcome is CancelOutcome.STOPPING:
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
        show.paragraph(_sentence(task_id, answer))
    return 0


def _fault_there(session: Invocation, task_id: str) -> str:
    """What is wrong with its node, if anything is: it may be why a task doesn't end."""
    (info,) = session.run(session.store.status([task_id]))
    fault = session.run(session.store.faults()).get(info.node_id or "") if info is not None else None
    return f"; {info.node_id} is faulty: {fault}" if info is not None and fault else ""


def _sentence(task_id: str, answer: Cancelled) -> str:
    to_end = f"to end it for good: `rq-sched cancel --no-requeue {task_id}`"
    if answer.outcome is CancelOutcome.CANCELLED:
        return f"{task_id} cancelled"
    if answer.outcome is CancelOutcome.UNCHANGED:
        return f"{task_id} is {answer.state} and stays so; {to_end}"
    stopped = "stopped and requeued" if answer.attempt else "requeued"
    too = f" ({show.count(len(answer.elements), 'element')} stopped)" if answer.elements else ""
    return f"{task_id} {stopped}, behind its equals{too}; {to_end}"
