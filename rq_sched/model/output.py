"""What stands between the output of a task: marks that say where an attempt begins, and how much was cut.

The agent sets them as it cuts, or as a further attempt begins to write; ``_output.lua`` sums up what it cuts at the
front. A mark is a line that begins with a character that no text has. (A task may write one itself: it then misleads
whoever reads its own output.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LIMIT = 64 * 1024
"""Bytes of a task's output that are kept: the last ones."""
_MARK = re.compile(rb"\x1erqs (cut|attempt)=(\d{1,15})\n")
_HEAD = re.compile(rb"\A((?:\x1erqs attempt=\d+\n)?)\x1erqs cut=(\d{1,15})\n")
_BEGUN = re.compile(rb"\x1e(?:r|rq|rqs|rqs [a-z]{0,7}|rqs [a-z]{1,7}=\d{0,15})?\Z")


@dataclass(frozen=True, slots=True)
class Cut:
    """So many bytes are missing here."""

    number: int

    def __str__(self) -> str:
        return f"[… {self.number:,} bytes cut …]"


@dataclass(frozen=True, slots=True)
class AttemptMark:
    """Here begins what this attempt wrote."""

    number: int

    def __str__(self) -> str:
        return f"[attempt {self.number}]"


def cut_mark(number: int) -> bytes:
    return b"\x1erqs cut=%d\n" % number


def attempt_mark(number: int) -> bytes:
    return b"\x1erqs attempt=%d\n" % number


class Reader:
    """Takes output apart, piece by piece as it comes."""

    def __init__(self) -> None:
        self._unfinished = b""  # what may be the beginning of a mark
        self._cut = 0  # bytes that are missing before what comes next

    def feed(self, data: bytes) -> Iterator[bytes | Cut | AttemptMark]:
        """What was written, and the marks in it."""
        data = self._unfinished + data
        begun = _BEGUN.search(data)
        self._unfinished = data[begun.start() :] if begun else b""
        parts = _MARK.split(data[: begun.start()] if begun else data)
        for i, part in enumerate(parts[::3]):
            kind, number = parts[3 * i - 2 : 3 * i] if i else (b"", b"0")
            if kind == b"attempt":
                yield AttemptMark(int(number))
            elif kind == b"cut":
                self._cut += int(number)
            if part and self._cut:
                yield Cut(self._cut)
                self._cut = 0
            if part:
                yield part

    def remainder(self) -> bytes:
        """What looked like a mark and is none."""
        unfinished, self._unfinished = self._unfinished, b""
        return unfinished


def missed(output: bytes, seen: int) -> bytes:
    """Output for one who has seen so many bytes before, none of which is in it: how much is missing since then."""
    return _HEAD.sub(lambda head: head[1] + cut_mark(max(1, int(head[2]) - seen)), output, count=1)


def as_text(output: bytes) -> str:
    """Output as text, its marks as lines of their own.

    >>> as_text(b"one" + attempt_mark(2) + b"two")
    'one\\n[attempt 2]\\ntwo'
    """
    reader, text = Reader(), ""
    for part in (*reader.feed(output), reader.remainder()):
        if isinstance(part, bytes):
            text += part.decode("utf-8", "replace")
        else:
            text += f"{'' if not text or text.endswith(chr(10)) else chr(10)}{part}\n"
    return text
