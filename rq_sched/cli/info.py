"""``rq-sched info``: totals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.chosen import Chosen
from rq_sched.cli.missing import no_scheduler
from rq_sched.cli.options import Invocation, command, tag_option
from rq_sched.cli.show import Piece
from rq_sched.model.node import NodeState
from rq_sched.model.states import State


@command("info")
@tag_option("Count only the tasks with this tag, by state; may be repeated.")
@click.pass_obj
def info_command(session: Invocation, tag: Mapping[str, str]) -> None:
    """Print totals: tasks and nodes by state, capacity, what ever happened."""
    if tag:
        _count_tagged(session, tag)
        return
    info = session.run(session.store.info()).to_dict()
    if session.json:
        show.json_line(info)
        return
    show.heading(f"namespace {info['namespace']}")
    if absent := no_scheduler(info["scheduler_seen"]):
        show.paragraph(absent, indent=2)
    show.pairs(_pairs(info))


def _count_tagged(session: Invocation, tag: Mapping[str, str]) -> None:
    """Print how many tasks with these tags are where. The rest of an array counts as one."""
    numbers: Counter[str] = Counter()
    with progress_bar("counting", None) as update:
        for state in State:
            for task_ids in Chosen((), [state], tag).batches(session):
                numbers[state] += len(task_ids)
                update(numbers.total(), show.count(numbers.total(), "task"))
    if session.json:
        show.json_line({"tags": tag, "tasks": {state: numbers[state] for state in State if numbers[state]}})
    else:
        show.line(joined(counts(numbers, (State.FAILED,))))


def _pairs(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The totals; what is wrong comes first."""
    for node_id, fault in info["faults"].items():
        yield "fault", f"{node_id}: {fault}"
    yield "tasks", joined(counts(info["tasks"], (State.FAILED,)))
    yield "nodes", joined(counts(info["nodes"], (NodeState.FAULTY, NodeState.DEAD)))
    for name, amount in (("cpu", str), ("memory", show.format_memory)):
        total, free = info[f"total_{name}"], info[f"free_{name}"]
        share = f" ({(total - free) / total:.0%})" if total else ""
        yield name, f"{amount(total - free)} of {amount(total)} allocated{share}"
    used = show.amounts_used(info["total_resources"], info["free_resources"])
    if used:
        yield "resources", f"{', '.join(used)} allocated"
    if info["schedules"]:
        yield "schedules", schedules(info)
    yield "ever", joined(counts(info["ever"], ()))


def schedules(info: Mapping[str, Any]) -> str:
    """How many there are, and how long it is until the next is due."""
    if info["next_due"] is None:
        return f"{info['schedules']:,}, none is due"
    left = datetime.fromisoformat(info["next_due"]).timestamp() - time.time()
    return f"{info['schedules']:,}, the next is due {'in ' + show.duration(left) if left > 0 else 'now'}"


def counts(numbers: Mapping[str, int], wrong: Sequence[str]) -> list[Piece]:
    """``2 failed``, ``3 pending``: each number that isn't zero, with its style. Those that are ``wrong`` come first."""
    told = sorted(((name, number) for name, number in numbers.items() if number), key=lambda one: one[0] not in wrong)
    return [(f"{number:,} {name}", "bold red" if name in wrong else "") for name, number in told] or [("none", "")]


def joined(parts: Sequence[Piece]) -> str:
    return ", ".join(text for text, _ in parts)
