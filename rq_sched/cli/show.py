"""How things are printed. Every text that comes from data passes ``safe`` before a terminal sees it.

On a terminal nothing is wider than the screen: lines are folded between words (``fold``), tables give up room as
``table`` says. Elsewhere nothing is folded or cut.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from rq_sched.model.arrays import first_of
from rq_sched.model.asked import NOTHING, Amounts, units
from rq_sched.model.fit import Wish
from rq_sched.model.resources import format_memory as format_memory

STYLES = {
    "completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "assigned": "cyan",
    "held": "magenta", "delayed": "blue", "waiting": "blue", "up": "green", "faulty": "red", "draining": "yellow",
    "dead": "red", "ok": "green", "wrong": "red",
}  # fmt: skip
Piece = tuple[str, str]
"""Text on a terminal, and its style."""
LEVELS = 100
"""Levels of nested values that are shown: they may have ten times as many, which JSON's readers mostly don't take."""


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


def needs(
    cpu: int,
    memory: int,
    require: Sequence[str] = (),
    resources: Amounts = NOTHING,
    limits: Amounts = NOTHING,
) -> str:
    """``2 CPU, 512 MB``; with what else is required, ``2 CPU, 512 MB, gpu 2, label ssd, limit api``."""
    required = [labels(require)] if require else []
    return ", ".join([f"{cpu} CPU", format_memory(memory), *amounts(resources), *required, *amounts({}, limits)])


def wish(asked: Wish) -> str:
    """The same of a wish."""
    resources = {name: units(amount) for name, amount in asked.resources}
    return needs(*asked.need, asked.require, resources)


def amounts(resources: Amounts, limits: Amounts = NOTHING) -> list[str]:
    """``gpu 2``, ``limit api``: of each how much a task asks for."""
    found = [f"{name} {amount_of(amount)}" for name, amount in resources.items()]
    return found + [f"limit {name}" + (f" {amount_of(one)}" if one != 1 else "") for name, one in limits.items()]


def amounts_used(total: Amounts, free: Amounts) -> list[str]:
    """``gpu 1.5/4``, ``scratch 0/200,000``: what is in use of resources, and what there is."""
    return [f"{name} {amount_of(round(most - free[name], 3))}/{amount_of(most)}" for name, most in total.items()]


def amount_of(amount: float) -> str:
    """``2``, ``0.5``, ``200,000``."""
    return f"{amount:,}".removesuffix(".0")


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


# -- on a terminal --------------------------------------------------------------------------------

_WORD = re.compile(r"( *)((?:[^\s`]*`[^`\n]*`[^\s`]*)|\S+)")
"""A word with the spaces before it; a command in backticks is one."""


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal that ``stream`` (standard output) is; None: it is none, and nothing is folded."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def cells(text: str) -> int:
    """Columns that ``text`` takes on a screen: some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fold(text: str, width: int | None, first: str = "", margin: str = "") -> list[str]:
    """``text`` (one line) in lines of at most ``width`` columns, folded between words.

    A word that is longer than that stands whole on a line of its own: the terminal folds it, and it can be copied. A
    command in backticks is kept together where it fits on a line.

    Parameters:
        width: None: one line, however long.
        first: what the first line begins with.
        margin: what the others begin with.

    >>> fold("to end it: `rq-sched cancel t1`", 24, margin="  ")
    ['to end it:', '  `rq-sched cancel t1`']
    """
    if width is None or cells(first + text) <= width:
        return [(first + text).rstrip()]
    lines = []
    lead = text[: len(text) - len(text.lstrip(" "))]
    current, margin, empty = first + lead, margin + lead, True
    for gap, word in _words(text.lstrip(" ").expandtabs(4), max(1, width - len(margin))):
        whole = current + ("" if empty else gap) + word
        if cells(whole) > width:
            if current.strip():
                lines.append(current.rstrip())
            whole = " " * min(len(margin), max(0, width - cells(word))) + word
        current, empty = whole, False
    return [*lines, current.rstrip()]


def fold_command(text: str, width: int | None, first: str = "", margin: str = "") -> list[str]:
    """As ``fold``, for a command: a shell reads the lines as one.

    >>> fold_command("rq-sched submit math:hypot :=3 :=4", 24, margin="    ")
    ['rq-sched submit \\\\', '    math:hypot :=3 :=4']
    """
    *more, last = fold(text, width, first, margin)
    if not more or width is None:
        return [*more, last]
    *more, last = fold(text, width - 2, first, margin)
    return [*(f"{one} \\" for one in more), last]


def _words(text: str, width: int) -> Iterator[tuple[str, str]]:
    """The words, each with the spaces before it; commands that don't fit into ``width`` are several words."""
    for gap, word in _WORD.findall(text):
        if " " in word and cells(word) > width:
            yield from ((gap if i == 0 else " ", part) for i, part in enumerate(word.split(" ")))
        else:
            yield gap, word


def pairs(items: Iterable[tuple[str, str]], indent: int = 2) -> None:
    """Names and what they hold, one a line; further lines of a value stand under its first."""
    shown = [(name, safe(value, lines=True)) for name, value in items]
    width = max((len(name) for name, _ in shown), default=0)
    screen = terminal_width()
    margin = " " * (indent + width + 2)
    for name, value in shown:
        first, *rest = value.split("\n")
        for part in fold(first, screen, f"{' ' * indent}{name.ljust(width)}  ", margin):
            line(part)
        for more in rest:
            for part in fold(more, screen, margin, margin):
                line(part)


def paragraph(text: str, indent: int = 0) -> None:
    """Sentences, folded where a terminal is narrower; lines in ``text`` stay lines, and keep their margin."""
    screen = terminal_width()
    for one in safe(text, lines=True).split("\n"):
        for part in fold(one, screen, " " * indent, " " * indent):
            line(part)


def heading(text: str, state: str = "") -> None:
    """A line that names what follows, bold on a terminal; ``state`` in its colour."""
    text, state = safe(text), safe(state)
    screen = terminal_width()
    if screen is None:
        line(f"{text}  {state}".rstrip())
        return
    style = style_of(state)
    if state and cells(f"{text}  {state}") <= screen:
        print_styled([[(text, "bold"), (f"  {state}", style)]])
        return
    print_styled([(part, "bold")] for part in fold(text, screen))
    if state:
        print_styled([(part, style)] for part in fold(state, screen, "  ", "  "))


def style_of(text: str) -> str:
    """The colour of what begins with a word of ``STYLES``."""
    return STYLES.get(text.split(" ")[0], "")


def print_styled(lines: Iterable[Iterable[Piece]]) -> None:
    """Lines on a terminal, of texts with their styles (coloured only where that is wanted). They are folded already."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    for pieces in lines:
        text = Text.assemble(*pieces)
        text.rstrip()
        console.print(text, soft_wrap=True)
