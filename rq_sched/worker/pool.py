"""The warm children as the agent has them: asked for, given work, trimmed when there is none."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from rq_sched.worker import system
from rq_sched.worker.frames import FIELDS, READ, Channel, Frame, Word
from rq_sched.worker.switchboard import Switchboard

if TYPE_CHECKING:
    from rq_sched.worker.attempt import Attempt

log = logging.getLogger("rq_sched.worker")

OUTPUT_LIMIT = 64 * 1024
"""Bytes of output that are kept of a task, the last ones."""
IDLE_SECONDS = 60.0
"""How long a child stays warm without work."""
FAT, FAT_SHARE = 64, 0.125
"""A child that keeps more MB than this, and this share of what its last task was allowed, isn't used again."""
KEEP = 2
"""Children that stay warm for ever."""
SPARE = 8
"""Children that are kept ready, at most, where each is used for one task."""
ENDLESS = 2**62


class Child:
    """One child: its socket, its output, the attempt that it works on."""

    __slots__ = (
        "_below",
        "_board",
        "_descriptor",
        "attempt",
        "base",
        "channel",
        "cores",
        "gone",
        "number",
        "pid",
        "rested",
        "subreaper",
        "tasks_left",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        board: Switchboard,
        number: int,
        pid: int,
        subreaper: int,
        sock: socket.socket,
        output: int,
        said: Callable[[Child, Frame], None],
        lost: Callable[[Child], None],
    ) -> None:
        self.number = number
        self.pid = pid
        self.subreaper = subreaper  # the same where there are none
        self._below = system.open_children(subreaper) if subreaper != pid else -1
        self.attempt: Attempt | None = None
        self.gone = False  # all of its processes are
        self.rested = 0.0
        self.tasks_left = ENDLESS  # that it may still begin
        self.cores: tuple[int, ...] = ()  # those of its last task, empty: it wasn't pinned
        self.base = 0  # MB that its tasks have left in it
        self._board = board
        self._descriptor = output
        os.set_blocking(output, False)
        board.add(output, self.drain, early=True)
        heard, silent = functools.partial(said, self), functools.partial(lost, self)
        self.channel = Channel(loop, sock, heard, silent, board, FIELDS)

    def _read_output(self) -> bool:
        """Take some of what was printed; whether there may be more."""
        try:
            data = os.read(self._descriptor, READ)
        except BlockingIOError:
            return False
        if not data:
            self._board.remove(self._descriptor)
        elif self.attempt is not None:
            output = self.attempt.output
            output += data
            if len(output) > OUTPUT_LIMIT:
                self.attempt.cut += len(output) - OUTPUT_LIMIT
                del output[:-OUTPUT_LIMIT]
        return len(data) == READ

    def drain(self) -> None:
        """Take all that was printed so far."""
        while self._read_output():
            pass

    def drain_before(self) -> None:
        """Take all that was printed before the frame that is being heard was sent. It is taken already when that frame
        was what made the socket readable, as outputs are read before sockets."""
        if not (self.channel.first and self._board.complete):
            self.drain()

    def processes(self) -> list[int]:
        """All processes of the child's task, its own too."""
        return system.below(self.subreaper) if self.subreaper != self.pid else [self.pid, *system.below(self.pid)]

    def alone(self) -> bool:
        """Whether nothing of its task has been orphaned, or was never below it (those below it, it knows itself)."""
        if self._below < 0 or os.pread(self._below, 64, 0) == b"%d " % self.pid:  # a microsecond
            return True
        return not any(system.runs(pid) for pid in system.children_of(self.subreaper) if pid != self.pid)

    def runs(self) -> bool:
        """Whether anything of it runs, by what the system says: for when the parent is dead."""
        return system.group_runs(self.pid) or (self.subreaper != self.pid and system.runs(self.subreaper))

    def close(self) -> None:
        self._board.remove(self._descriptor)
        os.close(self._descriptor)
        if self._below >= 0:
            os.close(self._below)
            self._below = -1
        self.channel.close()


class Listener(Protocol):
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
        self.listener: Listener

    def take(self) -> Child | None:
        """A child that has nothing to do, if there is one."""
        child = self._idle.pop() if self._idle else None
        self.make_spare()
        return child

    def rest(self, child: Child) -> None:
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
