"""Tables, and how they give up room where a terminal is narrow.

Each column has a rank. Rank 0 is never lost: the id, the state, the node. Of the others the highest rank leaves first,
as a whole, and a line below the table names what was left out. Before a column leaves

1. headings get shorter, where they have a ``short`` form;
2. an id that is much longer than the others gets a line of its own: the first column's above its row, others below;
3. columns with ``cut`` are cut, down to ``LEAST_CUT`` characters, and end with …;
4. columns with ``fold`` are folded, down to ``LEAST_FOLD`` characters; one that must leave stands under its row.

If not even rank 0 fits, each row becomes a block of lines, ``NAME  value``. Ids are never broken: one that is longer
than the screen stands alone on its line, and the terminal folds it. Where there is no terminal, tables are plain
columns that cut nothing, fit for ``grep`` and ``awk``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rq_sched.cli.show import Piece, cells, fold, line, print_styled, safe, style_of, terminal_width

GAP = 2
"""Spaces between columns."""
LEAST_CUT = 16
LEAST_FOLD = 32
LEAST_ID = 12
"""Characters that the first column has at least before ids get lines of their own."""
INDENT = 4
"""Of what stands under its row."""


class Column(NamedTuple):
    """A column of a table.

    Parameters:
        right: numbers stand right.
        rank: 0 is never lost; of the others the highest leaves first.
        cut, fold: text that gives way: it is cut, or folded.
        short: the heading where room is short.
        sparse: the column isn't there if none of its cells holds anything.
        state: its cells begin with a word of ``STYLES``, and have its colour.
    """

    name: str
    right: bool = False
    rank: int = 0
    cut: bool = False
    fold: bool = False
    short: str = ""
    sparse: bool = False
    state: bool = False


@dataclass
class Drawn:
    """A table as it is on a screen: its lines, and the columns that had to leave."""

    lines: list[list[Piece]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass
class _Plan:
    """Which columns stand side by side (by their places), how wide they are, and which stand under their row. What is
    wider than its column, and may not be cut, gets a line of its own."""

    names: list[str]
    widths: list[int]
    shown: list[int]
    under: list[int] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    blocks: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    clean = [[safe(cell) for cell in row] for row in rows]
    width = terminal_width()
    if width is None:
        _print_plain(*_filled(columns, clean))
        return
    drawn = draw(columns, clean, width)
    print_styled(drawn.lines)
    if drawn.left_out:
        print_styled([(text, "dim")] for text in fold(left_out_text(drawn.left_out), width))


def left_out_text(names: Sequence[str]) -> str:
    """What a narrow screen doesn't show, and how to see it."""
    return f"left out for want of room: {', '.join(names)} (a wider window or --json shows all)"


def _print_plain(columns: Sequence[Column], rows: list[list[str]]) -> None:
    names = [column.name for column in columns]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        padded = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        )
        line("  ".join(padded).rstrip())


