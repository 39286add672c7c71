"""``rq-sched top``: the live screen."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.info import counts, joined
from rq_sched.cli.look import call_text, state_text
from rq_sched.cli.missing import no_scheduler
from rq_sched.cli.options import DURATION, Invocation, Limit, command
from rq_sched.cli.show import Piece
from rq_sched.cli.table import Column, draw, table
from rq_sched.errors import RedisUnavailable
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo, iso

ROWS = 20
"""Nodes and tasks that are listed where there is no screen to fill."""
LEAST_INTERVAL = 0.1
BAR = 24
"""Characters of a bar over the whole width of a figure."""
WIDE = 80
"""Columns from which on there are bars."""

FAILED_ROWS = 3
"""Failures that are listed."""

FAILED_COLUMNS = [
    Column("FAILED"), Column("WHY", rank=1), Column("NODE", rank=1), Column("AGO", right=True, rank=2),
    Column("RUNS", rank=3, cut=True),
]  # fmt: skip
NODE_COLUMNS = [
    Column("NODE"), Column("STATE", state=True), Column("CPU used/total", rank=2, short="CPU"),
    Column("MEMORY used/total", rank=2, short="MEMORY"), Column("TASKS", right=True, rank=3),
    Column("HEARTBEAT", right=True, rank=5), Column("LABELS", rank=6, cut=True, sparse=True),
    Column("FAULT", rank=1, cut=True, sparse=True),
]  # fmt: skip
RUNNING_COLUMNS = [
    Column("RUNNING"), Column("NODE"), Column("PRIO", right=True, rank=4), Column("CPU", right=True, rank=2),
    Column("MEMORY", right=True, rank=3), Column("FOR", right=True, rank=1), Column("DONE", right=True, rank=1),
    Column("RUNS", rank=2, cut=True),
]  # fmt: skip
PENDING_COLUMNS = [
    Column("NEXT"), Column("STATE", state=True), Column("PRIO", right=True, rank=2), Column("CPU", right=True, rank=2),
    Column("MEMORY", right=True, rank=3), Column("WAITS", right=True, rank=1), Column("RUNS", rank=3, cut=True),
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


@command("top")
@click.option("-d", "--interval", type=DURATION, default=2.0, metavar="DURATION", show_default=True,
              help="Time between two refreshes.")  # fmt: skip
@click.option("-n", "--count", type=Limit(1), metavar="N",
              help="End after so many refreshes (default: on a terminal never, elsewhere after one).")  # fmt: skip
@click.pass_obj
def top_command(session: Invocation, interval: float, count: int | None) -> None:
    """Watch what goes on: tasks by state and per second, the busiest nodes, what runs, what is next.

    On a terminal it fills the screen until 'q' or Ctrl-C; any other key refreshes it at once. In a pipe, and with
    --json, each refresh is printed below the one before.
    """
    interval = max(interval, LEAST_INTERVAL)
    if sys.stdout.isatty() and not session.json:
        _live(session, interval, count)
        return
    frame = None
    for i in range(count or 1):
        if i:
            time.sleep(interval)
            if not session.json:
                show.line()
        frame = look(session, frame, ROWS)
        show.json_line(_as_json(frame)) if session.json else _print(frame)
        sys.stdout.flush()


def _as_json(frame: Frame) -> dict[str, Any]:
    rates = {f"{name}_per_second": round(rate, 3) for name, rate in frame.rates.items()}
    return {"time": iso(frame.time), **frame.info, **rates}


def _print(frame: Frame) -> None:
    show.heading(_title(frame))
    if absent := no_scheduler(frame.info["scheduler_seen"]):
        show.paragraph(absent, indent=2)
    show.pairs((name, joined(parts)) for name, parts in _figures(frame, 0))
    for columns, rows in _tables(frame, [ROWS] * 4, 0):
        show.line()
        table(columns, rows)


# -- what is shown --------------------------------------------------------------------------------


def _title(frame: Frame) -> str:
    return f"namespace {frame.info['namespace']}  {show.clock(frame.time)}"


def _figures(frame: Frame, bar: int) -> Iterator[tuple[str, list[Piece]]]:
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


def _tables(frame: Frame, rows: Sequence[int], bar: int) -> Iterator[tuple[list[Column], list[tuple[str, ...]]]]:
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
        str(node.running),
        f"{show.age(node.last_heartbeat)} ago" if node.last_heartbeat else "-",
        "+".join(node.labels),
        node.fault or "",
    )


def _running_row(info: TaskInfo, now: float) -> tuple[str, ...]:
    return (
        info.task_id, info.node_id or "-", str(info.priority), str(info.cpu_allocated),
        show.format_memory(info.memory_allocated), show.duration(now - (info.started_at or now)),
        "" if info.progress is None else f"{info.progress:.0%}", call_text(info),
    )  # fmt: skip


def _pending_row(info: TaskInfo, now: float) -> tuple[str, ...]:
    return (
        info.task_id, state_text(info), str(info.priority), str(info.cpu_needed),
        show.format_memory(info.memory_needed), show.duration(now - (info.submitted_at or now)),
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


# -- the screen -----------------------------------------------------------------------------------


def _live(session: Invocation, interval: float, count: int | None) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False)
    frame = look(session, None, console.height)
    with _keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
        shown, problem = 0, ""
        while True:
            live.update(screen(frame, console.width, console.height, problem), refresh=True)
            shown += 1
            if shown == count or key(interval) in ("q", "Q"):
                return
            try:
                frame, problem = look(session, frame, console.height), ""
            except RedisUnavailable as error:  # it may come back: the last frame stays
                problem = str(error)


def screen(frame: Frame, width: int, height: int, problem: str = "") -> Any:
    """A frame as rich draws it on a screen; ``problem``: why it isn't newer."""
    from rich.console import Group
    from rich.text import Text

    problem = problem or no_scheduler(frame.info["scheduler_seen"]) or ""
    lines: list[list[Piece]] = [[(show.safe(_title(frame)), "bold"), ("   q: quit", "dim")]]
    lines += [[(text, "bold red")] for text in show.fold(show.safe(problem), width) if text]
    bar = BAR if width >= WIDE else 0
    names = ("tasks", "per second", "nodes", "cpu", "memory")
    margin = max(map(len, names)) + 2
    for name, parts in _figures(frame, bar):
        lines += _packed(name, parts, margin, width)
    wanted = [len(frame.failed), len(frame.nodes), len(frame.running), len(frame.pending)]
    around = len(lines) + sum(2 for number in wanted if number)  # with an empty line and a heading for each table
    bar = max(4, min(BAR, (width - 70) // 2)) if width >= WIDE else 0
    left_out: dict[str, None] = {}
    drawn: list[list[Piece]] = []
    for columns, rows in _tables(frame, shares(wanted, height - around - 1), bar):
        one = draw(columns, [[show.safe(cell) for cell in row] for row in rows], width, shorten=True)
        drawn += [[("", "")], *one.lines]
        left_out |= dict.fromkeys(one.left_out)
    if left_out:
        drawn.append([(f"left out: {', '.join(left_out)} (a wider window)", "dim")])
    return Group(*(Text.assemble(*one, no_wrap=True, overflow="ellipsis") for one in [*lines, *drawn]))


def _packed(name: str, parts: Sequence[Piece], margin: int, width: int) -> Iterator[list[Piece]]:
    """A figure in lines of at most ``width``, broken between its parts."""
    current: list[Piece] = [(name.ljust(margin), "dim")]
    taken = margin
    for number, (text, style) in enumerate(parts):
        comma = "," if number < len(parts) - 1 else ""
        gap = " " if len(current) > 1 else ""
        if gap and taken + len(gap + text + comma) > width:
            yield current
            current, taken, gap = [(" " * margin, "")], margin, ""
        current += [(gap + text, style), (comma, "")]
        taken += len(gap + text + comma)
    yield current


def shares(wanted: Sequence[int], rows: int) -> list[int]:
    """Rows for each table: as many as it has, else an equal share of what is left.

    >>> shares([2, 50, 50], 20)
    [2, 9, 9]
    """
    given = [0] * len(wanted)
    for place, i in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        given[i] = max(0, min(wanted[i], (rows - sum(given)) // (len(wanted) - place)))
    return given


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Gives a function that waits for a key so many seconds; empty: none was pressed; ``q``: also the end of input."""
    try:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
    except (ImportError, OSError, ValueError):  # standard input is no terminal
        yield _no_key
        return

    def key(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return (sys.stdin.read(1) or "q") if ready else ""  # nothing to read: the terminal is gone

    try:
        tty.setcbreak(sys.stdin)
        yield key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
