"""Reading sorted sets from their front, a page at a time, while others change them.

Ranks move while tasks come and go. So a page begins with the last entry that was read before, and where it doesn't,
reading goes back. Nothing is read twice in one place, and nothing is missed that was in its place all the time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rq_sched.link import Op, Row

BACK = 16
"""By how many entries reading goes back first, when its place isn't where it was."""


@dataclass(slots=True)
class IndexEntry:
    """One member of a sorted set, with the name of the index that it was read from."""

    score: float
    member: bytes
    name: str


@dataclass(slots=True)
class Index:
    """One sorted set that is being read.

    Parameters:
        name: of its entries.
        reverse: from its end: the highest score first.
    """

    key: str
    name: str = ""
    reverse: bool = False
    buffer: deque[IndexEntry] = field(default_factory=deque)
    done: bool = False
    _last: tuple[float, bytes] | None = None
    _rank: int = 0
    _back: int = BACK

    @property
    def more(self) -> bool:
        """Whether there may be entries that weren't given out."""
        return bool(self.buffer) or not self.done

    def page(self, size: int) -> Row:
        """The next page: the last entry that was read, if it is where it was, and ``size`` more."""
        return Row(("ZREVRANGE" if self.reverse else "ZRANGE", self.key, self._rank, self._rank + size, "WITHSCORES"))

    def take(self, reply: Sequence[bytes] | Exception, size: int) -> None:
        """The reply to ``page``. It must begin with what was read before: else some before it have gone, and what moved
        up would be missed."""
        if isinstance(reply, Exception):  # a key of another type: nothing stands there
            self.done = True
            return
        page = [IndexEntry(float(score), m, self.name) for m, score in zip(reply[::2], reply[1::2], strict=True)]
        if self._rank and not (page and self._read(page[0])):
            self._rank, self._back = max(0, self._rank - self._back), self._back * 2
            return
        for entry in page:
            if not self._read(entry):
                self.buffer.append(entry)
                self._last = entry.score, entry.member
        self._rank, self._back = self._rank + max(0, len(page) - 1), BACK
        self.done = len(page) <= size

    def _read(self, entry: IndexEntry) -> bool:
        """Whether it stands where reading has been."""
        if self._last is None:
            return False
        place = entry.score, entry.member
        return place >= self._last if self.reverse else place <= self._last


def merged(indexes: Sequence[Index], size: int) -> Op[list[IndexEntry]]:
    """The next ``size`` entries of several indexes, as if they were one; fewer: there are no more."""
    found: list[IndexEntry] = []
    while len(found) < size:
        yield from fill([one for one in indexes if not one.buffer and not one.done], size - len(found))
        heads = [(*_place(one), i) for i, one in enumerate(indexes) if one.buffer]
        heapq.heapify(heads)
        while heads and len(found) < size:
            i = heads[0][2]
            found.append(indexes[i].buffer.popleft())
            if indexes[i].buffer:
                heapq.heapreplace(heads, (*_place(indexes[i]), i))
            elif indexes[i].done:
                heapq.heappop(heads)
            else:
                break  # its next entry may come before those of the others
        if not heads:
            break
    return found


def _place(index: Index) -> tuple[float, bytes]:
    """Where the next entry of an index stands in the order of all."""
    head = index.buffer[0]
    return (-head.score, b"") if index.reverse else (head.score, head.member)


def fill(indexes: Sequence[Index], size: int) -> Op[None]:
    """Read the next page of each."""
    while indexes:  # again where a page held nothing new
        for one, reply in zip(indexes, (yield [one.page(size) for one in indexes]), strict=True):
            one.take(reply, size)
        indexes = [one for one in indexes if not one.buffer and not one.done]
