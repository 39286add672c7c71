"""The subreaper: a process between the parent and one child, which adopts what the child's tasks leave behind (Linux).

Orphans go to the nearest subreaper above them, whatever sessions and groups they have made: a double fork ends here,
and so does ``CLONE_PARENT``, which makes a sibling of the child. So all processes of a child's task are below its
subreaper, and of nobody else's: they can be counted, and found to be left over. Nothing that a process does to itself
changes that. Zombies are reaped at once, also while the task runs. The child's own children are left to the child: only
the task may ask how they ended.

When the child or the parent has ended, the subreaper kills all that is below it; then it ends. It leaves the child's
zombie alone: that goes to the parent, which reads there how the child ended, and whose signals to the group of that id
can't hit another one.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import traceback
from collections.abc import Callable
from typing import NoReturn

from rq_sched.worker import system

_NUMBER = 4
"""Bytes in which the child's process id is told."""
_AGAIN = 0.01
"""Seconds between two attempts to kill all that is left."""
_SIGNALS = {signal.SIGCHLD, signal.SIGHUP}


def receive_pid(sock: socket.socket) -> int:
    """In the parent: the process id of the child, from the other end of the socket pair.

    Raises:
        OSError: the machine has no room for it.
    """
    number = sock.recv(_NUMBER)
    if not number:
        raise OSError(errno.EAGAIN, "a child's subreaper could not fork it")
    return int.from_bytes(number, "little")


def main(parent: int, sock: socket.socket, become: Callable[[int], NoReturn]) -> NoReturn:
    """Become the subreaper of a child, in a process just forked, with all signals blocked: they stay so.

    Parameters:
        parent: the process that forked us.
        sock: the child's end of its socket pair. Before the child says anything, we tell its process id there.
        become: becomes the child, in the process that we fork; it gets our process id.
    """
    try:
        if not system.LINUX:  # there are no subreapers
            _tell(sock, os.getpid())
            become(parent)
        os.setsid()  # nobody's group: what is sent to those of the parent and of the child isn't for us
        system.die_with(parent, signal.SIGHUP)
        system.adopt_orphans()
        system.name_process("rqs-subreaper")
        us = os.getpid()
        child = os.fork()
        if child == 0:
            become(us)
        _tell(sock, child)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the agent must hear of the child's end
        _look_after(child, parent)
    except OSError:
        os._exit(1)  # no room for a process, or nobody to tell
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def _tell(sock: socket.socket, pid: int) -> None:
    sock.sendall(pid.to_bytes(_NUMBER, "little"))


def _look_after(child: int, parent: int) -> None:
    """Reap orphans until the child or the parent ends; then end all that is below us."""
    ended = False
    while not ended and os.getppid() == parent:
        while not ended and (seen := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            ended = seen.si_pid == child
            if not ended:
                os.waitpid(seen.si_pid, 0)
        if not ended:
            signal.sigwait(_SIGNALS)
    _end_all(child)


def _end_all(child: int) -> None:
    """Kill all that is below us; done when nothing is left but the child's zombie. The parent can't be relied on
    for that: it may be dying, too."""
    system.signal_group(child, signal.SIGKILL)
    while True:
        below = system.children_of(os.getpid())
        for pid in below:
            if pid != child:
                system.signal_process(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        if set(below) <= {child} and not system.runs(child):
            return
        signal.sigtimedwait(_SIGNALS, _AGAIN)
