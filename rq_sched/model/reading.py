"""What stands in Redis is read without trust: whoever can write there may have written anything.

A value that can't be read is its default, and is remembered; so one field that is wrong costs no more than itself, and
whoever shows the row can say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

MOST = 2**53
"""Whole numbers beyond this aren't exact in Redis' scripts and scores."""
LAST_MS = 253_402_300_799_000
"""The end of the year 9999, in ms: later times can't be shown."""


def text(value: bytes | None) -> str:
    """Bytes as text; what isn't UTF-8 is escaped, so that it can be shown, and is found nowhere.

    >>> text(b"a\\xff")
    'a\\\\xff'
    """
    return (value or b"").decode("utf-8", "backslashreplace")


def whole(value: bytes | str | None, default: int = 0, least: int = -MOST, most: int = MOST) -> int:
    """A whole number, or the default where there is none.

    >>> whole(b"12"), whole(b"12x"), whole(b"-1", least=0)
    (12, 0, 0)
    """
    try:
        number = int(value) if value is not None else default
    except ValueError:
        return default
    return number if least <= number <= most else default


def real(value: bytes | str | None, default: float = 0.0) -> float:
    """A finite number, or the default where there is none.

    >>> real(b"0.5"), real(b"inf"), real(b"x")
    (0.5, 0.0, 0.0)
    """
    try:
        number = float(value) if value is not None else default
    except ValueError:
        return default
    return number if math.isfinite(number) else default


def as_dict(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """The reply to HGETALL."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Fields:
    """The fields of a record by their names, as what they stand for. ``unreadable``: those that can't be that."""

    def __init__(self, record: Mapping[bytes, bytes]) -> None:
        self._record = record
        self.unreadable: list[str] = []

    def packed(self, name: str) -> bytes | None:
        return self._record.get(name.encode())

    def text(self, name: str) -> str | None:
        value = self.packed(name)
        return None if value is None else text(value)

    def number(self, name: str, default: int = 0, least: int = -MOST, most: int = MOST) -> int:
        value = self.packed(name)
        if value is None:
            return default
        number = whole(value, most + 1, least, most)
        if number > most:
            self.unreadable.append(name)
            return default
        return number

    def seconds(self, name: str) -> float | None:
        """A time or a span, which stands there in ms."""
        value = self.number(name, -1, 0, LAST_MS)
        return None if value < 0 else value / 1000

    def real(self, name: str) -> float | None:
        value = self.packed(name)
        if value is None:
            return None
        number = real(value, math.nan)
        if math.isnan(number):
            self.unreadable.append(name)
            return None
        return number
