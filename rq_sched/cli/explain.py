"""``rq-sched explain``: why a task is pending, or what happened to it, in sentences that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.missing import no_scheduler
from rq_sched.cli.options import Invocation, command, one_task_id
from rq_sched.model.arrays import first_of, size
from rq_sched.model.explanation import Explanation
from rq_sched.model.node import NodeState
from rq_sched.model.states import Reason, State

TOLD = 12
"""Events that a history shows at most."""
TOLD_FAULTS = 3
"""Nodes whose faults are told."""
ADVICE = {
    Reason.ERROR: "Its function raised an error; `rq-sched logs {id}` shows what it wrote.",
    Reason.EXIT_CODE: "The command ended with another code than 0; `rq-sched logs {id}` shows what it wrote.",
    Reason.TIMEOUT: "It ran longer than its time limit: submit it with a longer --time-limit.",
    Reason.OOM: "It used more memory than it may have: submit it with more --memory, or with --max-memory.",
    Reason.POISON: "Its process or its node died again and again: look at its log, and at those of the workers.",
    Reason.NOT_FOUND: "No node that could hold it has such a function or command: is it installed, is --chdir right?",
    Reason.UNSENDABLE: "Its result can't be sent: the error says what to return instead (docs/values.md).",
    Reason.NOT_ALLOWED: "No node that could hold it may run it: start a worker with an --allow that names it.",
}


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
        yield from _pending(found)
    elif state is State.DELAYED:
        yield _delayed(found)
    elif state is State.HELD:
        yield (
            f"A user set it aside at {_clock(found['held_at'], 'an unknown time')} (`rq-sched hold`), and it waits "
            f"until a user brings it back: {_do(found, 'unhold')}"
        )
    elif found.get("array"):
        pass  # all is said
    elif state.final:
        yield from _ended(found, state)
    else:
        yield from _placed(found, state)
    if found.get("history"):
        yield from _history(found)


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


# -- pending --------------------------------------------------------------------------------------


def _imagined(found: Mapping[str, Any], state: State) -> Iterator[str]:
    """What would become of it."""
    if found["exists"]:
        yield "The same request is here already: to submit it again would change nothing."
        yield from _sentences({**found, "dry_run": False})
        return
    if state is State.ASSIGNED:
        what = "Its first element" if found.get("array") else "It"
        yield f"{what} would be placed at once: {_need(found)} is free on {_of(found['fits_now'], found['nodes'])}."
        yield from _surplus(found)
    else:
        if state is State.DELAYED:
            yield f"It would wait until {_clock(found['due'], 'then')}, as --delay asks. Were it to be placed now:"
        yield from _pending(found)
    yield "Nothing was submitted (--dry-run)."


def _delayed(found: Mapping[str, Any]) -> str:
    due = _clock(found["due"], "its time has come")
    if found.get("reason") == Reason.TOO_MANY_LABEL_SETS:
        return (
            "Its time has come, but tasks of as many sets of labels as may wait at once wait already: it is looked at "
            f"again at {due}. `rq-sched list --state pending` shows them, `rq-sched cancel --no-requeue ID` ends one"
        )
    why = "After a failure it is tried again later" if found.get("reason") == Reason.RETRY else "As --delay asked"
    return f"{why}: it waits until {due}. To run it now: {_do(found, 'requeue')}"


def _pending(found: Mapping[str, Any]) -> Iterator[str]:
    nodes = found["nodes"]
    if found["suspect"]:
        yield (
            "Nodes died while it and other tasks ran there, as often as its crash limit allows. Whose doing that was "
            "shows when it runs alone: until then it needs a whole node, the largest that could hold it."
        )
    yield from _faults(found)
    if not nodes:
        yield f"It needs {_need(found)}, and no node is up: start one (`rq-sched worker`, or `rq-sched up`)."
        yield from _no_scheduler(found)
        return
    yield from _refusals(found)
    if not found["fits_empty"]:
        end = f"end it ({_do(found, 'cancel --no-requeue')}) and ask" if not found.get("dry_run") else "ask"
        why = _too_small(found)
        yield f"It needs {_need(found)}, and no node could hold it even when empty: {why}, or {end} for less."
        yield from _no_scheduler(found)
        return
    yield from _room(found)
    yield from _surplus(found)
    yield from _reserved(found)
    yield from _first_blocked(found)
    yield _ahead(found)
    yield from _scheduler(found)


def _faults(found: Mapping[str, Any]) -> Iterator[str]:
    """Nodes that can't begin tasks."""
    faults: Mapping[str, str] = found["faults"]
    for node, fault in list(faults.items())[:TOLD_FAULTS]:
        yield f"{node} takes no tasks, and looks again by itself: {fault}"
    if len(faults) > TOLD_FAULTS:
        yield f"So do {len(faults) - TOLD_FAULTS:,} more nodes, for faults of their own (`rq-sched nodes`)."


