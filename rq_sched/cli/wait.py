"""``rq-sched wait``, and the waiting of ``submit --wait``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.chosen import Chosen, chosen_tasks
from rq_sched.cli.failure import print_error
from rq_sched.cli.follow import Awaited, Follower, patiently
from rq_sched.cli.look import BATCH, failure_text, not_found, print_result
from rq_sched.cli.options import DURATION, Invocation, command
from rq_sched.errors import TaskFailed, TaskNotFound, WaitTimeout
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo


@command("wait")
@chosen_tasks(*State)
@click.option("--timeout", type=DURATION, metavar="SECONDS", help="Wait at most so long; 90, 10m, 2h.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing: the exit code tells.")
@click.pass_obj
def wait_command(session: Invocation, chosen: Chosen, timeout: float | None, quiet: bool) -> int:
    """Wait until tasks are final. Exit code 0: all completed; 1: one failed or was cancelled; 4: timed out.

    An array is final when all its elements are.
    """
    if not chosen.named:
        ids = [task_id for batch in chosen.batches(session) for task_id in batch]
        return wait_known(session, ids, timeout=timeout, quiet=quiet)
    return wait_many(session, chosen.task_ids, timeout=timeout, quiet=quiet)


def wait_many(session: Invocation, ids: Sequence[str], *, timeout: float | None, quiet: bool) -> int:
    """Wait, with a progress bar on a terminal, and say how many ended how; returns the exit code."""
    known, missing = _known(session, list(dict.fromkeys(ids)))
    code = wait_known(session, known, timeout=timeout, quiet=quiet)
    return missing or code


def wait_known(session: Invocation, ids: Sequence[str], *, timeout: float | None = None, quiet: bool) -> int:
    """The same for tasks that were there a moment ago: those that aren't any more have ended, and were forgotten."""
    awaited = Awaited(ids)
    late: WaitTimeout | None = None
    with progress_bar("waiting", len(ids), visible=not quiet) as update:
        try:
            for _ in Follower(session).ends(awaited, timeout):
                update(awaited.done, _ends(awaited.ended))
        except WaitTimeout as error:
            late = error
    ended = awaited.ended
    counts = {str(state): ended[state] for state in (State.COMPLETED, State.FAILED, State.CANCELLED)}
    counts["pending"] = len(awaited)
    if awaited.forgotten:
        counts["forgotten"] = awaited.forgotten
    if session.json:
        show.json_line(counts)
    elif not quiet:
        show.paragraph(", ".join(f"{number:,} {state}" for state, number in counts.items() if number) or "0 completed")
    if awaited.forgotten:
        print_error(TaskNotFound.code, _forgotten(awaited.forgotten), as_json=session.json)
        return TaskNotFound.exit_status
    if late is not None and not session.json:
        text = f"timed out: {show.count(counts['pending'], 'task')} not final yet; they go on"
        print_error(late.code, text, as_json=False)
    if late is not None:
        return late.exit_status
    return 0 if ended.total() == ended[State.COMPLETED] else TaskFailed.exit_status


def _forgotten(number: int) -> str:
    return (
        f"{show.count(number, 'task')} ended and {'was' if number == 1 else 'were'} forgotten before it was seen how "
        "(settings keep_seconds, keep_tasks)"
    )


def _known(session: Invocation, ids: Sequence[str]) -> tuple[list[str], int]:
    """The ids that are tasks; the others are reported. With it the exit code of those."""
    known = []
    code = 0
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        for task_id, state in zip(some, _states(session, some), strict=True):
            if state is None:
                code = not_found(session, task_id)
            else:
                known.append(task_id)
    return known, code


def _states(session: Invocation, ids: Sequence[str]) -> list[State | None]:
    return patiently(session, lambda: session.store.states(ids))


def _ends(ended: Counter[State]) -> str:
    bad = ended[State.FAILED] + ended[State.CANCELLED]
    return f"{ended.total():,} done" + (f", {bad:,} failed or cancelled" if bad else "")


def wait_one(session: Invocation, info: TaskInfo, *, quiet: bool) -> int:
    """Wait for the one task just submitted and print what came out; returns the exit code."""
    task_id = info.task_id
    if quiet:
        show.line(task_id)
    awaited = Awaited([task_id])
    try:
        for _ in Follower(session).ends(awaited):
            pass
    except KeyboardInterrupt:
        print_error("interrupted", f"not waited for any longer; {task_id} goes on (`rq-sched cancel {task_id}`)",
                    as_json=session.json)  # fmt: skip
        raise
    if awaited.forgotten:
        raise TaskNotFound(f"{task_id}: {_forgotten(1)}")
    ended = patiently(session, lambda: session.store.result(task_id))
    code = 0 if ended.state is State.COMPLETED else TaskFailed.exit_status
    if session.json:
        outcome = {"task_id": task_id, "state": ended.state, "result": ended.result, "error": ended.error}
        show.json_line(outcome if ended.elements is None else outcome | {"elements": ended.elements})
    elif quiet and code:
        print_error(TaskFailed.code, failure_text(ended), as_json=False)
    elif ended.elements is not None and not quiet:
        show.paragraph(f"{task_id} {ended.state}: {show.elements(ended.elements)}")
    elif not quiet:
        print_result(session, ended)
    return code
