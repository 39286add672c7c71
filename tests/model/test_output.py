"""Marks in the output of a task: what was cut, where an attempt begins."""

from __future__ import annotations

import pytest

from rq_sched.model.output import AttemptMark, Cut, Reader, as_text, attempt_mark, cut_mark, missed

WRITTEN = (
    attempt_mark(2) + cut_mark(70) + cut_mark(1_000) + b"one\x1e\n" + attempt_mark(3) + b"t\xc3\xbcwo\x1erqs cut=x\n"
)
PARTS = [AttemptMark(2), Cut(1_070), b"one\x1e\n", AttemptMark(3), b"t\xc3\xbcwo\x1erqs cut=x\n"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_marks_are_found_however_the_output_comes(size: int) -> None:
    reader = Reader()
    found: list[bytes | Cut | AttemptMark] = []
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
    assert missed(cut_mark(500) + b"x", 400) == cut_mark(100) + b"x"
    assert missed(attempt_mark(2) + cut_mark(500) + b"x", 400) == attempt_mark(2) + cut_mark(100) + b"x"
    assert missed(b"x" + cut_mark(500), 400) == b"x" + cut_mark(500)
