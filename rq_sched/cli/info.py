"""``rq-sched info``: totals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.missing import no_scheduler
from rq_sched.cli.options import Invocation, command


@command("info")
@click.pass_obj
def info_command(session: Invocation) -> None:
    """Print totals: tasks and nodes by state, capacity, what ever happened."""
    info = session.run(session.store.info())
    if session.json:
        show.json_line(info)
        return
    show.heading(f"namespace {info['namespace']}")
    show.pairs(_pairs(info))
    if absent := no_scheduler(info["scheduler_seen"]):
        show.paragraph(absent, indent=2)


def _pairs(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "tasks", _counts(info["tasks"])
    yield "nodes", _counts(info["nodes"])
    for node_id, fault in info["faults"].items():
        yield "fault", f"{node_id}: {fault}"
    for name, amount in (("cpu", str), ("memory", show.format_memory)):
        total, free = info[f"total_{name}"], info[f"free_{name}"]
        share = f" ({(total - free) / total:.0%})" if total else ""
        yield name, f"{amount(total - free)} of {amount(total)} allocated{share}"
    yield "ever", _counts(info["ever"])


def _counts(counts: Mapping[str, int]) -> str:
    """``3 pending, 2 running``; what is zero is left out."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "none"
