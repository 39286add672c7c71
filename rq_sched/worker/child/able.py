"""Whether tasks can begin and work on this machine: what a child looks at when one has failed, or when it is asked.

What is found here is the machine's fault, and no task's (``faults.py`` says what follows).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable

UNCHARGED = 3
"""Attempts that a task isn't charged for where the machine has a fault when they have failed. Later ones are: the task
may be what breaks the machines."""
NO_ROOM = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""What the system answers where a process or a descriptor more is too many."""
BROKEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOTCONN})
"""What a folder answers that can't be written any more, though we may."""
WRITTEN = b"\0" * 4096


def _readable(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(path for path in paths if path and os.access(path, os.R_OK))


IMPORT_PATHS = _readable(sys.path)
"""Where modules are looked for, as far as it could be read when the worker was started."""


def why_unable(folder: str, *, thorough: bool = False) -> str:
    """What keeps tasks from beginning or working here; empty: nothing that can be seen.

    Parameters:
        folder: where tasks run.
        thorough: whether a process and a few descriptors more can be had, too.
    """
    if why := cannot_enter(folder):
        return why
    for path in IMPORT_PATHS:
        if not os.access(path, os.R_OK):
            return f"modules are looked for in {path}, and it can't be read any more"
    for path in dict.fromkeys((folder, os.environ.get("TMPDIR") or "/tmp")):
        if why := _cannot_write(path):
            return why
    return _no_room() if thorough else ""


def cannot_enter(folder: str) -> str:
    """Go where tasks run, by its name: it may be another folder than before. Why that isn't possible; empty: it is."""
    try:
        os.chdir(folder)
    except OSError as error:
        return f"tasks run in {folder}, and that is not possible: {error.strerror}"
    return ""


def _cannot_write(path: str) -> str:
    """Whether a folder in which we may write is full, or broken. (One in which we may not is nobody's fault.)"""
    if not os.access(path, os.W_OK):
        return ""
    try:
        unnamed = os.open(path, os.O_WRONLY | getattr(os, "O_TMPFILE", os.O_RDONLY))
        try:
            os.write(unnamed, WRITTEN)
        finally:
            os.close(unnamed)
    except OSError as error:
        if error.errno in BROKEN:
            return f"nothing can be written in {path}: {error.strerror}"
        if error.errno in NO_ROOM:
            return f"no file can be opened: {error.strerror}"
    return ""


def _no_room() -> str:
    """Whether a process more is too many, or some descriptors."""
    ends: list[int] = []
    try:
        for _ in range(4):
            ends += os.pipe()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    except OSError as error:
        return f"no process can be started: {error.strerror}"
    finally:
        for end in ends:
            os.close(end)
    return ""
