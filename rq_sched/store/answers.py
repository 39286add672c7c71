"""What the operations answer, and the reports that agents send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rq_sched.model.node import NodeState
from rq_sched.model.orders import LedgerEntry, Order
from rq_sched.model.resources import Resources
from rq_sched.model.states import CancelOutcome, State


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel did, and where the task is now. ``attempt`` is the one that was stopped.

    ``elements``: of an array those that were told to stop, with the attempts that they are in."""

    outcome: CancelOutcome
    state: State
    attempt: int
    elements: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The answer to a heartbeat: the node's state, the number of the last order given to it, and whether its ledger is
    what the agent believes (None: not compared)."""

    state: NodeState
    ordered: int
    agrees: bool | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """One batch of a ledger: the cursor of the next one (``"0"``: this was the last), the number of the last order."""

    cursor: str
    ordered: int
    entries: list[LedgerEntry]


@dataclass(slots=True)
class EndReport:
    """How an attempt ended. ``ran``: seconds since its start, None if it never started.

    ``outcome``: ``completed``, ``failed`` (with a reason), ``crashed`` (its process died, not by us), ``returned`` (the
    node gave it up: costs nothing), ``stopped`` (confirms a stop order: the processes are gone).
    """

    token: str
    task_id: str
    outcome: str
    ran: float | None = None
    reason: str | None = None
    result: bytes | None = None
    error: str | None = None
    exit_code: int | None = None
    output: bytes = b""


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer to reports: ``recorded`` or ``stale`` for each, and the node's next orders."""

    outcomes: list[str]
    orders: list[Order]


@dataclass(frozen=True, slots=True)
class Placed:
    """What a placing call did, whether it left work, which tasks it placed (``ID@NODE#ATTEMPT`` …), and whether tasks
    have ended of which not all that wait for them have been told (``release``)."""

    placed: int
    more: bool
    items: str = ""
    releasing: bool = False


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a reserving call did: the first blocked task, the node that is reserved (None: none), how many tasks were
    told to stop, how many heads were looked at, and for which task the node is kept: an earlier one may be the first
    blocked one since."""

    task_id: str | None
    node_id: str | None
    preempted: int
    looked: int
    kept_for: str | None = None


@dataclass(frozen=True, slots=True)
class Resized:
    """The allocation as it is after a ``task_resize`` (0:0 if the attempt is over), and the number of the last order:
    resize orders up to that one are older than this answer."""

    allocation: Resources
    ordered: int


@dataclass(frozen=True, slots=True)
class MadeDue:
    """How many schedules moved on, whether more are due, and in how many seconds the next one is (None: none is)."""

    moved: int
    more: bool
    due_in: float | None


@dataclass(frozen=True, slots=True)
class Promoted:
    """How many delayed tasks joined their queues, when (ms) the next is due, in how many seconds that is, and in how
    many the next deadline of a task is."""

    promoted: int
    next_ms: int | None
    due_in: float | None
    expires_in: float | None = None
