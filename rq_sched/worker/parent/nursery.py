"""The warm children as their parent has them: forked, signalled, reaped.

A child counts as gone when the last process of its group is gone, and nothing of it got away: while it lives, processes
that leave its group stay below its subreaper; when that ends they become our children, and are killed. So does the
child itself, dead by then, so that we see how it ended.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from rq_sched.worker import system
from rq_sched.worker.frames import child_pair
from rq_sched.worker.parent import subreaper


@dataclass(slots=True)
class Forked:
    """A new child with its subreaper, the agent's end of its socket pair, and the pipe with its output."""

    pid: int
    subreaper: int
    sock: socket.socket
    output: int

    def close(self) -> None:
        """They are the agent's now."""
        self.sock.close()
        os.close(self.output)


@dataclass(frozen=True, slots=True)
class Ended:
    """A process of ours that has ended, with its status as of ``waitpid``. ``number``: None if it wasn't a child."""

    number: int | None
    pid: int
    status: int


class Nursery:
    """The children of one parent, by number.

    Parameters:
        become: what a forked child does; it never returns. It gets the process id of its parent, too.
        strangers: children of this process that were there before: they are left alone.
    """

    def __init__(self, become: Callable[[socket.socket, int, int], NoReturn], strangers: Iterable[int] = ()) -> None:
        self._us = os.getpid()
        self._become = become
        self._known = set(strangers)
        self._numbers: dict[int, int] = {}  # pid → number, of those that run
        self._pids: dict[int, int] = {}
        self._children: dict[int, int] = {}  # subreaper → its child, until we have reaped the subreaper
        self._subreapers: dict[int, int] = {}  # child → its subreaper
        self._births: dict[int, str] = {}
        self._dying: list[Ended] = []  # the leader is reaped, its group isn't gone yet

    def know(self, pid: int) -> None:
        """A child of this process that isn't of the nursery."""
        self._known.add(pid)

    def groups(self) -> list[tuple[int, str]]:
        """The process groups there are, as (id, birth of the leader)."""
        return [(pid, birth) for pid, birth in self._births.items() if pid not in self._children]

    def subreapers(self) -> list[tuple[int, str]]:
        """The subreapers there are, as (process id, birth)."""
        return [(pid, birth) for pid, birth in self._births.items() if pid in self._children]

    def fork(self, number: int) -> Forked:
        """A new child.

        Raises:
            OSError: the machine has no room for one.
        """
        ours, theirs = child_pair()
        output, into = os.pipe()
        try:
            try:
                with blocked_signals():
                    above = os.fork()
                    if above == 0:
                        subreaper.main(self._us, theirs, lambda parent: self._become(theirs, into, parent))
            finally:
                theirs.close()
                os.close(into)
            pid = subreaper.receive_pid(ours)
        except BaseException:
            ours.close()
            os.close(output)
            raise
        self._numbers[pid] = number
        self._pids[number] = pid
        self._births[pid] = system.birth_of(pid)
        if above != pid:
            self._children[above], self._subreapers[pid] = pid, above
            self._births[above] = system.birth_of(above)
        return Forked(pid, above, ours, output)

    def signal(self, number: int, signum: int) -> None:
        """Signal a child's process group. SIGKILL goes to its subreaper, too: what has left the group comes to us."""
        pid = self._pids.get(number)
        if pid is None:
            return
        if not system.signal_group(pid, signum):
            system.signal_process(pid, signum)  # so young that it doesn't lead a group yet
        if signum == signal.SIGKILL and pid in self._subreapers:
            system.signal_process(self._subreapers[pid], signum)

    def kill_all(self) -> None:
        """Kill every child with all that is below it."""
        for number in list(self._pids):
            self.signal(number, signal.SIGKILL)

    def reap(self) -> list[Ended]:
        """Take notice of processes that have ended; children only when all of their processes are gone."""
        others: list[Ended] = []
        while (ended := self._next_ended()) is not None:
            if ended.number is None:
                if ended.pid in self._known:
                    others.append(ended)
                    self._known.discard(ended.pid)
            else:
                self._dying.append(ended)
        if not self._dying and not others:
            return []
        if self._kill_strays():
            return others
        gone = [ended for ended in self._dying if not system.group_exists(ended.pid)]
        for ended in gone:
            self._dying.remove(ended)
            del self._births[ended.pid]
        return others + gone

    @property
    def waiting(self) -> bool:
        """Whether some killed processes are still to go."""
        return bool(self._dying)

    def clear(self, seconds: float) -> bool:
        """Kill all children, and wait until they are gone; whether they are."""
        self.kill_all()
        deadline = time.monotonic() + seconds
        while (self._pids or self._dying) and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.002)
        return not (self._pids or self._dying)

    def _next_ended(self) -> Ended | None:
        """Reap one process; of a child, its group is killed while its leader still keeps the group's id."""
        try:
            if hasattr(os, "waitid"):
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if seen is None:
                    return None
                if seen.si_pid in self._numbers:
                    system.signal_group(seen.si_pid, signal.SIGKILL)
                pid, status = os.waitpid(seen.si_pid, 0)
            else:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return None
                if pid in self._numbers:
                    system.signal_group(pid, signal.SIGKILL)
        except ChildProcessError:
            return None
        if (child := self._children.pop(pid, None)) is not None:
            del self._subreapers[child], self._births[pid]
            system.signal_group(child, signal.SIGKILL)  # if it isn't dead: its subreaper was killed
        number = self._numbers.pop(pid, None)
        if number is not None:
            del self._pids[number]
        return Ended(number, pid, status)

    def _kill_strays(self) -> bool:
        """Kill processes that came to us because the subreaper above them died; whether there were any."""
        strays = set(system.children_of(self._us)) - self._known - self._numbers.keys() - self._children.keys()
        return sum(system.signal_process(pid, signal.SIGKILL) for pid in strays) > 0


class blocked_signals:
    """No signal is handled inside the block: between a fork and the moment when the new process has handlers of its
    own, one would run the parent's."""

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
