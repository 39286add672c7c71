"""How tables and sentences give up room."""

from __future__ import annotations

import pytest

from rq_sched.cli.show import fold, fold_command
from rq_sched.cli.table import Column, draw

COLUMNS = [
    Column("TASK"), Column("STATE"), Column("PRIO", right=True, rank=3), Column("CPU used/total", rank=2, short="CPU"),
    Column("RUNS", rank=1, cut=True), Column("LABELS", rank=4, sparse=True), Column("FAULT", rank=5, fold=True),
]  # fmt: skip
FAULT = "no space is left on the device"
ROWS = [
    ["t1", "failed (error)", "10", "1/4", "studio:render('opening.usd')", "", FAULT],
    ["t2", "running", "0", "2/4", "studio:render()", "", ""],
]


def lines(width: int, rows: list[list[str]] = ROWS, shorten: bool = False) -> list[str]:
    drawn = draw(COLUMNS, rows, width, shorten=shorten)
    return ["".join(text for text, _ in pieces).rstrip() for pieces in drawn.lines]


def test_where_there_is_room_all_is_there():
    first, second, third = lines(200)
    assert first.split() == ["TASK", "STATE", "PRIO", "CPU", "used/total", "RUNS", "FAULT"]  # no LABELS: none has any
    assert second.endswith(f"studio:render('opening.usd')  {FAULT}")
    assert third.split() == ["t2", "running", "0", "2/4", "studio:render()"]


@pytest.mark.parametrize(
    ("width", "heading", "left_out"),
    [
        (120, "TASK STATE PRIO CPU used/total RUNS FAULT", []),
        (60, "TASK STATE PRIO CPU RUNS", []),  # the fault stands under its row
        (50, "TASK STATE PRIO CPU RUNS", []),
        (45, "TASK STATE CPU RUNS", ["PRIO"]),
        (40, "TASK STATE RUNS", ["CPU used/total", "PRIO"]),
        (20, "TASK STATE", ["RUNS", "CPU used/total", "PRIO"]),
    ],
)
def test_columns_leave_by_their_rank(width: int, heading: str, left_out: list[str]):
    drawn = draw(COLUMNS, ROWS, width)
    assert lines(width)[0].split() == heading.split()
    assert drawn.left_out == left_out
    assert max(map(len, lines(width))) <= width
    assert FAULT in " ".join(" ".join(lines(width)).split())


def test_long_ids_get_a_line_and_are_never_broken():
    node = "a-node-whose-name-is-rather-long-0123456789"
    rows = [["t1", "running", "up"], ["x" * 128, "failed (error)", "n1"], ["t3", "running", node]]
    columns = [Column("TASK"), Column("STATE"), Column("NODE")]
    shown = ["".join(text for text, _ in pieces).rstrip() for pieces in draw(columns, rows, 60).lines]
    assert shown == [
        "TASK  STATE           NODE",
        "t1    running         up",
        "x" * 128,
        "      failed (error)  n1",
        "t3    running",
        f"    NODE  {node}",
    ]


def test_rows_become_blocks_where_not_even_the_first_columns_fit():
    columns = [Column("A LONG HEADING"), Column("ANOTHER LONG ONE"), Column("C", rank=1)]
    drawn = draw(columns, [["1", "2", "3"], ["4", "", "6"]], 25)
    shown = ["".join(text for text, _ in pieces) for pieces in drawn.lines]
    assert shown == ["A LONG HEADING    1", "ANOTHER LONG ONE  2", "C                 3", "",
                     "A LONG HEADING    4", "C                 6"]  # fmt: skip


def test_only_states_are_coloured():
    """A task may be called `failed`."""
    columns = [Column("TASK"), Column("STATE", state=True)]
    _, row = draw(columns, [["failed", "completed"]], 80).lines
    assert [style for _, style in row] == ["", "green"]


def test_a_live_screen_shortens_ids_in_the_middle():
    rows = [["an-id-of-" + "x" * 60 + "-its-end", "running", "0", "1/4", "m:f", "", ""]]
    (_, row) = lines(80, rows, shorten=True)
    assert row.startswith("an-id-of-xxxxxxx…")
    assert "xxx-its-end  running" in row


def test_a_character_that_takes_two_columns_counts_as_two():
    (_, row) = lines(40, [["t1", "running", "0", "1/4", "渲染" * 20, "", ""]])
    assert row.endswith("…")
    assert len(row) < 32


@pytest.mark.parametrize(
    ("text", "width", "folded"),
    [
        ("short", 20, ["short"]),
        ("one two three", 8, ["one two", "  three"]),
        ("one two three", None, ["one two three"]),
        ("say `rq-sched cancel t1` to", 20, ["say `rq-sched cancel", "  t1` to"]),
        ("say `rq-sched cancel t1` to", 23, ["say", "  `rq-sched cancel t1`", "  to"]),
        ("an " + "x" * 30 + " id", 20, ["an", "x" * 30, "  id"]),
        ("    indented text that is long", 20, ["    indented text", "      that is long"]),
        ("a  b   c", 20, ["a  b   c"]),
    ],
)
def test_sentences_are_folded_between_words(text: str, width: int | None, folded: list[str]):
    assert fold(text, width, margin="  ") == folded


def test_a_folded_command_is_one_for_a_shell():
    assert fold_command("rq-sched submit -- echo hello", 20, "do: ", "    ") == [
        "do: rq-sched \\",
        "    submit -- echo \\",
        "    hello",
    ]
