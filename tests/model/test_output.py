"""Marks in the output of a task: what was cut, where an attempt begins."""

from __future__ import annotations

import pytest

from rq_sched.model.output import (
    AttemptMark,
    Cut,
    Reader,
    StreamMark,
    as_text,
    attempt_mark,
    behind,
    cut_mark,
    length_of,
    shorten,
    stream_mark,
)

WRITTEN = (
    attempt_mark(2) + cut_mark(70) + cut_mark(1_000) + b"one\x1e\n" + attempt_mark(3) + b"t\xc3\xbcwo\x1erqs cut=x\n"
)
PARTS = [AttemptMark(2), Cut(1_070), b"one\x1e\n", AttemptMark(3), b"t\xc3\xbcwo\x1erqs cut=x\n"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_marks_are_found_however_the_output_comes(size: int) -> None:
    reader = Reader()
    found: list[bytes | Cut | AttemptMark | StreamMark] = []
    for start in range(0, len(WRITTEN), size):
        for part in reader.feed(WRITTEN[start : start + size]):
            if isinstance(part, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += part
            else:
                found.append(part)
    assert found == PARTS
    assert reader.remainder() == b""


def test_what_only_looks_like_a_mark_is_output() -> None:
    reader = Reader()
    assert list(reader.feed(b"a\x1erqs cut=12")) == [b"a"]
    assert reader.remainder() == b"\x1erqs cut=12"


def test_as_text() -> None:
    assert as_text(WRITTEN) == "[attempt 2]\n[… 1,070 bytes cut …]\none\x1e\n[attempt 3]\ntüwo\x1erqs cut=x\n"
    assert as_text(b"one" + attempt_mark(2) + b"two") == "one\n[attempt 2]\ntwo"


def test_who_saw_some_of_it_is_told_what_he_missed() -> None:
    assert behind(cut_mark(500) + b"x", 400) == cut_mark(100) + b"x"
    assert behind(attempt_mark(2) + cut_mark(500) + b"x", 400) == attempt_mark(2) + cut_mark(100) + b"x"
    assert behind(b"x" * 500 + cut_mark(500), 400) == b"x" * 100 + cut_mark(500)


def test_what_was_seen_is_found_again_though_all_looks_the_same() -> None:
    written = [b"0" * 100, stream_mark(2), b"0" * 50, stream_mark(1), b"0" * 70, cut_mark(30), b"0" * 10]
    whole = b"".join(written)
    for seen in range(260):
        left = length_of(Reader().feed(behind(whole, seen)))
        assert left == 260 - seen if not 220 < seen < 250 else left == 10
    trimmed = cut_mark(120) + stream_mark(2) + b"0" * 30 + whole[whole.index(stream_mark(1)) :]
    for seen in range(220):
        assert length_of(Reader().feed(behind(trimmed, seen))) == 260 - seen


@pytest.mark.parametrize("most", range(60, 130))
def test_no_mark_is_cut_in_two(most: int) -> None:
    output = bytearray(b"a" * 50 + stream_mark(2) + b"b" * 40 + cut_mark(77) + b"c" * 20)
    before = len(output)
    assert shorten(output, most) == before - len(output)
    assert b"rqs" not in b"".join(part for part in Reader().feed(bytes(output)) if isinstance(part, bytes))
