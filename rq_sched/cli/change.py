"""Changing tasks by hand: ``requeue``, ``hold``, ``unhold``, ``priority``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from rq_sched.cli import show
from rq_sched.cli.failure import deprecated, print_error
from rq_sched.cli.look import not_found
from rq_sched.cli.options import PRIORITY, TASK_ID, Invocation, command, task_ids
from rq_sched.errors import InvalidValue, Refused, TaskNotFound

if TYPE_CHECKING:
    from rq_sched.link import Op
    from rq_sched.model.states import State


Said = Callable[[str, "State"], str]
"""What is said of a task that was changed, given its id and its state."""


def _is(task_id: str, state: State) -> str:
    return f"{task_id} is {state}"


def _each(session: Invocation, ids: Sequence[str], change: Callable[[str], Op[State]], said: Said) -> int:
    """Change task by task: one that refuses doesn't keep the others from it; returns the worst exit code."""
    code = 0
    for task_id in dict.fromkeys(ids):
        try:
            state = session.run(change(task_id))
        except TaskNotFound:
            code = not_found(session, task_id)
        except Refused as error:
            print_error(error.code, str(error), as_json=session.json)
            code = max(code, error.exit_status)
        else:
            if session.json:
                show.json_line({"task_id": task_id, "state": state})
            else:
                show.paragraph(said(task_id, state))
    return code


@command("requeue")
@task_ids
@click.pass_obj
def requeue_command(session: Invocation, task_ids: Sequence[str]) -> int:
    """Run tasks again (finished ones), or now (delayed ones). Retries and crashes count anew."""
    return _each(session, task_ids, lambda task_id: session.store.requeue(task_id), _is)


@command("hold")
@task_ids
@click.pass_obj
def hold_command(session: Invocation, task_ids: Sequence[str]) -> int:
    """Set waiting tasks aside, until 'unhold'."""

    def said(task_id: str, state: State) -> str:
        if state == "held":
            return f"{task_id} is held; to bring it back: `rq-sched unhold {task_id}`"
        return (  # an array of which nothing else is left
            f"{task_id} is {state}: those of its elements that waited are held; to bring them back: "
            f"`rq-sched unhold {task_id}`"
        )

    return _each(session, task_ids, lambda task_id: session.store.hold(task_id), said)


@command("unhold")
@task_ids
@click.pass_obj
def unhold_command(session: Invocation, task_ids: Sequence[str]) -> int:
    """Bring held tasks back into the queue."""
    return _each(session, task_ids, lambda task_id: session.store.unhold(task_id), _is)


@command("priority", context_settings={"ignore_unknown_options": True})
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--to", "priority", type=PRIORITY, metavar="N", help="The new priority: any integer in ±2³¹.")
@click.pass_obj
def priority_command(session: Invocation, task_ids: Sequence[str], priority: int | None) -> int:
    """Change the priority of pending tasks: higher goes first.

    \b
    rq-sched priority --to 10 t1 t2
    """
    number_last = priority is None  # the order of words from before 1.0
    if priority is None:
        priority, task_ids = _number_last(task_ids)
    for task_id in task_ids:
        TASK_ID.convert(task_id, None, None)
    if number_last:
        deprecated("priority ID... N", "priority --to N ID...", as_json=session.json)
    return _each(
        session,
        task_ids,
        lambda task_id: session.store.prioritize(task_id, priority),
        lambda task_id, state: f"{task_id} has priority {priority} and is {state}",
    )


def _number_last(words: Sequence[str]) -> tuple[int, Sequence[str]]:
    """What ``ID... N`` says: the priority, and the ids."""
    *ids, number = words
    if not ids:
        raise InvalidValue("say the new priority, and of which tasks: `rq-sched priority --to N ID...`")
    return PRIORITY.parse(number, "the priority (--to N)"), ids
