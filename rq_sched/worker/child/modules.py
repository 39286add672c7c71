"""Notices that the code of a task has changed since this child imported it.

Before a task begins, the file of its function's module is looked at: the module that the task names, and the one where
the function is defined, if that is another. All other modules of the application (what isn't in a folder of installed
packages) are looked at about once a second, and before anything is imported: so that new code doesn't come to old code.
A child that sees a change isn't used again. What the parent has imported isn't looked at: no new child would have it
newer.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import time
from inspect import unwrap
from typing import Any

EVERY = 1.0
"""Seconds between two looks at all modules of the application."""
SHARE = 0.01
"""Share of the time that these looks may take: on a slow file system there are fewer."""
_COARSE = 20_000_000
"""Nanoseconds by which the time that a file system notes may be behind the clock."""
MOST = 1000
"""Targets whose modules are remembered."""
_LIBRARY = os.path.join(os.path.realpath(sysconfig.get_path("stdlib")), "")

Stamp = tuple[int, int, int]
"""What is compared: when it was modified, its size, its inode."""
_GONE: Stamp = (-1, -1, -1)
_DOUBTFUL: Stamp = (-2, -2, -2)  # differs from everything


class Modules:
    """The modules that tasks have brought into this child, and their files as they were when they were imported."""

    def __init__(self) -> None:
        self._ours = frozenset(sys.modules)
        self._known: dict[str, str] = {}  # module → its file
        self._stamps: dict[str, Stamp] = {}  # file → how it was
        self._application: list[str] = []  # those of the files that aren't installed ones
        self._of: dict[str, tuple[str, ...]] = {}  # target → modules
        self._number = len(sys.modules)
        self._since = time.time_ns()  # what isn't known yet was imported after this
        self._next = 0.0

    def changed(self, target: str) -> bool:
        """Whether a task with this target would run code here that has changed meanwhile."""
        if len(sys.modules) != self._number:
            self._note_new()
        self._since = time.time_ns()
        modules = self._of.get(target)
        if (modules is None or time.monotonic() >= self._next) and self._any_changed():
            return True
        for name in modules or ():
            file = self._known.get(name)
            if file and _stamp(file) != self._stamps[file]:
                return True
        return False

    def learn(self, target: str, module: str, function: Any) -> None:
        """A target was found: as ``function``, in ``module``."""
        inner = function
        with contextlib.suppress(ValueError):  # it wraps itself
            inner = unwrap(function)
        if len(self._of) >= MOST:
            self._of.clear()
        found = (module, *(getattr(one, "__module__", None) for one in (function, inner, type(inner))))
        self._of[target] = tuple(dict.fromkeys(name for name in found if type(name) is str and name not in self._ours))

    def _note_new(self) -> None:
        self._number = len(sys.modules)
        for name, module in list(sys.modules.items()):
            if name not in self._known and name not in self._ours:
                file = self._known[name] = _file_of(module)
                if file and file not in self._stamps:
                    self._stamps[file] = _stamp(file, self._since - _COARSE)
                    if not _installed(os.path.realpath(file)):
                        self._application.append(file)

    def _any_changed(self) -> bool:
        began = time.monotonic()
        changed = any(_stamp(file) != self._stamps[file] for file in self._application)
        now = time.monotonic()
        self._next = now + max(EVERY, (now - began) / SHARE)
        return changed


def _installed(file: str) -> bool:
    return file.startswith(_LIBRARY) or "site-packages" in file or "dist-packages" in file


def _stamp(file: str, before: int | None = None) -> Stamp:
    """How a file is. It must have been so already at ``before``, or nobody knows what was imported. The clock is ours:
    where a file server's is ahead of it, there may be doubt about what hasn't changed."""
    try:
        stat = os.stat(file)
    except OSError:
        return _GONE
    if before is not None and stat.st_ctime_ns >= before:
        return _DOUBTFUL
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _file_of(module: object) -> str:
    """The file whose change is the module's: its source, its compiled form where there is no source, the archive that
    it came from; empty: there is none."""
    fields = getattr(module, "__dict__", {})  # asked for by name, lazy modules would begin to import
    file = fields.get("__file__")
    if type(file) is not str:
        return ""  # built in, or a folder without __init__
    archive = getattr(getattr(fields.get("__spec__"), "loader", None), "archive", None)
    return archive if type(archive) is str else file
