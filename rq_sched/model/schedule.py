"""Schedules: what is asked for again and again, and what is known of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rq_sched.errors import InvalidId, InvalidValue
from rq_sched.model.due import DueTimes
from rq_sched.model.given import given
from rq_sched.model.ids import ID_PATTERN
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest, iso

FEATURE = "schedules"
"""Who doesn't know it can't be let in where there are schedules: it would neither make their tasks nor mend them."""
MOST_NAME = 104
"""Characters of a name: the ids of its tasks have a time behind it."""
OVERLAP = ("skip", "queue", "allow")
CATCH_UP = ("none", "last", "all")
_TASK_ID = re.compile(r"(.+)\.\d{8}T\d{6}(?:\.\d{3})?Z")


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a user asks for: a task for each due time.

    Parameters:
        request: what each task asks for.
        overlap: what becomes of a due time while the task before hasn't ended: its task is left out (``skip``), made
            when that has ended (``queue``), or made all the same (``allow``).
        catch_up: which of the due times that were missed, as no scheduler was there, get their task late.

    Raises:
        InvalidId, InvalidValue: says what is wrong, and what to do.
    """

    name: str
    times: DueTimes
    request: TaskRequest
    overlap: str = "skip"
    catch_up: str = "last"

    def __post_init__(self) -> None:
        check_name(self.name)
        for what, value, choices in (("overlap", self.overlap, OVERLAP), ("catch_up", self.catch_up, CATCH_UP)):
            if value not in choices:
                raise InvalidValue(f"{what} must be one of {', '.join(choices)}, not {given(value)}")
        if self.catch_up == "all" and self.overlap == "skip":
            raise InvalidValue(
                "catch-up all makes several tasks at once, and overlap skip leaves out all but the first: say overlap "
                "queue (one after the other) or allow (side by side)"
            )
        if self.request.array is not None:
            raise InvalidValue("a schedule can't make arrays: schedule a task that submits one")
        if self.request.after:
            raise InvalidValue("the tasks of a schedule wait for no others: schedule a task that submits such as do")


def refuse_id(options: Mapping[str, Any]) -> None:
    """Refuse an id for what gets its ids from a schedule.  Raises: InvalidValue."""
    if options.get("task_id") is not None:
        raise InvalidValue(
            "the tasks of a schedule get their ids from its name and the time, such as nightly.20261130T030000Z: leave "
            "the id out"
        )


def check_name(value: object) -> str:
    """The name of a schedule, itself.  Raises: InvalidId."""
    if isinstance(value, str) and len(value) <= MOST_NAME and ID_PATTERN.fullmatch(value):
        return value
    raise InvalidId(
        f"bad name {given(value)}: use 1 to {MOST_NAME} letters, digits, '.', '_' or '-', beginning with a letter or "
        "digit"
    )


def signed_as(name: str) -> str:
    """The id under which what a schedule asks for is signed: none that a task can have."""
    return f"{name}.*"


def scheduled_by(task_id: str) -> str | None:
    """The name of the schedule whose task has this id, if it looks like one.

    >>> scheduled_by("nightly.20261130T030000Z")
    'nightly'
    """
    found = _TASK_ID.fullmatch(task_id)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """Everything known of a schedule.

    Times are seconds since 1970 (Redis' clock) or None, durations seconds, memory MB. ``to_dict()`` gives ISO 8601
    times.
    """

    name: str
    state: str  # active; paused; ended: it is never due again
    cron: str | None
    tz: str | None
    interval: float | None
    until: float | None
    overlap: str
    catch_up: str
    function: str
    args: list[Any] | None
    kwargs: dict[str, Any] | None
    priority: int
    cpu_needed: int
    memory_needed: int
    next_due: float | None
    last_task_id: str | None  # the task that it made last, and the state of that (None: it is forgotten)
    last_state: State | None
    made: int
    skipped: int  # due times that got no task
    last_skipped: str | None  # what the task of the last of them would have been, and why there is none
    skip_reason: str | None
    queued: int  # due times that wait for the task before
    trouble: str | None  # why its task can't be made just now, or why it was paused by a repair
    created_at: float | None

    def to_dict(self) -> dict[str, Any]:
        """A flat dict, as ``--json`` prints it: times as ISO 8601 in UTC."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("until", "next_due", "created_at"):
            out[name] = iso(out[name])
        return out
