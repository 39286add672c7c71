"""What a worker may run: the patterns of ``--allow``.

==================  ==========================================================================================
``pkg.mod:func``    this function (also ``pkg.mod:Class.method``), wherever it was defined
``pkg.mod:*``       what the module defines (below), names in its ``__all__``, and what is marked ``@task`` there
``pkg.*``           the same for the package, its modules and subpackages
``exec:/real/path`` this command; ``exec:*`` any command
``*``               everything
==================  ==========================================================================================

A module is imported only if some pattern could allow what is asked for.

What a module defines: functions (decorated ones too, where the decorator keeps ``__module__``, as ``functools.wraps``
does), built-in functions, classes (called, they make an object) and what stands in their bodies, ``partial`` objects of
such functions, and objects whose class it defines. What it merely imports it doesn't define: ``from os import system``
makes ``system`` callable for nobody, unless the module lists it in ``__all__``. And nobody gets through one thing to
another: ``mod:os.system``, ``mod:func.__globals__.clear``.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from types import BuiltinMethodType, FunctionType

from rq_sched.errors import InvalidValue
from rq_sched.model.target import TASK_MARK


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
        """Whether what was found under the name may be called. The module is imported."""
        if self._everything or f"{module}:{name}" in self._exact:
            return True
        if TASK_MARK in getattr(found, "__dict__", ()):  # not hasattr: some objects answer to any name
            return self._covers(module)
        if not self._covers(module):
            return False
        outer, *inner = name.split(".")
        owner = _names(module).get(outer)
        if outer in _exported(module):
            return not inner or _in_body(owner, inner, found, lambda one: _home(one) == _home(owner))
        home = functools.partial(self._at_home, module)
        return _in_body(owner, inner, found, home) if inner else home(found)

    def _covers(self, module: str, defined_in: str | None = None) -> bool:
        """Whether a pattern for whole modules names this one, and where its function was defined."""
        home = defined_in or module
        if home == module and module in self._modules:
            return True
        return any(_within(module, package) and _within(home, package) for package in self._packages)

    def _at_home(self, module: str, found: object) -> bool:
        """Whether something was defined in this module, or with ``pkg.*`` in its package."""
        home = _home(found)
        if home is not None and not isinstance(found, FunctionType) and _is_accelerator(home, module):
            home = module
        return home is not None and self._covers(module, defined_in=home)

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


def _names(module: str) -> dict[str, object]:
    """What stands in an imported module."""
    return getattr(sys.modules.get(module), "__dict__", {})


def _exported(module: str) -> frozenset[str]:
    """The names that a module lists as its own."""
    names = _names(module).get("__all__", ())
    return (
        frozenset(name for name in names if isinstance(name, str)) if isinstance(names, (list, tuple)) else frozenset()
    )


def _home(found: object) -> str | None:
    """The module that something callable was defined in, as far as it can be known."""
    while isinstance(found, functools.partial):
        found = found.func
    home = getattr(found, "__module__", None)
    if home is None and isinstance(found, BuiltinMethodType):  # of a class, or of an object of one
        owner = found.__self__
        home = (owner if isinstance(owner, type) else type(owner)).__module__
    return home if isinstance(home, str) else None


def _is_accelerator(home: str, module: str) -> bool:
    """Whether this is the part of a module that is written in C: ``_operator`` of ``operator``."""
    package, _, name = module.rpartition(".")
    return home == (f"{package}._{name}" if package else f"_{name}")


def _in_body(owner: object, inner: Sequence[str], found: object, at_home: Callable[[object], bool]) -> bool:
    """Whether a dotted name leads through classes only, to something that is defined in the body of the last one, or of
    a class that it inherits from; all of them at home."""
    for name in inner:
        if not isinstance(owner, type) or not at_home(owner):
            return False
        bodies = [one for one in owner.__mro__ if name in vars(one) and at_home(one)]
        if not bodies:
            return False
        owner, body = getattr(owner, name), bodies[0]
    made_of = vars(body)[inner[-1]]
    return at_home(found) or getattr(made_of, "__objclass__", None) is body


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _in_real_folder(path: str) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)
