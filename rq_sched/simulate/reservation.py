"""The first blocked task, and the node that is kept for it, as ``reserve`` tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rq_sched.model.settings import OFF, SETTINGS
from rq_sched.simulate.records import ReservedSpan

NEVER = 1 << 60
AGAIN = 1000
"""ms until it is asked again whether a task may be preempted: it must have run for a while."""


class ReservationFollower:
    """Follows the reservation, and writes down each that there was.

    Parameters:
        policy: the settings that aren't at their defaults.
        preemptible: whether there are tasks that may be preempted.
        reserved: where reservations are written down when they end.
    """

    def __init__(self, policy: Sequence[tuple[str, Any]], preemptible: bool, reserved: list[ReservedSpan]) -> None:
        self._waits = waits_of(policy)
        self._preemptible = preemptible
        self._reserved = reserved
        self._first: str | None = None  # the first blocked task
        self._first_since = 0
        self.task_id: str | None = None  # the task that a node is kept for, its number, and the node
        self._number = 0
        self.node: int | None = None
        self._node_since = 0

    @property
    def wanted(self) -> bool:
        """Whether ``reserve`` need be called at all."""
        return bool(self._waits)

    def update(self, now: int, first: str | None, task_id: str | None, number: int, node: int | None) -> bool:
        """What ``reserve`` answered; true if a node is free for all again.

        Parameters:
            first: the first blocked task.
            task_id, number, node: for whom which node is kept; an earlier task may be the first blocked one since.
        """
        if first != self._first:
            self._first, self._first_since = first, now
        lifted = self.node is not None and (task_id, node) != (self.task_id, self.node)
        if (task_id, node) != (self.task_id, self.node):
            self.ended(now)
            self.task_id, self._number, self.node, self._node_since = task_id, number, node, now
        return lifted

    def ended(self, now: int) -> None:
        """The reservation, if there is one, is over; at this very instant it may still have held."""
        if self.node is not None:
            self._reserved.append(ReservedSpan(self.node, self._number, self._node_since, now + 1))
        self.task_id = self.node = None

    def wake(self, now: int, busy: bool) -> int:
        """When (ms) ``reserve`` might do something although nothing else happens."""
        if self._first is None or not self._waits:
            return NEVER
        due = min((self._first_since + wait for wait in self._waits if self._first_since + wait > now), default=NEVER)
        if due == NEVER and self._preemptible and busy:
            return now + AGAIN
        return due


def waits_of(policy: Sequence[tuple[str, Any]]) -> list[int]:
    """After how many ms ``reserve`` may act on a task that is the first to be blocked; none: it need not be called."""
    values = {name: SETTINGS[name].default for name in ("reserve_after", "preempt_after")} | dict(policy)
    seconds = [float(values["reserve_after"]), float(values["preempt_after"])]
    return sorted(round(1000 * wait) for wait in seconds if wait != OFF)
