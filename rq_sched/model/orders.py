"""The orders that a node gets, and the entries of its ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rq_sched.model.output import LIMIT
from rq_sched.model.reading import MOST, whole
from rq_sched.model.resources import Resources

ORDERS_KEPT = 32
"""At each multiple of this number those that are acknowledged go from Redis: until then they are kept."""


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
    log_limit: int = LIMIT  # bytes of its output that are kept
    uses: bool = False  # results of others stand among its arguments
    held: str = ""  # resources of the node that are its own (held.py)


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
class LedgerEntry:
    """One entry of a ledger. ``mark``: ``a`` assigned, ``r`` its start was reported, ``s`` told to stop.

    >>> str(LedgerEntry("5f.1.3", "t1", Resources(1, 256), "r"))
    '5f.1.3 t1:1:256:r'
    """

    token: str
    task_id: str
    allocation: Resources
    mark: str

    @classmethod
    def parse(cls, token: str, text: str) -> LedgerEntry:
        """The entry as the ledger holds it under its token."""
        task_id, cpu, memory, mark, *_ = text.split(":", 4)  # behind them: what else it holds
        return cls(token, task_id, Resources(int(cpu), int(memory)), mark)

    @classmethod
    def read(cls, token: str, text: str) -> LedgerEntry:
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


def digest(entries: Iterable[LedgerEntry]) -> str:
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
