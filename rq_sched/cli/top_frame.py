"""What ``rq-sched top`` shows: a frame is what there is at one moment, in figures and tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rq_sched.cli import show
from rq_sched.cli.info import counts, schedules
from rq_sched.cli.look import call_text, state_text
from rq_sched.cli.options import Invocation
from rq_sched.cli.show import Piece
from rq_sched.cli.table import Column
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo, iso

FAILED_ROWS = 3
"""Failures that are listed."""

FAILED_COLUMNS = [
    Column("FAILED"), Column("WHY", rank=1), Column("NODE", rank=1), Column("AGO", right=True, rank=2),
    Column("RUNS", rank=3, cut=True),
]  # fmt: skip
NODE_COLUMNS = [
    Column("NODE"), Column("STATE", state=True), Column("CPU used/total", rank=2, short="CPU"),
    Column("MEMORY used/total", rank=2, short="MEMORY"),
    Column("RESOURCES used/total", rank=2, short="RESOURCES", sparse=True), Column("TASKS", right=True, rank=3),
    Column("HEARTBEAT", right=True, rank=5), Column("LABELS", rank=6, cut=True, sparse=True),
    Column("FAULT", rank=1, cut=True, sparse=True),
]  # fmt: skip
RUNNING_COLUMNS = [
    Column("RUNNING"), Column("NODE"), Column("PRIO", right=True, rank=4), Column("CPU", right=True, rank=2),
    Column("MEMORY", right=True, rank=3), Column("RESOURCES", rank=3, sparse=True), Column("FOR", right=True, rank=1),
    Column("DONE", right=True, rank=1), Column("RUNS", rank=2, cut=True),
]  # fmt: skip
PENDING_COLUMNS = [
    Column("NEXT"), Column("STATE", state=True), Column("PRIO", right=True, rank=2), Column("CPU", right=True, rank=2),
    Column("MEMORY", right=True, rank=3), Column("RESOURCES", rank=3, sparse=True),
    Column("WAITS", right=True, rank=1), Column("RUNS", rank=3, cut=True),
]  # fmt: skip


@dataclass
class Frame:
    """What is shown at one moment. ``rates``: per second since the frame before; empty in the first one."""

    time: float
    clock: float
    info: Mapping[str, Any]
    nodes: Sequence[NodeInfo] = ()
    failed: Sequence[TaskInfo] = ()
    running: Sequence[TaskInfo] = ()
    pending: Sequence[TaskInfo] = ()
    rates: dict[str, float] = field(default_factory=dict)


def look(session: Invocation, before: Frame | None, rows: int) -> Frame:
    """The next frame, with at most so many tasks of each kind."""
    store = session.store
    frame = Frame(time.time(), time.monotonic(), session.run(store.info()).to_dict())
    frame.nodes = _in_order(session.run(store.nodes()))
    if frame.info["tasks"][State.FAILED]:
        frame.failed = session.run(store.list_tasks(state=State.FAILED, limit=FAILED_ROWS)).tasks
    frame.running = session.run(store.list_tasks(state=State.RUNNING, limit=rows)).tasks
    frame.pending = session.run(store.list_tasks(state=State.PENDING, limit=rows)).tasks
    if before is not None:
        seconds = max(0.001, frame.clock - before.clock)
        ever, earlier = frame.info["ever"], before.info["ever"]
        frame.rates = {name: max(0, ever[name] - earlier[name]) / seconds for name in ever}
    return frame


def _in_order(nodes: Sequence[NodeInfo]) -> list[NodeInfo]:
    """Somebody must see to those with a fault, and to a dead one; then come the busiest, and other dead ones last."""
    busiest = sorted(nodes, key=lambda node: (-_share(node.total_cpu - node.free_cpu, node.total_cpu), node.node_id))
    faulty = [node for node in busiest if node.fault is not None]
    dead = [node for node in busiest if node.state is NodeState.DEAD]
    others = [node for node in busiest if node.fault is None and node.state is not NodeState.DEAD]
    return [*faulty, *dead[:1], *others, *dead[1:]]


def as_json(frame: Frame) -> dict[str, Any]:
    """As one JSON object."""
    rates = {f"{name}_per_second": round(rate, 3) for name, rate in frame.rates.items()}
    return {"time": iso(frame.time), **frame.info, **rates}


def title(frame: Frame) -> str:
    """What stands above it."""
    return f"namespace {frame.info['namespace']}  {show.clock(frame.time)}"


def figures(frame: Frame, bar: int) -> Iterator[tuple[str, list[Piece]]]:
    """Each figure in parts, with their styles; what is wrong comes first."""
    info = frame.info
    yield "tasks", counts(info["tasks"], (State.FAILED,))
    if frame.rates:
        yield "per second", [(f"{rate:,.4g} {name}", "") for name, rate in frame.rates.items()]
    yield "nodes", counts(info["nodes"], (NodeState.FAULTY, NodeState.DEAD))
    for name, amount in (("cpu", str), ("memory", show.format_memory)):
        total = info[f"total_{name}"]
        used = total - info[f"free_{name}"]
        text = f"{amount(used)} of {amount(total)} allocated ({_share(used, total):.0%})"
        yield name, [(_bar(used, total, bar) + text, "")]
    if info["total_resources"]:
        used_of = show.amounts_used(info["total_resources"], info["free_resources"])
        yield "resources", [(f"{', '.join(used_of)} allocated", "")]
    if info["schedules"]:
        yield "schedules", [(schedules(info), "")]


def tables(frame: Frame, rows: Sequence[int], bar: int) -> Iterator[tuple[list[Column], list[tuple[str, ...]]]]:
    """The tables that have something to show; ``rows``: at most so many of each."""
    now = frame.time
    failed, nodes, running, pending = rows
    if frame.failed:
        yield FAILED_COLUMNS, [_failed_row(info, now) for info in frame.failed[:failed]]
    if frame.nodes:
        yield NODE_COLUMNS, [_node_row(node, bar) for node in frame.nodes[:nodes]]
    if frame.running:
        yield RUNNING_COLUMNS, [_running_row(info, now) for info in frame.running[:running]]
    if frame.pending:
        yield PENDING_COLUMNS, [_pending_row(info, now) for info in frame.pending[:pending]]


def _failed_row(info: TaskInfo, now: float) -> tuple[str, ...]:
    ago = show.duration(now - (info.finished_at or now))
    return info.task_id, str(info.reason or "-"), info.node_id or "-", ago, call_text(info)


def _node_row(node: NodeInfo, bar: int) -> tuple[str, ...]:
    cpu, memory = node.total_cpu - node.free_cpu, node.total_memory - node.free_memory
    return (
        node.node_id,
        str(node.state),
        f"{_bar(cpu, node.total_cpu, bar)}{cpu}/{node.total_cpu}",
        f"{_bar(memory, node.total_memory, bar)}{show.format_memory(memory)}/{show.format_memory(node.total_memory)}",
        ", ".join(show.amounts_used(node.total_resources, node.free_resources)),
        str(node.running),
        f"{show.age(node.last_heartbeat)} ago" if node.last_heartbeat else "-",
        "+".join(node.labels),
        node.fault or "",
    )


def _running_row(info: TaskInfo, now: float) -> tuple[str, ...]:
    return (
        info.task_id, info.node_id or "-", str(info.priority), str(info.cpu_allocated),
        show.format_memory(info.memory_allocated),
        ", ".join(show.amounts(info.resources, info.limits)), show.duration(now - (info.started_at or now)),
        "" if info.progress is None else f"{info.progress:.0%}", call_text(info),
    )  # fmt: skip


def _pending_row(info: TaskInfo, now: float) -> tuple[str, ...]:
    return (
        info.task_id, state_text(info), str(info.priority), str(info.cpu_needed),
        show.format_memory(info.memory_needed), ", ".join(show.amounts(info.resources, info.limits)),
        show.duration(now - (info.submitted_at or now)),
        call_text(info),
    )  # fmt: skip


def _share(used: int, total: int) -> float:
    return used / total if total else 0.0


def _bar(used: int, total: int, width: int) -> str:
    """So much of ``width`` characters, in halves; nothing where there is no room for it."""
    if not width:
        return ""
    halves = round(_share(used, total) * width * 2)
    return ("━" * (halves // 2) + "╸" * (halves % 2)).ljust(width) + " "
