"""The warm children as the agent has them: asked for, given work, trimmed when there is none."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from rq_sched.worker.agent.attempt import ENDLESS, Child
from rq_sched.worker.frames import Frame, Word
from rq_sched.worker.switchboard import Switchboard

if TYPE_CHECKING:
    pass

log = logging.getLogger("rq_sched.worker")

IDLE_SECONDS = 60.0
"""How long a child stays warm without work."""
FAT, FAT_SHARE = 64, 0.125
"""A child that keeps more MB than this, and this share of what its last task was allowed, isn't used again."""
KEEP = 2
"""Children that stay warm for ever."""
SPARE = 8
"""Children that are kept ready, at most, where each is used for one task."""


class ChildListener(Protocol):
    """Who gives the children work."""

    def ready(self, child: Child) -> None:
        """The child has nothing to do."""

    def said(self, child: Child, frame: Frame) -> None:
        """The child has sent a frame."""

    def gone(self, child: Child, status: int) -> None:
        """All processes of the child are gone."""


class Pool:
    """All children of the agent.

    Parameters:
        tell: sends a frame to the parent.
        keep: children that stay warm for ever.
        most_tasks: that a child is used for.
        spare: children that are kept ready beside those that work.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[tuple[Any, ...]], object],
        keep: int,
        most_tasks: int = ENDLESS,
        spare: int = 0,
    ) -> None:
        self._loop = loop
        self._board = Switchboard(loop)
        self._tell = tell
        self._keep = max(keep, spare)
        self._most_tasks = most_tasks
        self._spare = spare
        self._idle: list[Child] = []  # the last one rested least: its memory is warm
        self._numbers = 0
        self.children: dict[int, Child] = {}
        self.starting = 0
        self.listener: ChildListener

    def take(self) -> Child | None:
        """A child that has nothing to do, if there is one."""
        child = self._idle.pop() if self._idle else None
        self.make_spare()
        return child

    def put_back(self, child: Child) -> None:
        """The child stays warm until it is needed."""
        child.rested = self._loop.time()
        self._idle.append(child)

    def retire(self, child: Child) -> None:
        """The child isn't used again."""
        child.channel.close()  # it notices, and ends

    def end(self, child: Child) -> None:
        """Kill the child with all that is below it; ``listener.gone`` hears of it."""
        if child in self._idle:
            self._idle.remove(child)
        self.signal(child, signal.SIGKILL)

    def grow(self) -> int:
        """Ask for one more, and say its number; ``listener.ready`` hears of it."""
        self._numbers += 1
        self.starting += 1
        self._tell((Word.FORK, self._numbers))
        return self._numbers

    def make_spare(self) -> None:
        """Have as many ready as there should be."""
        while len(self._idle) + self.starting < self._spare:
            self.grow()

    def renew(self) -> None:
        """What children have imported is old: none begins another task."""
        log.info("new code: tasks begin in new processes", extra={"children": len(self.children)})
        while self._idle:
            self.retire(self._idle.pop())
        for child in self.children.values():
            child.tasks_left = 0
        self.make_spare()

    def signal(self, child: Child, signum: int) -> None:
        """Signal the child's process group; after SIGKILL ``listener.gone`` hears of it."""
        self._tell((Word.SIGNAL, child.number, int(signum)))

    def forked(self, number: int, pid: int, subreaper: int, sock: socket.socket, output: int) -> None:
        """The parent has forked a child."""
        self.starting -= 1
        child = Child(self._loop, self._board, number, pid, subreaper, sock, output, self.listener.said, self._lost)
        child.tasks_left = self._most_tasks
        self.children[number] = child
        self.listener.ready(child)
        self.make_spare()

    def exited(self, number: int, status: int) -> bool:
        """All processes of a child are gone; False if it never came to be."""
        child = self.children.pop(number, None)
        if child is None:
            self.starting -= 1
            return False
        if child in self._idle:
            self._idle.remove(child)
        child.gone = True
        child.drain()
        child.channel.hear_out()  # it may have ended its task before it died, or said that it couldn't begin it
        child.close()
        self.listener.gone(child, status)
        return True

    def trim(self) -> None:
        """Let children go that had nothing to do for long."""
        now = self._loop.time()
        while len(self.children) > self._keep and self._idle and now - self._idle[0].rested > IDLE_SECONDS:
            self.retire(self._idle.pop(0))

    def _lost(self, child: Child) -> None:
        """It closed its socket, or something else wrote there: of no more use, whatever runs there."""
        self.end(child)
