"""The nodes of a replay and what runs on them, as their agents know it."""

from __future__ import annotations

from dataclasses import dataclass, field

from rq_sched.simulate.workload import Row


@dataclass(slots=True)
class PlayedAttempt:
    """A task on a node."""

    number: int
    row: Row
    task_id: str
    node: Machine
    token: str
    start: int
    cpu: int
    memory: int
    since: int
    """Since when it has held so much."""
    held: str = ""
    """The resources that it holds, as its order says them."""


@dataclass(slots=True)
class Machine:
    """A node of the workload, as its agent knows it."""

    place: int
    node_id: str
    incarnation: str
    acked: int = 0
    asked: bool = False
    """A report of ends is on its way."""
    running: dict[str, PlayedAttempt] = field(default_factory=dict)
