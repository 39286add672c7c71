"""What ``explain`` says of tasks that are on a node or have ended, and of what happened to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rq_sched.cli import show
from rq_sched.cli.explain_pending import awaits
from rq_sched.cli.explain_words import clock, do
from rq_sched.model.node import NodeState
from rq_sched.model.states import Reason, State

MAX_EVENTS = 12
"""Events that a history shows at most."""
ADVICE = {
    Reason.ERROR: "Its function raised an error; `rq-sched logs {id}` shows what it wrote.",
    Reason.EXIT_CODE: "The command ended with another code than 0; `rq-sched logs {id}` shows what it wrote.",
    Reason.TIMEOUT: "It ran longer than its time limit: submit it with a longer --time-limit.",
    Reason.OOM: "It used more memory than it may have: submit it with more --memory, or with --max-memory.",
    Reason.POISON: "Its process or its node died again and again: look at its log, and at those of the workers.",
    Reason.NOT_FOUND: "No node that could hold it has what it asks for: is it installed there, are its folders there?",
    Reason.UNSENDABLE: "Its result can't be sent: the error says what to return instead (docs/values.md).",
    Reason.EXPIRED: "It waited until its deadline: submit it with a longer --deadline, or a higher --priority.",
    Reason.INFEASIBLE: "As --infeasible fail asks, it didn't wait for a node that could: `rq-sched nodes` shows them.",
    Reason.NOT_ALLOWED: "No node that could hold it may run it: start a worker with the option that its error names.",
}


def placed(found: Mapping[str, Any], state: State) -> Iterator[str]:
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
        when = clock(found["scheduled_at"])
        yield f"Attempt {attempt} was placed on {node} at {when}; its start isn't reported yet."
    else:
        since = clock(found["started_at"])
        yield f"Attempt {attempt} runs on {node} since {since}; what it writes: {do(found, 'logs -f')}"
    yield from _why_there(found)
    if found["suspect"]:
        yield "It has the node to itself: nodes died on which it ran with others. If this one dies too, it is poison."
    holds = "".join(f", {name} {which}" for name, which in (found.get("holds") or {}).items())
    yield f"It holds {show.needs(found['cpu_allocated'], found['memory_allocated'])}{holds}. {_neighbours(found)}"
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


def ended(found: Mapping[str, Any], state: State) -> Iterator[str]:
    node, attempt = found["node_id"], found["attempt"]
    where = f"with attempt {attempt} on {node}" if attempt and node else "before it was placed anywhere"
    words = {State.COMPLETED: "It ended well", State.FAILED: "It failed", State.CANCELLED: "A user ended it"}
    if found.get("reason") == Reason.DEPENDENCY:
        yield f"It was cancelled, as what it waited for can't come any more: {awaits(found)}."
    else:
        yield f"{words[state]}, {where}."
    if state is State.FAILED:
        advice = ADVICE.get(found["reason"])
        if advice:
            yield advice.format(id=found["task_id"])
    if found.get("error"):
        yield "Its error:\n" + "\n".join(f"  {one}" for one in str(found["error"]).rstrip().splitlines())
    if state is not State.COMPLETED:
        yield f"To run it again: {do(found, 'requeue')}"


def history(found: Mapping[str, Any]) -> Iterator[str]:
    events: list[Mapping[str, Any]] = found["history"]
    cut = "" if found["history_complete"] else " (what the decision log still has)"
    lines = [_event(event) for event in events[-MAX_EVENTS:]]
    if len(events) > MAX_EVENTS:
        lines.insert(0, f"… {len(events) - MAX_EVENTS} before: `rq-sched events --task {found['task_id']}`")
    yield "\n".join([f"What happened{cut}:", *(f"  {one}" for one in lines)])


def _event(event: Mapping[str, Any]) -> str:
    where = f" on {event['node_id']}" if event["node_id"] else ""
    attempt = f", attempt {event['attempt']}" if "attempt" in event else ""
    reason = f": {event['reason']}" if "reason" in event else ""
    return f"{clock(event['time'])}  {event['type']}{where}{attempt}{reason}"
