"""What the demo prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.census.checks import Outcome, results

LARGEST = 8
PLAIN_SECONDS = 2.0
"""Seconds between two lines of progress where there is no terminal."""


class Advance(Protocol):
    """Called with how many tasks have ended."""

    def __call__(self, done: int) -> None: ...


@contextmanager
def progress(console: Console, total: int) -> Iterator[Advance]:
    """A bar on a terminal, a line now and then elsewhere."""
    if console.is_terminal:
        columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    shown = monotonic()

    def line(done: int) -> None:
        nonlocal shown
        if monotonic() - shown >= PLAIN_SECONDS:
            shown = monotonic()
            console.print(f"  {done:,} of {total:,} files")

    yield line


def census(console: Console, outcome: Outcome) -> None:
    """What was counted."""
    found = results(outcome)
    table = Table(title="The standard library", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("in all", justify="right")
    table.add_row("files", f"{len(found):,}")
    for name in ("lines", "functions", "classes", "imports", "bytes"):
        table.add_row(name, f"{sum(counts[name] for counts in found.values()):,}")
    table.add_row("unparsable", f"{sum(counts['broken'] is not None for counts in found.values()):,}")
    console.print(table)
    console.print()
    table = Table(title="Largest files", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("lines", "functions", "classes"):
        table.add_column(name, justify="right")
    table.add_column("file")
    for task_id in sorted(found, key=lambda task_id: -found[task_id]["lines"])[:LARGEST]:
        counts = found[task_id]
        numbers = (f"{counts['lines']:,}", f"{counts['functions']:,}", f"{counts['classes']:,}")
        table.add_row(*numbers, outcome.sources[task_id].name)
    console.print(table)
    console.print()


def nodes(console: Console, outcome: Outcome) -> None:
    """Who did it."""
    ran = Counter(info.node_id for info in outcome.tasks.values())
    table = Table(title="Nodes", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("node")
    table.add_column("tasks", justify="right")
    table.add_column("peak CPU / total", justify="right")
    table.add_column("peak MB / total", justify="right")
    for node_id, total in outcome.seen.total.items():
        peak = outcome.seen.peak[node_id]
        table.add_row(node_id, f"{ran[node_id]:,}", f"{peak.cpu} / {total.cpu}", f"{peak.memory:,} / {total.memory:,}")
    console.print(table)
    console.print()
    rate = len(outcome.sources) / outcome.seconds
    console.print(f"{len(outcome.sources):,} tasks in {outcome.seconds:.1f} s: {rate:,.0f} tasks/s")
    console.print(f"{outcome.seen.samples} samples of the ledgers, {outcome.seen.audits} runs of the invariant checker")
    console.print()


def check(console: Console, words: str, wrong: list[str]) -> None:
    """One check: ``ok``, or what is wrong."""
    console.print(f"{'FAILED' if wrong else 'ok'}  {words}", style="red" if wrong else None)
    for text in wrong[:5]:
        console.print(f"        {text}")
    if len(wrong) > 5:
        console.print(f"        ... and {len(wrong) - 5} more")
