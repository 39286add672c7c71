"""The states of a task, the reasons for them, and the transitions.

This table is the truth that the scripts and the drawing in ``docs/state-machine.md`` are tested against.
"""

from __future__ import annotations

from enum import StrEnum

from rq_sched.errors import InvalidValue
from rq_sched.model.given import given


class State(StrEnum):
    """Where a task is. The last three are final."""

    PENDING = "pending"  # waits in the queue of its class for room on a node
    DELAYED = "delayed"  # waits for a time: --delay, or the back-off before a retry
    WAITING = "waiting"  # for others to end: --after
    HELD = "held"  # a user set it aside; only a user brings it back
    ASSIGNED = "assigned"  # holds an allocation on a node, not yet reported as started
    RUNNING = "running"  # its node reported the start; reason `cancelling` while it is being stopped
    COMPLETED = "completed"  # ended well; its result is kept until forgotten
    FAILED = "failed"  # ended for good with a reason: error, timeout, oom, poison, …
    CANCELLED = "cancelled"  # ended by a user with --no-requeue

    @property
    def final(self) -> bool:
        return self in FINAL


class CancelOutcome(StrEnum):
    """What a cancel did."""

    REQUEUED = "requeued"  # it waits again, behind its equals; its processes, if any, are gone
    CANCELLED = "cancelled"  # it has ended for good
    STOPPING = "stopping"  # its processes were told to stop, and aren't known to be gone
    UNCHANGED = "unchanged"  # delayed, held or waiting, and to be requeued: it stays so
    ALREADY_COMPLETED = "already completed"
    ALREADY_FAILED = "already failed"
    ALREADY_CANCELLED = "already cancelled"

    @classmethod
    def already(cls, state: State) -> CancelOutcome:
        """That of a task which had ended before.  Raises: ValueError: the state isn't final."""
        return cls(f"already {state}")


FINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
UNENDED = tuple(state for state in State if state not in FINAL)


class Reason(StrEnum):
    """Why a task is in its state, where the state alone doesn't say. Those of `pending` are derived when asked."""

    NO_NODES = "no_nodes"  # pending: no node is up
    INFEASIBLE = "infeasible"  # pending: no node could hold it even when empty; failed: so it was, and was not to wait
    NO_FIT_NOW = "no_fit_now"  # pending: some node could, none has the room now
    BEHIND = "behind"  # pending: it fits now, earlier tasks come first
    RESERVED = "reserved_for_other"  # pending: the room is kept for an earlier task
    LIMITED = "limited"  # pending: too little is left of a limit that it asks for
    AFTER = "after"  # waiting: others must end first
    RETRY = "retry"  # delayed: back-off after a failure
    TOO_MANY_LABEL_SETS = "too_many_label_sets"  # delayed: it was due, and no more label sets may wait
    CANCELLING = "cancelling"  # assigned, running: told to stop by a cancel
    PREEMPTING = (
        "preempting"  # running: told to stop to make room for a more important task; goes back to its old place
    )
    STOPPING = "stopping"  # assigned, running: told to stop by a drain; goes back to its old place
    ERROR = "error"  # failed: the function raised
    TIMEOUT = "timeout"  # failed: ran longer than its time limit
    OOM = "oom"  # failed: used more memory than it may have
    POISON = "poison"  # failed: killed its process or node too often
    NOT_FOUND = "not_found"  # failed: the function isn't there
    NOT_ALLOWED = "not_allowed"  # failed: the worker's --allow doesn't name it
    UNSENDABLE = "unsendable"  # failed: its result can't be sent
    UNREADABLE = "unreadable"  # failed: its record was damaged; else: something of it can't be read
    EXPIRED = "expired"  # failed: it hadn't started by its deadline
    DEPENDENCY = "dependency"  # cancelled: what it waited for ended otherwise
    EXIT_CODE = "exit_code"  # failed: the command ended with another code than 0


TRANSITIONS: dict[str, frozenset[tuple[State | None, State]]] = {
    # verb: (from, to); from None = there was no such task. One verb is one script, or one include of a script.
    "submit": frozenset({(None, State.PENDING), (None, State.DELAYED)}),
    "submit_after": frozenset(
        (None, target) for target in (State.WAITING, State.PENDING, State.DELAYED, State.CANCELLED, State.FAILED)
    ),
    "release": frozenset((State.WAITING, target) for target in (State.PENDING, State.DELAYED, State.CANCELLED)),
    "place": frozenset({(State.PENDING, State.ASSIGNED)}),
    "start": frozenset({(State.ASSIGNED, State.RUNNING)}),
    "finish": frozenset(
        (source, target)
        for source in (State.ASSIGNED, State.RUNNING)
        for target in (State.COMPLETED, State.FAILED, State.CANCELLED, State.DELAYED, State.PENDING)
    ),
    "cancel": frozenset(
        {
            (State.PENDING, State.PENDING),
            (State.PENDING, State.CANCELLED),
            (State.DELAYED, State.CANCELLED),
            (State.HELD, State.CANCELLED),
            (State.WAITING, State.CANCELLED),
        }
    ),
    "hold": frozenset({(State.PENDING, State.HELD), (State.DELAYED, State.HELD), (State.WAITING, State.HELD)}),
    "unhold": frozenset({(State.HELD, State.PENDING), (State.HELD, State.DELAYED), (State.HELD, State.WAITING)}),
    "requeue": frozenset({(s, State.PENDING) for s in (State.DELAYED, State.COMPLETED, State.FAILED, State.CANCELLED)}),
    "prioritize": frozenset({(State.PENDING, State.PENDING)}),
    "promote": frozenset({(State.DELAYED, State.PENDING), (State.DELAYED, State.FAILED)}),
    "expire": frozenset((s, State.FAILED) for s in (State.PENDING, State.DELAYED, State.HELD, State.WAITING)),
    "reap": frozenset(
        (source, target)
        for source in (State.ASSIGNED, State.RUNNING)
        for target in (State.PENDING, State.FAILED, State.CANCELLED)
    ),
}


def parse_state(state: State | str | None) -> State | None:
    """A state as users give it; None: any.  Raises: InvalidValue.

    >>> parse_state("held") is State.HELD
    True
    """
    try:
        return None if state is None else State(state)
    except ValueError:
        raise InvalidValue(f"no state {given(state)}: it is one of {', '.join(State)}") from None


def read_state(name: bytes | None) -> State:
    """The state that a record says; pending (the default, which is left out) where it can't be read."""
    try:
        return State((name or b"pending").decode())
    except ValueError:
        return State.PENDING
