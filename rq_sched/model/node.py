"""What a node is: its states, its record in Redis, the orders it gets."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from rq_sched.model.asked import items, thousandths
from rq_sched.model.fit import Wish
from rq_sched.model.resources import Resources
from rq_sched.model.task import iso


class NodeState(StrEnum):
    """Whether a node takes tasks."""

    UP = "up"  # takes tasks
    FAULTY = "faulty"  # a fault of its machine keeps it from beginning tasks; it looks again by itself
    DRAINING = "draining"  # gets no new tasks; what runs there ends
    DEAD = "dead"  # its heartbeat ran out, or it left; what it held is given back
    UNREADABLE = "unreadable"  # its record can't be read: `rq-sched doctor --repair` mends it


@dataclass(slots=True)
class NodeInfo:
    """A node as people and programs read it. CPU in cores, memory in MB, times in seconds since 1970."""

    node_id: str
    state: NodeState
    total_cpu: int
    total_memory: int
    free_cpu: int
    free_memory: int
    running: int
    incarnation: str
    last_heartbeat: float | None
    labels: list[str]  # what tasks may require
    total_resources: dict[str, float] = field(default_factory=dict)  # what else tasks may ask for, in units
    free_resources: dict[str, float] = field(default_factory=dict)
    free_indexes: dict[str, dict[str, float]] = field(default_factory=dict)  # where they have indexes: of each
    fault: str | None = None  # what keeps it from beginning tasks; told beside `draining`, too

    @property
    def total(self) -> Resources:
        return Resources(self.total_cpu, self.total_memory)

    @property
    def free(self) -> Resources:
        return Resources(self.free_cpu, self.free_memory)

    def could_hold(self, wish: Wish) -> bool:
        """Whether that would fit there, were it empty."""
        amounts = thousandths(items(self.total_resources))
        enough = all(amounts.get(name, 0) >= amount for name, amount in wish.resources)
        return enough and wish.need.fits(self.total) and set(wish.require) <= set(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """A flat dict, as ``--json`` prints it: times as ISO 8601 in UTC."""
        out = asdict(self)
        out["last_heartbeat"] = iso(self.last_heartbeat)
        return out

    def to_json(self) -> dict[str, Any]:
        """Deprecated: ``to_dict()``."""
        warnings.warn("node.to_json() is node.to_dict() now", DeprecationWarning, stacklevel=2)
        return self.to_dict()
