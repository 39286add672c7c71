"""How things are printed. Every text that comes from data passes ``safe`` before a terminal sees it.

On a terminal tables are drawn by rich, within its width; elsewhere they are plain aligned columns that cut nothing,
fit for ``grep`` and ``awk``.
"""

from __future__ import annotations

import base64
import json
import math
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rq_sched.model.arrays import first_of
from rq_sched.model.resources import format_memory as format_memory

STYLES = {
    "completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "assigned": "cyan",
    "held": "magenta", "delayed": "blue", "up": "green", "faulty": "red", "draining": "yellow", "dead": "red",
    "ok": "green", "wrong": "red",
}  # fmt: skip

GAP = 2
"""Spaces between columns."""
LEAST_CUT = 10
"""Characters that a column which gives way keeps."""


LEVELS = 100
"""Levels of nested values that are shown: they may have ten times as many, which JSON's readers mostly don't take."""


class Column(NamedTuple):
    """A column of a table: numbers stand right; ``cut`` ones give way where the terminal is narrow."""

    name: str
    right: bool = False
    cut: bool = False


def safe(value: object, lines: bool = False, returns: bool = False) -> str:
    """``value`` as text in which nothing can act on a terminal: other than printable characters are escaped.

    ``lines`` keeps the ends of lines, and tabs; ``returns`` carriage returns, which take a terminal no further than to
    the beginning of its line.

    >>> safe("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    text = str(value)
    if lines:
        text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    kept = ("\n\t" if lines else "") + ("\r" if returns else "")
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def plain(value: Any, levels: int = LEVELS) -> Any:
    """``value`` (anything msgpack can carry) as JSON can carry it: bytes as base64, NaN as null, keys as text, and …
    for what is nested deeper than ``levels``."""
    if isinstance(value, (str, int, bool)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (Mapping, list, tuple)) and levels == 0:
        return "…"
    if isinstance(value, Mapping):
        return {k if isinstance(k, str) else str(plain(k)): plain(item, levels - 1) for k, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, levels - 1) for item in value]
    return str(value)


def json_line(value: Mapping[str, Any]) -> None:
    """One JSON object on a line of standard output (in ASCII: nothing in it can act on a terminal)."""
    sys.stdout.write(json.dumps(plain(value)) + "\n")


def line(text: str = "") -> None:
    """One line on standard output. The caller has made it ``safe``."""
    sys.stdout.write(text + "\n")


def duration(seconds: float) -> str:
    """``0.35 s``, ``12 s``, ``2m 05s``, ``3h 20m``, ``4d 2h``."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.001 else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def age(then: float | None) -> str:
    """How long ago, short: ``5s``, ``3m``, ``2h``, ``4d``."""
    if then is None:
        return ""
    seconds = max(0, int(time.time() - then))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def clock(then: float | None, fraction: bool = False) -> str:
    """A time of day with its date, in the local time zone."""
    if then is None:
        return "-"
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(then))
    return f"{text}.{int(then * 1000) % 1000:03d}" if fraction else text


def count(number: int, what: str, many: str | None = None) -> str:
    """``1 task``, ``2 tasks``; ``many`` where the plural isn't made with an s."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"


def elements(counts: Mapping[str, int]) -> str:
    """``97 waiting, 3 active``: of an array, how many elements are where."""
    return ", ".join(f"{number:,} {where}" for where, number in counts.items() if number)


def again(task_id: str, array: str | None) -> str:
    """``it again: `rq-sched requeue t1` ``; of an array an element: it can't be requeued as a whole."""
    if array is None:
        return f"it again: `rq-sched requeue {task_id}`"
    return f"an element again: `rq-sched requeue {first_of(task_id, array)}`"


def needs(cpu: int, memory: int, require: Sequence[str] = ()) -> str:
    """``2 CPU, 512 MB``; with labels required, ``2 CPU, 512 MB, labels gpu+ssd``."""
    return f"{cpu} CPU, {format_memory(memory)}" + (f", {labels(require)}" if require else "")


def labels(names: Sequence[str]) -> str:
    """``label gpu``, ``labels gpu+ssd``."""
    return f"label{'s' if len(names) > 1 else ''} {'+'.join(names)}"


