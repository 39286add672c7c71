"""What ``explain`` says of tasks that wait: where they fit, what is short, what is ahead and reserved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rq_sched.cli import show
from rq_sched.cli.explain_words import clock, do, need, of
from rq_sched.cli.missing import no_scheduler
from rq_sched.model.states import Reason

MAX_FAULTS = 3
"""Nodes whose faults are told."""


def waiting(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"It waits for {found['awaited']:,} of {found['awaited_of']:,}: {awaits(found)}."
    if found["on_failure"] == "keep":
        yield "If one of them ends otherwise it waits on, until that is requeued (--on-failure keep)."


def awaits(found: Mapping[str, Any]) -> str:
    """The first of those that a task waits for, as they are now."""
    kinds = {"any": " (to end)", "failed": " (to fail)", "each": " (each element for its own)"}
    named = [
        f"{one['task_id']}{kinds.get(one['kind'], '')} "
        f"{one['state'] or 'is not there any more'}{' on ' + one['node_id'] if one['node_id'] else ''}"
        for one in found["awaits"]
    ]
    more = found["awaited"] - len(named)
    return ", ".join([*named, *([f"and {more:,} more"] if more > 0 else [])]) or "they have just ended"


def delayed(found: Mapping[str, Any]) -> str:
    due = clock(found["due"], "its time has come")
    if found.get("reason") == Reason.TOO_MANY_LABEL_SETS:
        return (
            "Its time has come, but tasks of as many sets of labels as may wait at once wait already: it is looked at "
            f"again at {due}. `rq-sched list --state pending` shows them, `rq-sched cancel --no-requeue ID` ends one"
        )
    why = "After a failure it is tried again later" if found.get("reason") == Reason.RETRY else "As --delay asked"
    return f"{why}: it waits until {due}. To run it now: {do(found, 'requeue')}"


def pending(found: Mapping[str, Any]) -> Iterator[str]:
    nodes = found["nodes"]
    if found["suspect"]:
        yield (
            "Nodes died while it and other tasks ran there, as often as its crash limit allows. Whose doing that was "
            "shows when it runs alone: until then it needs a whole node, the largest that could hold it."
        )
    yield from _faults(found)
    if not nodes:
        yield f"It needs {need(found)}, and no node is up: start one (`rq-sched worker`, or `rq-sched up`)."
        yield from _no_scheduler(found)
        return
    yield from _refusals(found)
    if not found["fits_empty"]:
        end = f"end it ({do(found, 'cancel --no-requeue')}) and ask" if not found.get("dry_run") else "ask"
        why = _too_small(found)
        yield f"It needs {need(found)}, and no node could hold it even when empty: {why}, or {end} for less."
        yield from _no_scheduler(found)
        return
    yield from _room(found)
    yield from _limits(found)
    yield from surplus(found)
    yield from _reserved(found)
    yield from _first_blocked(found)
    yield _ahead(found)
    yield from _scheduler(found)


def _faults(found: Mapping[str, Any]) -> Iterator[str]:
    """Nodes that can't begin tasks."""
    faults: Mapping[str, str] = found["faults"]
    for node, fault in list(faults.items())[:MAX_FAULTS]:
        yield f"{node} takes no tasks, and looks again by itself: {fault}"
    if len(faults) > MAX_FAULTS:
        yield f"So do {len(faults) - MAX_FAULTS:,} more nodes, for faults of their own (`rq-sched nodes`)."


def _refusals(found: Mapping[str, Any]) -> Iterator[str]:
    """What nodes have said that have refused it."""
    refusals: Mapping[str, str] = found.get("refusals") or {}
    if refusals:
        said = [f"  {node}: {why}" for node, why in list(refusals.items())[:MAX_FAULTS]]
        more = [f"  … and {len(refusals) - MAX_FAULTS} more"] if len(refusals) > MAX_FAULTS else []
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
    for name, most in found["largest_resources"].items():
        if not most:
            return f"of {up} up, none has the resource {name}. Start a node with `--resource {name}=AMOUNT`"
    largest = show.needs(found["largest_cpu"], found["largest_memory"], (), found["largest_resources"])
    which = f"the {carrying:,} with the {labels}" if found["require"] else up + " up"
    return f"of {which}, the largest offers are {largest}. Start a larger node"


def _room(found: Mapping[str, Any]) -> Iterator[str]:
    nodes, fits_now, fits_empty = found["nodes"], found["fits_now"], found["fits_empty"]
    now = f"fits now on {of(fits_now, nodes)}" if fits_now else f"fits now on none of {show.count(nodes, 'node')}"
    yield f"It needs {need(found)}: it {now}, and on {fits_empty:,} when empty."
    if found["short_labels"]:
        yield f"On {of(found['short_labels'], nodes)} a label is missing."
    if found["refusing"]:
        yield f"{of(found['refusing'], nodes)} {'has' if found['refusing'] == 1 else 'have'} refused it."
    counts = {"CPU": found["short_cpu"], "memory": found["short_memory"], **found["short_resources"]}
    short = [f"{name} on {number:,}" for name, number in counts.items() if number]
    if short and not fits_now:
        yield f"Too little is free: {', '.join(short)}."


def _limits(found: Mapping[str, Any]) -> Iterator[str]:
    """The limits that don't let it start."""
    for one in found.get("limited_by") or ():
        name, asked, most, in_use = one["name"], one["asked"], one["limit"], one["in_use"]
        state = f"limit {name}: {in_use:,} of {most:,} in use"
        if most < 0:
            yield f"limit {name}: it isn't set, and nothing that asks for it starts (`rq-sched limit {name} 20`)."
        elif asked > most:
            yield f"{state}, and it asks for {asked:,}: it waits until that is raised (`rq-sched limit {name} N`)."
        elif one["kept_for"]:
            yield f"{state}; what is left, and what comes free, is kept for {one['kept_for']}, which comes earlier."
        else:
            yield f"{state}{f', and it asks for {asked:,}' if asked > 1 else ''}."


def surplus(found: Mapping[str, Any]) -> Iterator[str]:
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
    when = f", since {clock(since)}" if since else ""
    starts = f"; it is expected to start by {clock(until)}" if until else ""
    if task == (found.get("next") or found["task_id"]):
        yield f"Node {node} is kept for it{when}: it starts when enough is free there{starts}."
    elif found["fits_reserved"]:
        yield f"There is room for it on {node}, but that is kept for {task}, which comes earlier{when}{starts}."
    else:
        yield f"Node {node} is kept for {task}{when}{starts}: later tasks may use only what is spare there."


def _first_blocked(found: Mapping[str, Any]) -> Iterator[str]:
    if not found.get("blocked_since"):
        return
    yield f"It is the first in order that waits for room, since {clock(found['blocked_since'])}."
    if not found.get("reserved_node"):
        if found["reserve_at"]:
            yield f"A node is kept for it from {clock(found['reserve_at'])} on (setting reserve_after)."
        else:
            yield "No node will be kept for it: the setting reserve_after is off."
    if found["preemptible"] and found["preempt_at"]:
        yield (
            f"From {clock(found['preempt_at'])} on (setting preempt_after) preemptible tasks of lower priority are "
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
    if found["fits_now"] and not absent and not found.get("limited_by"):
        yield "A scheduler is at work: it is about to be placed, unless an earlier task takes the room."


def _run(number: int) -> str:
    return f"{show.count(number, 'task')} {'runs' if number == 1 else 'run'}"
