"""What is answered to the questions that begin with why: why a task is where it is, what would become of one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from rq_sched.model.states import State


class Answer:
    """An answer with named parts, which was a dict once. ``answer["part"]`` still works, with a warning."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        raise NotImplementedError

    def __getitem__(self, name: str) -> Any:
        self._warn(f"answer[{name!r}] is answer.{name} now")
        return self.to_dict()[name]

    def __contains__(self, name: object) -> bool:
        self._warn(f"instead of `{name!r} in answer` look at answer.{name}")
        return name in self.to_dict()

    def __iter__(self) -> Iterator[str]:
        self._warn("an answer has named parts now: use them, or answer.to_dict()")
        return iter(self.to_dict())

    def keys(self) -> Any:
        """As that of a dict, with a warning."""
        self._warn("an answer has named parts now: use answer.to_dict().keys()")
        return self.to_dict().keys()

    def get(self, name: str, default: Any = None) -> Any:
        """As that of a dict, with a warning."""
        self._warn(f"answer.get({name!r}) is answer.{name} now")
        return self.to_dict().get(name, default)

    def _warn(self, text: str) -> None:
        warnings.warn(text, DeprecationWarning, stacklevel=3)


@dataclass(frozen=True, kw_only=True)
class Explanation(Answer):
    """Why a task is where it is: the answer of ``explain`` and ``dry_run``.

    What doesn't apply to it in its state is None, or empty; ``to_dict()`` leaves it out. Times are text, ISO 8601 in
    UTC; CPU in cores, memory in MB.

    >>> why = Explanation.of({"task_id": "t1", "state": State.PENDING, "reason": "infeasible"})
    >>> why.reason, why.due, why.to_dict()["reason"]
    ('infeasible', None, 'infeasible')
    """

    # Of each:
    task_id: str | None  # None: that of a dry run to which none was given
    state: State
    reason: str | None = None
    attempt: int = 0
    node_id: str | None = None
    cpu_needed: int = 1
    memory_needed: int = 1
    require: list[str] = field(default_factory=list)
    resources: dict[str, float] = field(default_factory=dict)  # what it needs of them, in units
    limits: dict[str, float] = field(default_factory=dict)
    suspect: bool = False  # it must run alone on a node before it may fail as poison
    chdir: str | None = None  # the folder that was asked for
    folder: str | None = None  # of a command: where it was submitted
    runs_in: str | None = None  # the folder in which it ran last, as its node allows folders now
    expires_at: str | None = None  # it waits, and fails if it hasn't started by then
    error: str | None = None
    refusals: dict[str, str] = field(default_factory=dict)  # nodes that have refused it, with what each has said
    history: list[dict[str, Any]] = field(
        default_factory=list
    )  # what the decision log still says of it, the oldest first
    history_complete: bool | None = None  # False: the log was cut off, or is too long to be looked through
    # Of an array:
    array: str | None = None
    elements: dict[str, int] = field(default_factory=dict)
    next: str | None = None  # the element that all of the following is about
    # Pending. Numbers of nodes that are up; cores that elastic tasks hold beyond their need count as free there.
    nodes: int | None = None  # all
    fits_now: int | None = None
    fits_empty: int | None = None
    fits_surplus: int | None = None  # of those where it fits now: with cores that are taken back from elastic tasks
    fits_reserved: int | None = None  # where it would fit, were they not kept for an earlier task
    short_cpu: int | None = None  # of the nodes that carry all labels and haven't refused it; so is the next
    short_memory: int | None = None
    short_labels: int | None = None
    short_resources: dict[str, int] = field(default_factory=dict)  # of each, where too little is free; also short_NAME
    refusing: int | None = None
    missing_labels: dict[str, int] = field(
        default_factory=dict
    )  # of each label that is required, how many nodes lack it
    largest_cpu: int | None = None  # what such a node offers at most; so is the next
    largest_memory: int | None = None
    largest_resources: dict[str, float] = field(default_factory=dict)
    # Limits of which too little is left: name, asked, limit, in_use, kept_for (an earlier task; None: it is in use)
    limited_by: list[dict[str, Any]] = field(default_factory=list)
    ahead: int | None = None  # tasks that come before it
    ahead_at_least: bool | None = None  # True: there are at least so many
    scheduler_seen: float | None = None  # how many seconds ago a scheduler was at work
    faults: dict[str, str] = field(default_factory=dict)  # nodes that take no tasks, for what fault
    reserved_node: str | None = None  # the node that is kept
    reserved_task: str | None = None  # for whom
    reserved_since: str | None = None
    reserved_until: str | None = None  # when that is expected to start
    blocked_since: str | None = None  # since when it is the first that waits for room
    reserve_at: str | None = None  # when a node is kept for it
    preempt_at: str | None = None  # when tasks are stopped for it
    preemptible: int | None = None  # how many run that may be
    # Waiting for others, or cancelled as one of these has ended otherwise:
    awaited: int | None = None  # how many of them haven't come yet
    awaited_of: int | None = None  # how many they are in all
    awaits: list[dict[str, Any]] = field(default_factory=list)  # the first of those: task_id, kind, state, node_id
    on_failure: str | None = None
    # Delayed, held:
    due: str | None = None
    held_at: str | None = None
    # Assigned, running:
    scheduled_at: str | None = None
    started_at: str | None = None
    cpu_allocated: int | None = None
    memory_allocated: int | None = None
    holds: dict[str, str] = field(default_factory=dict)  # of each resource its indexes, `0,2`; of a sum how much
    node_state: str | None = None
    node_tasks: int | None = None
    node_fault: str | None = None
    node_free_cpu: int | None = None
    node_free_memory: int | None = None
    placed_by: str | None = None  # submit, room (a task that ended made room), scheduler; None: not known any more
    placed_at: str | None = None
    made_room_by: str | None = None
    # Of ``dry_run``:
    dry_run: bool = False
    exists: bool | None = None  # whether the same request is here already

    said: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """The parts that apply, in the order of ``to_dict()``."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """From the parts that apply."""
        return cls(**answer, said=tuple(answer))

    def to_dict(self) -> dict[str, Any]:
        """What applies, as ``--json`` prints it."""
        names = self.said or [f.name for f in fields(self) if f.name != "said" and getattr(self, f.name) is not None]
        found = {name: getattr(self, name) for name in names}
        return found | {f"short_{name}": number for name, number in self.short_resources.items()}