def call(function: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, limit: int = 200) -> str:
    """What a task runs, as one would write it: ``pkg.mod:func(1, key='x')``, ``/bin/ls -l``; at most ``limit`` long."""
    args, kwargs = args or [], kwargs or {}
    if function.startswith("exec:"):
        import shlex

        text = " ".join([shlex.quote(function.removeprefix("exec:")), *(shlex.quote(str(arg)) for arg in args)])
    else:
        words = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
        text = f"{function}({', '.join(words)})"
    return safe(text if len(text) <= limit else text[: limit - 1] + "…")


def value(result: Any, limit: int | None = None) -> str:
    """What a task returned: text as it is (escaped), anything else as JSON; at most ``limit`` characters."""
    text = result if isinstance(result, str) else json.dumps(plain(result), ensure_ascii=False)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return safe(text, lines=True)


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """A table: by rich on a terminal, else plain. A cell that is a word of ``STYLES`` gets its colour."""
    clean = [[safe(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        console = _console()
        console.print(drawn_table(columns, clean, console.width))
    else:
        _plain_table(columns, clean)


def _plain_table(columns: Sequence[Column], rows: list[list[str]]) -> None:
    names = [column.name for column in columns]
    widths = [max(map(len, cells)) for cells in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        cells = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        )
        line("  ".join(cells).rstrip())


def drawn_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Any:
    """A table as rich draws it within ``width``. Its cells are ``safe`` already."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    names = [column.name for column in columns]
    widths = [max(map(cell_len, cells)) for cells in zip(names, *rows, strict=True)]
    taken = sum(width + GAP for column, width in zip(columns, widths, strict=True) if not column.cut)
    drawn = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(
            Text(column.name),
            justify="right" if column.right else "left",
            no_wrap=column.cut or column.right,
            overflow="ellipsis" if column.cut else "fold",
            max_width=max(LEAST_CUT, width - taken) if column.cut else None,
        )
    for row in rows:
        drawn.add_row(*(Text(cell, style=STYLES.get(cell.split(" ")[0], "")) for cell in row))
    return drawn


def pairs(items: Iterable[tuple[str, str]], indent: int = 2) -> None:
    """Names and what they hold, one a line; further lines of a value stand under its first."""
    shown = [(name, safe(value, lines=True)) for name, value in items]
    width = max((len(name) for name, _ in shown), default=0)
    margin = " " * (indent + width + 2)
    for name, value in shown:
        first, *rest = value.split("\n")
        line(f"{' ' * indent}{name.ljust(width)}  {first}".rstrip())
        for more in rest:
            line((margin + more).rstrip())


def paragraph(text: str, indent: int = 0) -> None:
    """Sentences, folded where a terminal is narrower; lines in ``text`` stay lines, and keep their margin."""
    width = _console().width if sys.stdout.isatty() else None
    for one in safe(text, lines=True).split("\n"):
        margin = " " * (indent + len(one) - len(one.lstrip(" ")))
        words = one.strip(" ")
        folded = (
            [words]
            if width is None
            else textwrap.wrap(words, max(20, width - len(margin)), break_long_words=False, break_on_hyphens=False)
        )
        for part in folded or [""]:
            line((margin + part).rstrip())


def heading(text: str, state: str = "") -> None:
    """A line that names what follows, bold on a terminal; ``state`` in its colour."""
    if not sys.stdout.isatty():
        line(f"{safe(text)}  {safe(state)}".rstrip())
        return
    from rich.text import Text

    styled = Text(safe(text), style="bold")
    if state:
        styled.append("  ").append(safe(state), style=STYLES.get(state.split(" ")[0], ""))
    _console().print(styled)


def report(findings: Iterable[tuple[bool, str, str]]) -> None:
    """What was checked: ``ok`` or ``wrong``, the check, what was found, in which nothing is cut."""
    table(
        [Column(""), Column("CHECK"), Column("FOUND")],
        (("ok" if ok else "wrong", name, text) for ok, name, text in findings),
    )


def _console() -> Any:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=False)
