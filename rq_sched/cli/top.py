"""``rq-sched top``: the live screen, and the same printed (what is shown: ``top_frame.py``)."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.info import joined
from rq_sched.cli.missing import no_scheduler
from rq_sched.cli.options import DURATION, Invocation, Limit, command
from rq_sched.cli.show import Piece
from rq_sched.cli.table import Drawn, draw, table
from rq_sched.cli.top_frame import Frame, as_json, figures, look, tables, title
from rq_sched.errors import RedisUnavailable

ROWS = 20
"""Nodes and tasks that are listed where there is no screen to fill."""
LEAST_INTERVAL = 0.1
BAR = 24
"""Characters of a bar over the whole width of a figure."""
LEAST_BAR = 4
WIDE = 80
"""Columns from which on there are bars."""


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
        show.json_line(as_json(frame)) if session.json else _print(frame)
        sys.stdout.flush()


def _print(frame: Frame) -> None:
    show.heading(title(frame))
    if absent := no_scheduler(frame.info["scheduler_seen"]):
        show.paragraph(absent, indent=2)
    show.pairs((name, joined(parts)) for name, parts in figures(frame, 0))
    for columns, rows in tables(frame, [ROWS] * 4, 0):
        show.line()
        table(columns, rows)


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
    lines: list[list[Piece]] = [[(show.safe(title(frame)), "bold"), ("   q: quit", "dim")]]
    lines += [[(text, "bold red")] for text in show.fold(show.safe(problem), width) if text]
    bar = BAR if width >= WIDE else 0
    names = ("tasks", "per second", "nodes", "cpu", "memory")
    margin = max(map(len, names)) + 2
    for name, parts in figures(frame, bar):
        lines += _packed(name, parts, margin, width)
    wanted = [len(frame.failed), len(frame.nodes), len(frame.running), len(frame.pending)]
    around = len(lines) + sum(2 for number in wanted if number)  # with an empty line and a heading for each table
    drawn: list[list[Piece]] = []
    shown = _tables(frame, shares(wanted, height - around - 1), width)
    for one in shown:
        drawn += [[("", "")], *one.lines]
    if left_out := _left_out(shown):
        text, hint = f"left out: {', '.join(left_out)}", " (a wider window)"
        drawn.append([(text + hint if len(text + hint) <= width else text, "dim")])
    return Group(*(Text.assemble(*one, no_wrap=True, overflow="ellipsis") for one in [*lines, *drawn]))


def _tables(frame: Frame, rows: Sequence[int], width: int) -> list[Drawn]:
    """The tables, with the longest bars that take no column's room."""

    def drawn(bar: int) -> list[Drawn]:
        return [
            draw(columns, [[show.safe(cell) for cell in row] for row in those], width, shorten=True)
            for columns, those in tables(frame, rows, bar)
        ]

    bare = drawn(0)
    bars = range(BAR, LEAST_BAR - 1, -4) if width >= WIDE else ()
    return next((barred for bar in bars if _left_out(barred := drawn(bar)) == _left_out(bare)), bare)


def _left_out(shown: Sequence[Drawn]) -> list[str]:
    """The columns that one of them has no room for."""
    return list(dict.fromkeys(name for one in shown for name in one.left_out))


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
