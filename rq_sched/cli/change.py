"""Changing tasks by hand: ``requeue``, ``hold``, ``unhold``, ``priority``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from rq_sched.cli import show
from rq_sched.cli.chosen import Chosen, change_all, chosen_tasks, refused
from rq_sched.cli.failure import deprecated
from rq_sched.cli.options import PRIORITY, TASK_ID, Invocation, command
from rq_sched.client.steps import Deadline, new_channel
from rq_sched.errors import InvalidValue, RqSchedError
from rq_sched.model.states import UNENDED, State

if TYPE_CHECKING:
    from rq_sched.link import Op


Said = Callable[[str, "State"], str]
"""What is said of a task that was changed, given its id and its state."""


def _is(task_id: str, state: State) -> str:
    return f"{task_id} is {state}"


def _change(
    session: Invocation, chosen: Chosen, change: Callable[[str], Op[State]], done: str, said: Said = _is
) -> int:
    """Change tasks: one that refuses doesn't keep the others from it; returns the worst exit code."""
    if not chosen.named:
        return change_all(session, chosen, change, done)
    code = 0
    for task_ids in chosen.batches(session):
        answers = session.taker.do(session.flows.each(task_ids, change, Deadline(None)))
        for task_id, answer in answers.items():
            code = max(code, _tell(session, task_id, answer, said))
    return code


def _tell(session: Invocation, task_id: str, answer: State | RqSchedError, said: Said) -> int:
    """Print what became of one task; returns its exit code."""
    if isinstance(answer, RqSchedError):
        return refused(session, task_id, answer)
    if session.json:
        show.json_line({"task_id": task_id, "state": answer})
    else:
        show.paragraph(said(task_id, answer))
    return 0


@command("requeue")
@chosen_tasks(State.FAILED, State.CANCELLED, State.COMPLETED, State.DELAYED)
@click.pass_obj
def requeue_command(session: Invocation, chosen: Chosen) -> int:
    """Run tasks again (finished ones), or now (delayed ones). Retries and crashes count anew.

    \b
    rq-sched requeue --state failed --tag run=17
    """
    requeue = partial(session.store.requeue, operation=new_channel())
    return _change(session, chosen, requeue, "requeued")


@command("hold")
@chosen_tasks(State.PENDING, State.WAITING, State.DELAYED)
@click.pass_obj
def hold_command(session: Invocation, chosen: Chosen) -> int:
    """Set waiting tasks aside, until 'unhold'."""

    def said(task_id: str, state: State) -> str:
        if state == "held":
            return f"{task_id} is held; to bring it back: `rq-sched unhold {task_id}`"
        return (  # an array of which nothing else is left
            f"{task_id} is {state}: those of its elements that waited are held; to bring them back: "
            f"`rq-sched unhold {task_id}`"
        )

    return _change(session, chosen, session.store.hold, "held", said)


@command("unhold")
@chosen_tasks(State.HELD)
@click.pass_obj
def unhold_command(session: Invocation, chosen: Chosen) -> int:
    """Bring held tasks back into the queue."""
    return _change(session, chosen, session.store.unhold, "brought back")


@command("priority", context_settings={"ignore_unknown_options": True})
@chosen_tasks(*UNENDED, ids=click.STRING)
@click.option("--to", "priority", type=PRIORITY, metavar="N", help="The new priority: any integer in ±2³¹.")
@click.pass_obj
def priority_command(session: Invocation, chosen: Chosen, priority: int | None) -> int:
    """Change the priority of pending tasks: higher goes first.

    \b
    rq-sched priority --to 10 t1 t2
    """
    number_last = priority is None  # the order of words from before 1.0
    if priority is None:
        priority, task_ids = _number_last(chosen.task_ids)
        chosen = replace(chosen, task_ids=task_ids)
    for task_id in chosen.task_ids:
        TASK_ID.convert(task_id, None, None)
    if number_last:
        deprecated("priority ID... N", "priority --to N ID...", as_json=session.json)
    return _change(
        session,
        chosen,
        lambda task_id: session.store.prioritize(task_id, priority),
        f"given priority {priority}",
        lambda task_id, state: f"{task_id} has priority {priority} and is {state}",
    )


def _number_last(words: Sequence[str]) -> tuple[int, Sequence[str]]:
    """What ``ID... N`` says: the priority, and the ids."""
    *ids, number = words or [""]
    if not ids:
        raise InvalidValue("say the new priority, and of which tasks: `rq-sched priority --to N ID...`")
    return PRIORITY.parse(number, "the priority (--to N)"), ids
