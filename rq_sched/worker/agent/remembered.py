"""What has happened lately, without growing for ever."""

from __future__ import annotations


class Remembered:
    """The last things that were added: at least ``count`` of them, at most twice as many."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._new: set[str] = set()
        self._old: set[str] = set()

    def __contains__(self, thing: str) -> bool:
        return thing in self._new or thing in self._old

    def add(self, thing: str) -> None:
        self._new.add(thing)
        if len(self._new) > self._count:
            self._new, self._old = set(), self._new

    def discard(self, thing: str) -> None:
        self._new.discard(thing)
        self._old.discard(thing)

    def clear(self) -> None:
        self._new, self._old = set(), set()
