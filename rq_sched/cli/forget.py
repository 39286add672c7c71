"""``rq-sched forget``: drop finished tasks before their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.chosen import Chosen, change_all
from rq_sched.cli.failure import print_error
from rq_sched.cli.look import not_found
from rq_sched.cli.options import DURATION, TASK_ID, Invocation, command, tag_option
from rq_sched.errors import Refused, TaskNotFound, UsageError
from rq_sched.model.states import FINAL, State

BATCH = 100


@command("forget")
@click.argument("task_ids", metavar="[ID]...", nargs=-1, type=TASK_ID)
@click.option("--state", type=click.Choice(sorted(state.value for state in FINAL)), help="Only tasks that ended so.")
@tag_option("Only tasks with this tag; may be repeated.")
@click.option("--older-than", type=DURATION, metavar="SECONDS", help="Only tasks that ended so long ago; 90, 10m, 2d.")
@click.pass_obj
def forget_command(
    session: Invocation, task_ids: Sequence[str], state: str | None, tag: Mapping[str, str], older_than: float | None
) -> int:
    """Drop finished tasks: all of them, or those that the options or the ids name.

    What is dropped is gone: status, result and logs too. Finished tasks are dropped anyway after a day, or when
    there are more than 100,000 (`rq-sched settings` shows and changes that).
    """
    if task_ids and (state or tag or older_than is not None):
        raise UsageError("give ids, or --state, --tag and --older-than, not both")
    if tag and older_than is not None:
        raise UsageError("give --tag or --older-than, not both")
    if tag:
        chosen = Chosen((), [State(state)] if state else FINAL, tag)
        return change_all(session, chosen, lambda task_id: session.store.forget_ids([task_id]), "forgotten")
    code = 0
    if task_ids:
        number, code = _forget_ids(session, task_ids)
    else:
        number = _forget_all(session, State(state) if state else None, older_than or 0.0)
    if session.json:
        show.json_line({"forgotten": number})
    else:
        show.line(f"{show.count(number, 'task')} forgotten")
    return code


def _forget_ids(session: Invocation, task_ids: Sequence[str]) -> tuple[int, int]:
    """How many were dropped, and the exit code: an id that is refused doesn't keep the others."""
    number = code = 0
    for task_id in dict.fromkeys(task_ids):
        try:
            number += session.run(session.store.forget_ids([task_id]))
        except TaskNotFound:
            code = not_found(session, task_id)
        except Refused as error:
            print_error(error.code, str(error), as_json=session.json)
            code = max(code, error.exit_status)
    return number, code


def _forget_all(session: Invocation, state: State | None, older_than: float) -> int:
    total = 0
    with progress_bar("forgetting", None) as update:
        while batch := session.run(session.store.forget(state=state, older_than=older_than, limit=BATCH)):
            total += batch
            update(total, show.count(total, "task"))
    return total
