"""The nodes of a replay and what runs on them, as their agents know it."""

from __future__ import annotations

from dataclasses import dataclass, field

from rq_sched.simulate.workload import Row


@dataclass(slots=True)
class Attempt:
    """A task on a node."""

    number: int
    row: Row
    task_id: str
    node: Machine
    token: str
    start: int
    cpu: int
    memory: int


@dataclass(slots=True)
class Machine:
    """A node of the workload, as its agent knows it."""

    place: int
    node_id: str
    incarnation: str
    acked: int = 0
    running: dict[str, Attempt] = field(default_factory=dict)


@dataclass(slots=True)
class First:
    """The first blocked task as ``reserve`` last told it: since when, and the node that is kept for it."""

    task_id: str | None = None
    node_id: str | None = None
    since: int = 0
    kept_since: int = 0
