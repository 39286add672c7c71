"""``rq-sched explain``: why a task is pending, or what happened to it, in sentences that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.explain_pending import awaits, delayed, pending, surplus, waiting
from rq_sched.cli.explain_placed import ended, history, placed
from rq_sched.cli.explain_words import clock, do, need, of
from rq_sched.cli.options import Invocation, command, one_task_id
from rq_sched.model.arrays import first_of, size
from rq_sched.model.explanation import Explanation
from rq_sched.model.states import State


@command("explain")
@one_task_id
@click.pass_obj
def explain_command(session: Invocation, task_id: str) -> None:
    """Say why a task is pending: where it fits, what is short, what is ahead and reserved; or what happened to it."""
    print_explained(session, session.run(session.store.explain(task_id)))


def print_explained(session: Invocation, explanation: Explanation, name: str = "") -> None:
    """The answer of ``explain`` or ``dry_run``, for people or as JSON. ``name``: what to call a task without an id."""
    found = explanation.to_dict()
    if session.json:
        show.json_line(found)
        return
    reason = f" ({found['reason']})" if found.get("reason") else ""
    show.heading(found["task_id"] or name, f"{found['state']}{reason}")
    for text in _sentences(found):
        show.paragraph(text, indent=2)


def _sentences(found: Mapping[str, Any]) -> Iterator[str]:
    state = State(found["state"])
    if found.get("array"):
        yield from _array(found, state)
    if found.get("dry_run"):
        yield from _imagined(found, state)
    elif state is State.PENDING:
        yield from pending(found)
    elif state is State.WAITING:
        yield from waiting(found)
    elif state is State.DELAYED:
        yield delayed(found)
    elif state is State.HELD:
        yield (
            f"A user set it aside at {clock(found['held_at'], 'an unknown time')} (`rq-sched hold`), and it waits "
            f"until a user brings it back: {do(found, 'unhold')}"
        )
    elif found.get("array"):
        pass  # all is said
    elif state.final:
        yield from ended(found, state)
    else:
        yield from placed(found, state)
    if found.get("expires_at"):
        yield f"It fails if it hasn't started by {clock(found['expires_at'])} (--deadline)."
    yield from _folder(found)
    if found.get("history"):
        yield from history(found)


def _folder(found: Mapping[str, Any]) -> Iterator[str]:
    """Where a command runs, and whose folder that is."""
    submitted, runs_in, node = found.get("folder"), found.get("runs_in"), found["node_id"]
    if found.get("chdir"):
        yield f"Its folder is {found['chdir']}, as --chdir asks."
    elif submitted and runs_in == submitted:
        yield (
            f"Its folder is {submitted}, where it was submitted: {node} allows that. (If there is no such folder, its "
            "log says so.)"
        )
    elif submitted and runs_in:
        yield (
            f"Its folder is {runs_in}, that of {node}. It was submitted in {submitted}, which {node} doesn't allow "
            "(`rq-sched worker --allow-dir`)."
        )
    elif submitted:
        yield f"Its folder is {submitted}, where it was submitted, on a node that allows that; else that of its node."


# -- arrays ---------------------------------------------------------------------------------------


def _array(found: Mapping[str, Any], state: State) -> Iterator[str]:
    """What is to be said of an array beside what is said of a task."""
    if not found.get("dry_run"):
        elements = show.count(size(found["array"]), "element")
        yield f"It is an array of {elements}, {found['array']}: {show.elements(found['elements'])}."
    if state is State.RUNNING:
        yield f"None is left to be made a task: ask about each, such as {_element(found, 'explain')}"
    elif state is State.FAILED:
        yield f"Which have failed: `rq-sched list --array {found['task_id']} --state failed`"
        yield f"To run one again: {_element(found, 'requeue')}"
    elif state is State.CANCELLED:
        yield f"A user ended it. To run one again: {_element(found, 'requeue')}"
    elif found.get("next"):
        yield f"What follows is about its next element, {found['next']}."


def _element(found: Mapping[str, Any], command_line: str) -> str:
    return f"`rq-sched {command_line} {first_of(found['task_id'], found['array'])}`"


# -- a dry run ------------------------------------------------------------------------------------


def _imagined(found: Mapping[str, Any], state: State) -> Iterator[str]:
    """What would become of it."""
    if found["exists"]:
        yield "The same request is here already: to submit it again would change nothing."
        yield from _sentences({**found, "dry_run": False})
        return
    if state is State.ASSIGNED:
        what = "Its first element" if found.get("array") else "It"
        yield f"{what} would be placed at once: {need(found)} is free on {of(found['fits_now'], found['nodes'])}."
        yield from surplus(found)
    elif state is State.FAILED:
        yield "It would fail at once (--infeasible fail):"
        yield from pending(found)
    elif state is State.CANCELLED:
        yield f"It would be cancelled at once, as what it waits for can't come any more: {awaits(found)}."
    else:
        if state is State.WAITING:
            yield f"It would wait for {found['awaited']:,} of {found['awaited_of']:,}: {awaits(found)}."
            yield "Were it to be placed now:"
        if state is State.DELAYED:
            yield f"It would wait until {clock(found['due'], 'then')}, as --delay asks. Were it to be placed now:"
        yield from pending(found)
    yield "Nothing was submitted (--dry-run)."
