"""Channels on which a client goes on listening when a wait is over, so that it hears already when the next task is
submitted: then nobody needs to subscribe, nor ask to be told.

A few are kept. A task whose submit found one at rest is told there; who waits for it takes the channel over, and it
rests again afterwards. Of tasks that nobody waits for that leaves one message each, so no more than channels are kept:
a submit takes only one that rests, and it is a wait, which reads what was left, that takes over the oldest of the
others.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from rq_sched.link import AsyncEars, Ears

E = TypeVar("E", Ears, AsyncEars)

KEPT = 16
"""Channels that a client keeps: for so many tasks at a time, each submitted and then waited for."""


@dataclass(slots=True, eq=False)
class Doorbell(Generic[E]):
    """A channel, and who hears it."""

    channel: str
    ears: E
    lasts: bool = True
    """Whether it may be kept; else its channel is its user's own."""


class Doorbells(Generic[E]):
    """The doorbells that a client keeps. Threads may share it.

    Parameters:
        hears: whether these ears still hear.
    """

    def __init__(self, hears: Callable[[E], bool]) -> None:
        self._hears: Callable[[E], bool] = hears
        self._resting: list[Doorbell[E]] = []
        self._counting = threading.Lock()
        self._hung: dict[str, Doorbell[E]] = {}  # by the task that is told there, the oldest first

    def spare(self) -> Doorbell[E] | None:
        """One that rests; it is the caller's now.

        Raises:
            ClientClosed, WrongLoop
        """
        while self._resting:
            with contextlib.suppress(IndexError):  # another thread was faster
                bell = self._resting.pop()
                if self._hears(bell.ears):
                    return self._taken(bell)
        return None

    def any(self) -> Doorbell[E] | None:
        """One that rests; where enough are kept, the one that hangs for longest. Raises: as ``spare``."""
        bell = self.spare()
        while bell is None and len(self._hung) >= KEPT:
            bell = self.of(next(iter(list(self._hung)), ""))  # the list: others may change it meanwhile
        return bell and self._taken(bell)

    def hang(self, task_id: str, bell: Doorbell[E]) -> None:
        """The end of this task will be told there."""
        bell.ears.idle = True
        self._hung[task_id] = bell

    def of(self, task_id: str) -> Doorbell[E] | None:
        """That on which this task's end is told, with what was heard; it is the caller's now. Raises: as ``spare``."""
        bell = self._hung.pop(task_id, None)
        if bell is None or not self._hears(bell.ears):
            return None
        bell.ears.idle = False
        return bell

    def rest(self, bell: Doorbell[E]) -> bool:
        """Keep one that nobody needs now; False: enough are kept, or it is its user's own."""
        if not bell.lasts or not self._counting.acquire(blocking=False):
            return False  # another thread counts, in a forked process perhaps for ever: this one isn't kept
        try:
            if len(self._resting) + len(self._hung) >= KEPT:
                return False
            bell.ears.idle = True
            self._resting.append(bell)
            return True
        finally:
            self._counting.release()

    def _taken(self, bell: Doorbell[E]) -> Doorbell[E]:
        bell.ears.idle = False
        bell.ears.messages.clear()  # of tasks that nobody has waited for
        return bell
