"""What is known of a namespace as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rq_sched.model.explanation import Answer
from rq_sched.model.task import iso


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceInfo(Answer):
    """Totals: the answer of ``client.info()``. CPU in cores, memory in MB, of the nodes that aren't dead.

    >>> client.info().tasks["pending"]  # doctest: +SKIP
    3
    """

    namespace: str
    tasks: dict[str, int]  # how many are in each state
    nodes: dict[str, int]  # how many are in each state
    total_cpu: int
    free_cpu: int
    total_memory: int
    free_memory: int
    ever: dict[str, int]  # how many were ever submitted, and have completed, failed, been cancelled
    faults: dict[str, str]  # nodes that take no tasks, for what fault of their machine
    scheduler_seen: float | None  # how many seconds ago a scheduler was at work; None: never
    total_resources: dict[str, float] = field(default_factory=dict)  # by name, in units
    free_resources: dict[str, float] = field(default_factory=dict)
    schedules: int = 0  # how many there are
    next_due: float | None = None  # when the next of them is due, in seconds since 1970

    def to_dict(self) -> dict[str, Any]:
        """All of it, as ``--json`` prints it."""
        return asdict(self) | {"next_due": iso(self.next_due)}
