"""Where all children of an agent are heard.

With one reader for each descriptor, the event loop spends as much on a task as the agent itself. Here an epoll of our
own holds the children's descriptors and is itself the one that the event loop watches: one callback, one system call
for all that have something to say. Where there is no epoll (macOS), the event loop does it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

MOST = 1000
"""Descriptors that are heard in one turn."""


class Switchboard:
    """Calls back when a descriptor can be read: in each turn those that were added as ``early`` before the others."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._early: dict[int, Callable[[], object]] = {}
        self._late: dict[int, Callable[[], object]] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self.complete = False
        """Whether every early descriptor that could be read when this turn began has been read."""
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._turn)

    def add(self, descriptor: int, ready: Callable[[], object], *, early: bool = False) -> None:
        """Call ``ready`` whenever the descriptor can be read, until it is removed."""
        (self._early if early else self._late)[descriptor] = ready
        if self._epoll is None:
            self._loop.add_reader(descriptor, ready)
        else:
            self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Hear it no more; harmless when it was removed before. To be called before it is closed."""
        known = self._early.pop(descriptor, None) or self._late.pop(descriptor, None)
        if known is None:
            return
        if self._epoll is None:
            self._loop.remove_reader(descriptor)
        else:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Hear nothing any more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _turn(self) -> None:
        assert self._epoll is not None
        ready = self._epoll.poll(0, MOST)
        early, late = self._early, self._late
        for descriptor, _ in ready:
            if descriptor in early:
                early[descriptor]()
        self.complete = len(ready) < MOST
        for descriptor, _ in ready:
            if descriptor in late:
                late[descriptor]()
        self.complete = False
