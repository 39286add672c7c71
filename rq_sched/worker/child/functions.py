"""Finds, in a child, the function that a target names, and imports its module."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from rq_sched.model.states import Reason
from rq_sched.worker.allow import Allow
from rq_sched.worker.child.able import NO_ROOM
from rq_sched.worker.child.modules import Modules

T = TypeVar("T")
KNOWN = 1000
"""Functions that are looked up only once."""


class Refusal(Exception):
    """A task that can't be run here, or that ended badly by its own account."""

    def __init__(self, reason: Reason, text: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.exit_code = exit_code


class NotBegun(BaseException):
    """SIGTERM came before the task: perhaps meant for it, perhaps from someone else. The agent knows. With a text: the
    machine has no room for the task."""


class Functions:
    """The functions that tasks have called here.

    Parameters:
        allow: what may be run.
        modules: hears where they were found.
    """

    def __init__(self, allow: Allow, modules: Modules) -> None:
        self._allow = allow
        self._modules = modules
        self.known: dict[str, Callable[..., Any]] = {}
        """By their targets."""

    def find(self, target: str) -> Callable[..., Any]:
        """The function of a target.

        Raises:
            Refusal: it may not be run, or there is none.
            NotBegun: the machine has no room for it.
        """
        module, _, name = target.partition(":")
        if not self._allow.may_import(module, name):
            raise not_allowed(self._allow, target, target)
        found = _import(module)
        for part in name.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise Refusal(Reason.NOT_FOUND, f"module {module} on this node has no {name}") from None
        if not callable(found):
            raise Refusal(Reason.NOT_FOUND, f"{target} is a {type(found).__name__}, not a function")
        if not self._allow.may_call(module, name, found):
            raise not_allowed(self._allow, target, target)
        if len(self.known) >= KNOWN:
            self.known.clear()
        function: Callable[..., Any] = found
        self.known[target] = function
        self._modules.learn(target, module, function)
        return function


def not_allowed(allow: Allow, target: str, pattern: str) -> Refusal:
    """Why a target isn't run.

    Parameters:
        pattern: what would allow it.
    """
    has = " ".join(allow.patterns) or "nothing"
    return Refusal(
        Reason.NOT_ALLOWED,
        f"this node may not run {target}: start its worker with --allow {pattern!r} (now: {has})",
    )


def with_room(begin: Callable[[], T]) -> T:
    """Do what is done for a task before it begins.

    Raises:
        NotBegun: the machine has no room for it.
    """
    try:
        return begin()
    except OSError as error:
        if error.errno in NO_ROOM:
            raise NotBegun(f"no process can be started: {error.strerror}") from None
        raise


def _import(module: str) -> Any:
    """The module; a file of it, or of what it imports, that is there and can't be read is this node's affair."""
    try:
        return _find_module(module)
    except OSError as error:
        if not _while_reading_a_module(error):
            raise
        if error.errno in NO_ROOM:
            raise NotBegun(f"no file can be opened: {error.strerror}") from None
        raise Refusal(Reason.NOT_FOUND, f"module {module} can't be read on this node: {error}") from None


def _while_reading_a_module(error: BaseException) -> bool:
    """Whether Python itself has met it, not the code of a module."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_code.co_filename.startswith("<frozen importlib")


def _find_module(module: str) -> Any:
    try:
        return sys.modules.get(module) or importlib.import_module(module)
    except ModuleNotFoundError:
        importlib.invalidate_caches()  # it may be newer than our last look at its folder
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and something that it needs is not
        raise Refusal(
            Reason.NOT_FOUND,
            f"no module {error.name} on this node: install it there, or start the worker with --chdir or PYTHONPATH "
            f"where it is (looked in {', '.join(path or '.' for path in sys.path)})",
        ) from None
