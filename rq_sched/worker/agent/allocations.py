"""What the attempts on a node have: their allocations, which may change while they run, and the cores they run on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from rq_sched.model.resources import Resources
from rq_sched.worker import affinity
from rq_sched.worker.agent.attempt import Attempt, Child, about
from rq_sched.worker.agent.cores import Cores
from rq_sched.worker.frames import Word

log = logging.getLogger("rq_sched.worker")


class Watcher(Protocol):
    """Who looks after attempts that last."""

    def over(self, attempt: Attempt) -> None:
        """An attempt is over, be it one that didn't last."""

    def shrunk(self, attempt: Attempt) -> None:
        """An attempt has fewer cores than before."""


class Allocations:
    """The allocations of all attempts on this node.

    Parameters:
        attempts: by their tokens.
        watchers: hear of whoever has fewer cores.
        cores: the cores of this node; None: tasks aren't pinned to them.
    """

    def __init__(self, attempts: Mapping[str, Attempt], watchers: Sequence[Watcher], cores: Cores | None) -> None:
        self._attempts = attempts
        self._watchers = watchers
        self._cores = cores

    def give(self, attempt: Attempt, child: Child) -> tuple[int, ...] | None:
        """The cores for an attempt that begins in this child; None: it isn't pinned."""
        if self._cores is None:
            return None
        child.cores = self._cores.give(attempt.order.token, attempt.allocation.cpu, child.cores)
        return child.cores

    def take_back(self, attempt: Attempt) -> None:
        """It doesn't run any more."""
        if self._cores is not None:
            self._cores.take_back(attempt.order.token)

    def settle(self) -> None:
        """Cores came free: they may be due to someone."""
        if self._cores is not None:
            for token in self._cores.settle():
                self._pin(self._attempts[token], self._cores)

    def changed(self, attempt: Attempt, allocation: Resources, ordered: int, answer: bool = False) -> None:
        """An attempt's allocation as of that order.

        Parameters:
            answer: the task has asked, and waits for what it has now.
        """
        changed = ordered >= attempt.ordered and allocation != attempt.allocation
        if ordered >= attempt.ordered:
            attempt.ordered = ordered
        if changed:
            log.info("an allocation changed", extra=about(attempt, was=attempt.allocation, now=allocation))
            before, attempt.allocation = attempt.allocation.cpu, allocation
            if allocation.cpu != before and self._cores is not None and attempt.runs:
                self._cores.give(attempt.order.token, allocation.cpu)
                self._pin(attempt, self._cores)
                self.settle()
            if allocation.cpu < before:
                for watcher in self._watchers:
                    watcher.shrunk(attempt)
        if attempt.runs and (changed or answer):
            assert attempt.child is not None
            if answer:
                attempt.asked -= 1
            attempt.sized = True
            attempt.child.channel.send((Word.SIZE, *attempt.allocation, answer))

    @staticmethod
    def _pin(attempt: Attempt, cores: Cores) -> None:
        """Its processes may run on its cores, from now on."""
        child = attempt.child
        if child is not None:
            child.cores = cores.of(attempt.order.token)
            affinity.pin(child.processes, child.cores)
