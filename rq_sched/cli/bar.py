"""A progress bar on standard error, only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Update = Callable[[float, str], None]
"""Called with what is done so far, and a text to show beside it."""

WIDE = 80
"""Columns from which on there is room for the time that remains."""


@contextmanager
def progress_bar(label: str, total: float | None, *, visible: bool = True) -> Iterator[Update]:
    """Shows how far something is, of ``total`` (None: not known); gone at the end."""
    if not (visible and sys.stderr.isatty()):
        yield lambda done, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, soft_wrap=True)  # a warning that is printed meanwhile is folded already
    columns = [
        TextColumn(label),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    ]
    if console.width >= WIDE:
        columns.append(TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task("", total=total, text="")
        yield lambda done, text: progress.update(task, completed=done, text=text)
