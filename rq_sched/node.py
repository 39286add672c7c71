"""What a node is: its states, its record in Redis, the orders it gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from rq_sched.labels import of_suffix
from rq_sched.reading import LAST_MS, MOST, Fields, whole
from rq_sched.resources import MAX_CPU, MAX_MEMORY, Resources
from rq_sched.task import iso


class NodeState(StrEnum):
    """Whether a node takes tasks."""

    UP = "up"  # takes tasks
    FAULTY = "faulty"  # a fault of its machine keeps it from beginning tasks; it looks again by itself
    DRAINING = "draining"  # gets no new tasks; what runs there ends
    DEAD = "dead"  # its heartbeat ran out, or it left; what it held is given back
    UNREADABLE = "unreadable"  # its record can't be read: `rq-sched doctor --repair` mends it


_STATES = frozenset(set(NodeState) - {NodeState.UNREADABLE})


FIELDS = {
    "state": "up, faulty, draining or dead",
    "incarnation": "one registration of the node: a random id that its agent chose",
    "total_cpu": "cores",
    "total_memory": "MB",
    "labels": "those that it carries, as in class names: +gpu+ssd (none)",
    "free_cpu": "cores not allocated",
    "free_memory": "MB not allocated",
    "surplus": "cores that elastic attempts hold beyond their need: they count as free",
    "reserved": "the task that the node is kept for",
    "running": "allocations on the ledger",
    "ends": "ms, when all of them will have ended by their time limits; absent: not known",
    "started": "how many of them have been reported as started",
    "ordered": "the number of the last order",
    "acked": "the number of the last order that the agent has acknowledged",
    "ttl": "ms that a heartbeat lasts",
    "drain": "1: a user asked for draining; outlives a restart of the node",
    "fault": "what keeps it from beginning tasks, as its agent tells; none: nothing does",
    "registered": "ms, when",
    "host": "the machine's name",
}


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
    fault: str | None = None  # what keeps it from beginning tasks; told beside `draining`, too

    @property
    def total(self) -> Resources:
        return Resources(self.total_cpu, self.total_memory)

    @property
    def free(self) -> Resources:
        return Resources(self.free_cpu, self.free_memory)

    def to_json(self) -> dict[str, Any]:
        """A flat dict for JSON: times as ISO 8601 in UTC."""
        out = asdict(self)
        out["last_heartbeat"] = iso(self.last_heartbeat)
        return out


def decode(node_id: str, record: Mapping[bytes, bytes], runs_out: float | None) -> NodeInfo:
    """The record of a node. ``runs_out`` is its score in ``nodes`` (ms), None once it is gone. A record that can't be
    read is one that says so."""

    fields = Fields(record)
    cpu, memory = fields.number("total_cpu", 0, 0, MAX_CPU), fields.number("total_memory", 0, 0, MAX_MEMORY)
    state, ttl = fields.text("state") or "dead", fields.number("ttl")
    info = NodeInfo(
        node_id=node_id,
        state=NodeState(state) if state in _STATES else NodeState.UNREADABLE,
        total_cpu=cpu,
        total_memory=memory,
        free_cpu=fields.number("free_cpu", 0, 0, MAX_CPU),
        free_memory=fields.number("free_memory", 0, 0, MAX_MEMORY),
        labels=list(of_suffix(fields.text("labels") or "")),
        running=fields.number("running", 0, 0),
        incarnation=fields.text("incarnation") or "",
        last_heartbeat=None if runs_out is None or not 0 < runs_out < LAST_MS else max(0.0, runs_out - ttl) / 1000,
        fault=fields.text("fault"),
    )
    if fields.unreadable:
        info.state = NodeState.UNREADABLE
    return info


@dataclass(slots=True)
class Start:
    """An order to start an attempt."""

    number: int
    token: str
    task_id: str
    attempt: int
    function: str
    arguments: bytes  # msgpack [args, kwargs]; empty: none, or in payload:ID
    payload_bytes: int  # > 0: the arguments are in payload:ID
    allocation: Resources
    maximum: Resources
    time_limit: float | None  # seconds
    elastic: str


@dataclass(slots=True)
class Stop:
    """An order to stop an attempt: SIGTERM to its process group, after the grace SIGKILL."""

    number: int
    token: str
    task_id: str
    grace: float  # seconds


@dataclass(slots=True)
class Resize:
    """The allocation of an attempt has changed: it grew into idle CPU, or surplus was taken back."""

    number: int
    token: str
    task_id: str
    allocation: Resources


@dataclass(slots=True)
class Reload:
    """From now on tasks begin only in processes that have imported nothing yet: there is new code."""

    number: int


@dataclass(slots=True)
class Void:
    """An order that was overtaken before it was read (its attempt is over). Only its number matters."""

    number: int


@dataclass(slots=True)
class Garbled:
    """An order that can't be read; ``why`` says what of it."""

    number: int
    token: str
    task_id: str
    why: str


Order = Start | Stop | Resize | Reload | Void | Garbled


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a ledger. ``mark``: ``a`` assigned, ``r`` its start was reported, ``s`` told to stop.

    >>> str(Entry("5f.1.3", "t1", Resources(1, 256), "r"))
    '5f.1.3 t1:1:256:r'
    """

    token: str
    task_id: str
    allocation: Resources
    mark: str

    @classmethod
    def parse(cls, token: str, text: str) -> Entry:
        """The entry as the ledger holds it under its token."""
        task_id, cpu, memory, mark = text.split(":")
        return cls(token, task_id, Resources(int(cpu), int(memory)), mark)

    @classmethod
    def read(cls, token: str, text: str) -> Entry:
        """The same of what may be damaged: then nothing but the token is known (mark ``?``)."""
        try:
            return cls.parse(token, text)
        except ValueError:
            return cls(token, "", Resources(0, 0), "?")

    @property
    def number(self) -> int:
        """Of its start order: the last part of a token. One that is none counts as still to come."""
        return whole(self.token.rpartition(".")[2], MOST)

    def __str__(self) -> str:
        return f"{self.token} {self.task_id}:{self.allocation.cpu}:{self.allocation.memory}:{self.mark}"


def digest(entries: Iterable[Entry]) -> str:
    """What a heartbeat says of a ledger (``node_heartbeat.lua`` computes the same): how many entries, and the sum of a
    hash of 32 bits of each."""
    number = total = 0
    for entry in entries:
        number += 1
        text, hashed = str(entry).encode(), 0
        for at in range(0, len(text), 4):
            hashed = (hashed * 1000003 + int.from_bytes(text[at : at + 4], "little")) % 2**32
        total += hashed
    return f"{number}:{total}"