def _refusals(found: Mapping[str, Any]) -> Iterator[str]:
    """What nodes have said that have refused it."""
    refusals: Mapping[str, str] = found.get("refusals") or {}
    if refusals:
        said = [f"  {node}: {why}" for node, why in list(refusals.items())[:TOLD_FAULTS]]
        more = [f"  … and {len(refusals) - TOLD_FAULTS} more"] if len(refusals) > TOLD_FAULTS else []
        yield "\n".join(["Refused, so that it isn't put there again, by", *said, *more])


def _too_small(found: Mapping[str, Any]) -> str:
    """Why no node is enough, and what would be."""
    if found["refusing"] and found["refusing"] == found["nodes"] - found["short_labels"]:
        return "all nodes up that could have refused it. Start a node that has it, and may run it"
    up, carrying = show.count(found["nodes"], "node"), found["nodes"] - found["short_labels"]
    labels = show.labels(found["require"])
    if not carrying:
        lacking = ", ".join(f"{label} on {number:,}" for label, number in found["missing_labels"].items() if number)
        return f"of {up} up, none carries the {labels} (missing: {lacking}). Start a node with `--label`"
    largest = show.needs(found["largest_cpu"], found["largest_memory"])
    which = f"the {carrying:,} with the {labels}" if found["require"] else up + " up"
    return f"of {which}, the largest offers are {largest}. Start a larger node"


def _room(found: Mapping[str, Any]) -> Iterator[str]:
    nodes, fits_now, fits_empty = found["nodes"], found["fits_now"], found["fits_empty"]
    now = f"fits now on {_of(fits_now, nodes)}" if fits_now else f"fits now on none of {show.count(nodes, 'node')}"
    yield f"It needs {_need(found)}: it {now}, and on {fits_empty:,} when empty."
    if found["short_labels"]:
        yield f"On {_of(found['short_labels'], nodes)} a label is missing."
    if found["refusing"]:
        yield f"{_of(found['refusing'], nodes)} {'has' if found['refusing'] == 1 else 'have'} refused it."
    short = [
        f"{name} on {found[key]:,}" for name, key in (("CPU", "short_cpu"), ("memory", "short_memory")) if found[key]
    ]
    if short and not fits_now:
        yield f"Too little is free: {', '.join(short)}."


def _surplus(found: Mapping[str, Any]) -> Iterator[str]:
    if found["fits_surplus"]:
        yield (
            f"On {found['fits_surplus']:,} of them it gets cores that elastic tasks hold beyond their need: they count "
            "as free, and are taken back for it."
        )


def _reserved(found: Mapping[str, Any]) -> Iterator[str]:
    node, task = found.get("reserved_node"), found.get("reserved_task")
    if not node:
        return
    since, until = found.get("reserved_since"), found.get("reserved_until")
    when = f", since {_clock(since)}" if since else ""
    starts = f"; it is expected to start by {_clock(until)}" if until else ""
    if task == (found.get("next") or found["task_id"]):
        yield f"Node {node} is kept for it{when}: it starts when enough is free there{starts}."
    elif found["fits_reserved"]:
        yield f"There is room for it on {node}, but that is kept for {task}, which comes earlier{when}{starts}."
    else:
        yield f"Node {node} is kept for {task}{when}{starts}: later tasks may use only what is spare there."


def _first_blocked(found: Mapping[str, Any]) -> Iterator[str]:
    if not found.get("blocked_since"):
        return
    yield f"It is the first in order that waits for room, since {_clock(found['blocked_since'])}."
    if not found.get("reserved_node"):
        if found["reserve_at"]:
            yield f"A node is kept for it from {_clock(found['reserve_at'])} on (setting reserve_after)."
        else:
            yield "No node will be kept for it: the setting reserve_after is off."
    if found["preemptible"] and found["preempt_at"]:
        yield (
            f"From {_clock(found['preempt_at'])} on (setting preempt_after) preemptible tasks of lower priority are "
            f"stopped for it where that helps; of such {_run(found['preemptible'])}."
        )


def _ahead(found: Mapping[str, Any]) -> str:
    ahead = found["ahead"]
    if not ahead:
        return "It is the first in order."
    least = "At least " if found["ahead_at_least"] else ""
    sentence = f"{least}{show.count(ahead, 'task')} {'is' if ahead == 1 else 'are'} ahead of it."
    if found.get("dry_run") or found["fits_now"]:
        return sentence
    return f"{sentence} A higher priority brings it forward: `rq-sched priority --to N {found['task_id']}`."


def _no_scheduler(found: Mapping[str, Any]) -> Iterator[str]:
    if absent := no_scheduler(found["scheduler_seen"]):
        yield f"{absent[0].upper()}{absent[1:]}."


def _scheduler(found: Mapping[str, Any]) -> Iterator[str]:
    absent = list(_no_scheduler(found))
    yield from absent
    if found["fits_now"] and not absent:
        yield "A scheduler is at work: it is about to be placed, unless an earlier task takes the room."


# -- placed, ended --------------------------------------------------------------------------------