def _filled(columns: Sequence[Column], rows: list[list[str]]) -> tuple[list[Column], list[list[str]]]:
    """Without the sparse columns that hold nothing."""
    kept = [i for i, column in enumerate(columns) if not column.sparse or any(row[i] for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


# -- drawing --------------------------------------------------------------------------------------


def draw(columns: Sequence[Column], rows: list[list[str]], width: int, *, shorten: bool = False) -> Drawn:
    """A table within ``width``. Its cells are ``safe`` already.

    Parameters:
        shorten: a row is one line: long ids are shortened in the middle (``top``).
    """
    columns, rows = _filled(columns, rows)
    if shorten:
        rows = [_shortened(columns, row, _id_limit(width)) for row in rows]
    plan = _plan(columns, rows, width)
    if plan.blocks and not shorten:
        return Drawn(list(_blocks(columns, rows, width)))
    drawn = Drawn(left_out=plan.left_out)
    drawn.lines += _row_lines(columns, plan.names, plan, width, heading=True)
    for row in rows:
        drawn.lines += _row_lines(columns, row, plan, width)
    return drawn


def _id_limit(width: int) -> int:
    return max(LEAST_ID, width * 2 // 5)


def _shortened(columns: Sequence[Column], row: Sequence[str], most: int) -> list[str]:
    """A row whose ids are shortened in the middle."""
    return [
        cell if column.rank or column.cut or cells(cell) <= most else f"{cell[: most // 2]}…{cell[-(most // 2 - 1) :]}"
        for column, cell in zip(columns, row, strict=True)
    ]


def _plan(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> _Plan:
    """What stands where."""
    names = [column.name for column in columns]
    plan = _Plan(names, [max(map(cells, column)) for column in zip(names, *rows, strict=True)], _all(columns))
    if _taken(plan.widths, plan.shown) <= width:
        return plan
    names = plan.names = [column.short or column.name for column in columns]
    kept = [i for i in plan.shown if not columns[i].rank]
    for most in (_id_limit(width), width // 4, LEAST_ID):
        natural = [
            max([cells(name), *(cells(row[i]) for row in rows if columns[i].rank or cells(row[i]) <= most)])
            for i, name in enumerate(names)
        ]
        least = [_least(column, number) for column, number in zip(columns, natural, strict=True)]
        if _taken(least, kept) <= width:
            break
    else:
        plan.blocks = True
        return plan
    while _taken(least, plan.shown) > width:
        leaves = max(plan.shown, key=lambda i: (columns[i].rank, i))
        plan.shown.remove(leaves)
        if columns[leaves].fold:
            plan.under.append(leaves)
        else:
            plan.left_out.insert(0, columns[leaves].name)
    plan.widths = least
    spare = width - _taken(least, plan.shown)
    for i in sorted(plan.shown, key=lambda i: columns[i].rank):
        more = min(spare, natural[i] - least[i])
        plan.widths[i] += more
        spare -= more
    return plan


def _all(columns: Sequence[Column]) -> list[int]:
    return list(range(len(columns)))


def _least(column: Column, natural: int) -> int:
    return min(natural, LEAST_CUT if column.cut else LEAST_FOLD if column.fold else natural)


def _taken(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[i] for i in shown) + GAP * (len(shown) - 1)


def _row_lines(
    columns: Sequence[Column], row: Sequence[str], plan: _Plan, width: int, heading: bool = False
) -> Iterable[list[Piece]]:
    """The lines of one row: what gets lines of its own stands above (the first column) and below."""
    texts = {i: _in_column(columns[i], row[i], plan.widths[i]) for i in plan.shown}
    if not texts[0]:
        yield [(row[0], "")]
    for number in range(max(map(len, texts.values()))):
        pieces: list[Piece] = []
        for i in plan.shown:
            text = texts[i][number] if number < len(texts[i]) else ""
            pad = " " * (plan.widths[i] - cells(text))
            gap = "" if i == plan.shown[-1] else " " * GAP
            shown = pad + text + gap if columns[i].right else text + (pad + gap if gap else "")
            pieces.append((shown, "bold" if heading else _style(columns[i], row[i])))
        yield pieces
    margin = " " * INDENT
    for i in plan.shown[1:]:
        if not texts[i]:
            yield from ([(text, "")] for text in fold(row[i], width, f"{margin}{plan.names[i]}  ", margin))
    for i in plan.under if not heading else ():
        if row[i]:
            yield from ([(text, "")] for text in fold(row[i], width, margin, margin))


def _in_column(column: Column, text: str, width: int) -> list[str]:
    """The lines of a cell; none: it is too wide for its column."""
    if cells(text) <= width:
        return [text]
    if column.fold:
        return fold(text, width)
    if not column.cut:
        return []
    while cells(text) > width - 1:
        text = text[:-1]
    return [text + "…"]


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterable[list[Piece]]:
    """Each row as lines ``NAME  value``, of which none is left out."""
    names = [column.short or column.name for column in columns]
    margin = max(map(cells, names)) + GAP
    for number, row in enumerate(rows):
        if number:
            yield [("", "")]
        for column, name, cell in zip(columns, names, row, strict=True):
            style = _style(column, cell)
            first, *more = fold(cell, width, name.ljust(margin), " " * margin)
            if cell:
                yield [(first[:margin], "bold"), (first[margin:], style)]
                yield from ([(text, style)] for text in more)


def _style(column: Column, cell: str) -> str:
    return style_of(cell) if column.state else ""
