"""What stands between the output of a task: marks that say where an attempt begins, and how much was cut.

The agent sets them as it cuts, or as a further attempt begins to write; a child between standard output and standard
error, where that is asked for; ``_output.lua`` sums up what it cuts at the
front. A mark is a line that begins with a character that no text has. (A task may write one itself: it then misleads
whoever reads its own output.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rq_sched.errors import InvalidValue
from rq_sched.model.given import given

OUTPUT, ERROR = 1, 2
"""The streams of a task: their descriptors."""
LIMIT = 64 * 1024
"""Bytes of a task's output that are kept, the last ones, where it doesn't ask for more."""
MOST = 1024 * 1024
"""What it may ask for."""
_SIZE = re.compile(r"(\d{1,9})([kKmM]?)")
_MARK = re.compile(rb"\x1erqs (cut|attempt|stream)=(\d{1,15})\n")
_HEAD = re.compile(rb"\A((?:\x1erqs attempt=\d+\n)?)\x1erqs cut=(\d{1,15})\n")
MOST_MARK = 32
"""Bytes that a mark has at most."""
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


def parse_limit(value: object, name: str) -> int:
    """Bytes of output that are to be kept: a number, or such as ``"512K"``.

    Raises:
        InvalidValue: less than 64K, more than 1M, or no size.

    >>> parse_limit("512K", "log_limit")
    524288
    """
    size = value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        size = int(found[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[found[2].lower()]
    if type(size) is not int or not LIMIT <= size <= MOST:
        raise InvalidValue(f"{name} must be between 64K and 1M, in bytes or such as 512K, not {given(value)}")
    return size


@dataclass(frozen=True, slots=True)
class StreamMark:
    """Here begins what was written to standard output (1) or standard error (2)."""

    number: int


def stream_mark(number: int) -> bytes:
    return b"\x1erqs stream=%d\n" % number


def shorten(output: bytearray, most: int) -> int:
    """Leave the last bytes only; how many were dropped. A mark isn't cut in two."""
    dropped = len(output) - most
    if begun := _BEGUN.search(output, max(0, dropped - MOST_MARK), dropped):
        dropped = begun.start()
    del output[:dropped]
    return dropped


def cut_mark(number: int) -> bytes:
    return b"\x1erqs cut=%d\n" % number


def attempt_mark(number: int) -> bytes:
    return b"\x1erqs attempt=%d\n" % number


class Reader:
    """Takes output apart, piece by piece as it comes."""

    def __init__(self) -> None:
        self._unfinished = b""  # what may be the beginning of a mark
        self._cut = 0  # bytes that are missing before what comes next

    def feed(self, data: bytes) -> Iterator[bytes | Cut | AttemptMark | StreamMark]:
        """What was written, and the marks in it."""
        data = self._unfinished + data
        begun = _BEGUN.search(data)
        self._unfinished = data[begun.start() :] if begun else b""
        parts = _MARK.split(data[: begun.start()] if begun else data)
        for i, part in enumerate(parts[::3]):
            kind, number = parts[3 * i - 2 : 3 * i] if i else (b"", b"0")
            if kind == b"attempt":
                yield AttemptMark(int(number))
            elif kind == b"stream":
                yield StreamMark(int(number))
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


def behind(output: bytes, seen: int) -> bytes:
    """What comes behind the first bytes that a task has written; where some of it is missing, with how much.

    Parameters:
        output: what is kept, from its beginning on.
        seen: so many, with those that were cut.

    >>> behind(cut_mark(100) + b"abcdef", 103), behind(cut_mark(100) + b"abc", 40)
    (b'def', b'\\x1erqs cut=60\\nabc')
    """
    head = _HEAD.match(output)
    if head is not None and int(head[2]) > seen:
        return head[1] + cut_mark(int(head[2]) - seen) + output[head.end() :]
    at = 0
    for mark in _MARK.finditer(output):
        if mark.start() - at >= seen:
            break
        seen -= mark.start() - at + (int(mark[2]) if mark[1] == b"cut" else 0)
        at = mark.end()
    return output[at + max(0, seen) :]


def length_of(parts: Iterable[bytes | Cut | AttemptMark | StreamMark]) -> int:
    """Bytes that a task has written, with those that were cut."""
    return sum(len(part) if isinstance(part, bytes) else part.number if isinstance(part, Cut) else 0 for part in parts)


def as_text(output: bytes) -> str:
    """Output as text, its marks as lines of their own.

    >>> as_text(b"one" + attempt_mark(2) + b"two")
    'one\\n[attempt 2]\\ntwo'
    """
    reader, text = Reader(), ""
    for part in (*reader.feed(output), reader.remainder()):
        if isinstance(part, bytes):
            text += part.decode("utf-8", "replace")
        elif not isinstance(part, StreamMark):
            text += f"{'' if not text or text.endswith(chr(10)) else chr(10)}{part}\n"
    return text