def _placed(found: Mapping[str, Any], state: State) -> Iterator[str]:
    node, attempt = found["node_id"], found["attempt"]
    if found.get("reason") in (Reason.CANCELLING, Reason.STOPPING, Reason.PREEMPTING):
        why = {Reason.CANCELLING: "a cancel", Reason.STOPPING: "a drain"}.get(
            found["reason"], "a task of higher priority"
        )
        yield (
            f"Attempt {attempt} on {node} was told to stop by {why}; its node reports when the processes are gone, and "
            "only then its resources are free."
        )
    elif state is State.ASSIGNED:
        when = _clock(found["scheduled_at"])
        yield f"Attempt {attempt} was placed on {node} at {when}; its start isn't reported yet."
    else:
        since = _clock(found["started_at"])
        yield f"Attempt {attempt} runs on {node} since {since}; what it writes: {_do(found, 'logs -f')}"
    yield from _why_there(found)
    if found["suspect"]:
        yield "It has the node to itself: nodes died on which it ran with others. If this one dies too, it is poison."
    yield f"It holds {show.needs(found['cpu_allocated'], found['memory_allocated'])}. {_neighbours(found)}"
    yield from _node_state(found)


def _why_there(found: Mapping[str, Any]) -> Iterator[str]:
    node, by = found["node_id"], found.get("placed_by")
    if by == "submit":
        yield f"It was placed as it was submitted: {node} was chosen among the nodes with room for it."
    elif by == "room":
        yield (
            f"It was placed when {found['made_room_by']} made room on {node}: of the tasks that fit there it was the "
            "earliest in order."
        )
    elif by == "scheduler":
        yield f"A scheduler placed it: as the earliest in order that fits there, on {node} as a node with room for it."
    else:
        yield "Of its placing the decision log says nothing any more."


def _node_state(found: Mapping[str, Any]) -> Iterator[str]:
    """What is to be known of its node, where it isn't simply up."""
    node, state = found["node_id"], found["node_state"]
    if state == NodeState.DRAINING:
        yield (
            f"{node} is draining: it gets no new tasks, and this one goes on to its end there. To have it run "
            f"elsewhere: `rq-sched drain {node} --requeue`; to take the node back: `rq-sched undrain {node}`"
        )
    elif state == NodeState.FAULTY:
        yield f"{node} takes no new tasks, and this one goes on to its end there: {found['node_fault']}"
    elif state != NodeState.UP:
        yield f"{node} is dead: its tasks are about to be given back, each to its old place."


def _neighbours(found: Mapping[str, Any]) -> str:
    others = max(0, found["node_tasks"] - 1)
    tasks = (
        f"{show.count(others, 'other task')} {'is' if others == 1 else 'are'} there" if others else "It is alone there"
    )
    free = show.needs(found["node_free_cpu"], found["node_free_memory"])
    return f"{tasks}; free there: {free}."


def _ended(found: Mapping[str, Any], state: State) -> Iterator[str]:
    node, attempt = found["node_id"], found["attempt"]
    where = f"with attempt {attempt} on {node}" if attempt and node else "before it was placed anywhere"
    words = {State.COMPLETED: "It ended well", State.FAILED: "It failed", State.CANCELLED: "A user ended it"}
    yield f"{words[state]}, {where}."
    if state is State.FAILED:
        advice = ADVICE.get(found["reason"])
        if advice:
            yield advice.format(id=found["task_id"])
    if found.get("error"):
        yield "Its error:\n" + "\n".join(f"  {one}" for one in str(found["error"]).rstrip().splitlines())
    if state is not State.COMPLETED:
        yield f"To run it again: {_do(found, 'requeue')}"


def _history(found: Mapping[str, Any]) -> Iterator[str]:
    events: list[Mapping[str, Any]] = found["history"]
    cut = "" if found["history_complete"] else " (what the decision log still has)"
    lines = [_event(event) for event in events[-TOLD:]]
    if len(events) > TOLD:
        lines.insert(0, f"… {len(events) - TOLD} before: `rq-sched events --task {found['task_id']}`")
    yield "\n".join([f"What happened{cut}:", *(f"  {one}" for one in lines)])


def _event(event: Mapping[str, Any]) -> str:
    where = f" on {event['node_id']}" if event["node_id"] else ""
    attempt = f", attempt {event['attempt']}" if "attempt" in event else ""
    reason = f": {event['reason']}" if "reason" in event else ""
    return f"{_clock(event['time'])}  {event['type']}{where}{attempt}{reason}"


def _run(number: int) -> str:
    return f"{show.count(number, 'task')} {'runs' if number == 1 else 'run'}"


# -- words ----------------------------------------------------------------------------------------


def _need(found: Mapping[str, Any]) -> str:
    return show.needs(found["cpu_needed"], found["memory_needed"], found["require"])


def _of(some: int, nodes: int) -> str:
    return f"{some:,} of {show.count(nodes, 'node')}"


def _do(found: Mapping[str, Any], command_line: str) -> str:
    return f"`rq-sched {command_line} {found['task_id']}`"


def _clock(text: str | None, otherwise: str = "-") -> str:
    return show.clock(datetime.fromisoformat(text).timestamp()) if text else otherwise
