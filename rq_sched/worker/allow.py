"""What a worker may run: the patterns of ``--allow``.

==================  ==========================================================================================
``pkg.mod:func``    this function (also ``pkg.mod:Class.method``), wherever it was defined
``pkg.mod:*``       the functions defined in this module, or marked ``@task`` there; not what it imported
``pkg.*``           the same for the package, its modules and subpackages
``exec:/real/path`` this command; ``exec:*`` any command
``*``               everything
==================  ==========================================================================================

A module is imported only if some pattern could allow what is asked for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from types import FunctionType

from rq_sched.errors import InvalidValue
from rq_sched.target import TASK_MARK


class Allow:
    """The patterns of one worker.

    Raises:
        InvalidValue: one isn't a pattern.

    >>> Allow(["pkg.mod:*"]).may_import("pkg.mod", "func")
    True
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._modules: set[str] = set()
        self._packages: set[str] = set()
        self._commands: set[str] = set()
        self._any_command = False
        self._everything = False
        self.patterns = tuple(patterns)
        for pattern in self.patterns:
            self._add(pattern)

    def _add(self, pattern: str) -> None:
        module, colon, name = pattern.partition(":")
        if pattern == "*":
            self._everything = True
        elif pattern == "exec:*":
            self._any_command = True
        elif module == "exec" and os.path.isabs(name):
            self._commands.add(_in_real_folder(name))
        elif name == "*" and _dotted(module):
            self._modules.add(module)
        elif not colon and module.endswith(".*") and _dotted(module[:-2]):
            self._packages.add(module[:-2])
        elif colon and _dotted(module) and _dotted(name) and module != "exec":
            self._exact.add(pattern)
        else:
            raise InvalidValue(
                f"bad pattern {pattern!r} for --allow: write pkg.mod:func, pkg.mod:*, pkg.*, exec:/real/path, or *"
            )

    def may_import(self, module: str, name: str) -> bool:
        """Whether a function of that name in that module could be allowed: only then is the module imported."""
        return self._everything or f"{module}:{name}" in self._exact or self._covers(module)

    def may_call(self, module: str, name: str, found: object) -> bool:
        """Whether what was found under the name may be called."""
        if self._everything or f"{module}:{name}" in self._exact:
            return True
        if TASK_MARK in getattr(found, "__dict__", ()):  # not hasattr: some objects answer to any name
            return self._covers(module)
        return isinstance(found, FunctionType) and self._covers(module, defined_in=found.__module__)

    def _covers(self, module: str, defined_in: str | None = None) -> bool:
        """Whether a pattern for whole modules names this one, and where its function was defined."""
        home = defined_in or module
        if home == module and module in self._modules:
            return True
        return any(_within(module, package) and _within(home, package) for package in self._packages)

    def may_run(self, path: str) -> bool:
        """Whether the command at this path (as ``find_command`` gives it) is allowed.

        A pattern that names a symbolic link allows that name only (``/bin/ls`` may lead to a program that is also
        ``rm``); one that names the program itself allows every link to it.
        """
        if self._everything or self._any_command:
            return True
        return _in_real_folder(path) in self._commands or os.path.realpath(path) in self._commands


def find_command(name: str) -> str | None:
    """Where a command is: by its path, or on PATH; None if there is none that may be executed."""
    found = shutil.which(name)
    return os.path.abspath(found) if found else None


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _in_real_folder(path: str) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)
