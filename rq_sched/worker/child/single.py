"""A child where the system doesn't tell what a task has left behind (all but Linux): it runs one task."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping

from rq_sched.worker import system
from rq_sched.worker.child.environment import NAMES, Environment


class PlainEnvironment(Environment):
    """``os.environ`` itself: it ends with the task."""

    def __init__(self) -> None:
        for name in NAMES:
            os.environ.pop(name, None)
        self._attempt = 0
        self._indexed = False

    def _tell(self, name: str, value: str) -> None:
        os.environ[name] = value

    def tell_more(self, variables: Mapping[str, str]) -> None:
        os.environ.update(variables)
        time.tzset()

    def _show_index(self, shown: bool) -> None:
        """It is there once it is told."""

    def restore(self) -> None:
        """Nobody comes after."""


class Single:
    """In place of a ``Baseline``."""

    pinned = False
    kept = 0

    def restore(self, more: int = 0) -> str:
        """Nothing is put back. Why the child can't be used again: who says so is killed, with what is below it."""
        ctypes.CDLL(None).fflush(None)
        return "processes go on" if system.has_children() else ""
