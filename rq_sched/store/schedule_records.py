"""The record of a schedule: the hash ``schedule:NAME``, as a user's definition makes it, and as people read it."""

from __future__ import annotations

from rq_sched.errors import InvalidValue
from rq_sched.model.due import DueTimes
from rq_sched.model.reading import LAST_MS, Fields, text, whole
from rq_sched.model.schedule import ScheduleInfo
from rq_sched.model.states import State
from rq_sched.store.parts import Record, of_lines
from rq_sched.store.records import decode as decode_task

NEVER = "never"
"""Where a due time would stand: the schedule has ended."""
FIELDS = {
    "at": "made, ms",
    "cron": "its cron line",
    "zone": "the time zone in which that is read",
    "interval": "ms between two due times, where it has no cron line",
    "start": "ms from which these are counted",
    "until": "ms after which it is never due (none)",
    "overlap": "skip, queue or allow: what becomes of a due time while the task before hasn't ended",
    "catch_up": "none, last or all: which due times that were missed get their task late",
    "class": "CPU:MEMORY and labels of its tasks",
    "digest": "of their requests",
    "text": "their lines as a submit sends them: options, run, with",
    "due": "when it is due next, ms; never: it has ended",
    "again": "when it is looked at, ms, where that isn't when it is due",
    "trouble": "why its task can't be made, or why it was paused by a repair",
    "paused": "1: it makes no tasks",
    "last": "id of the task that it made last",
    "made": "tasks that it has made",
    "skipped": "due times that got no task",
    "last_skipped": "what the last of those would have been",
    "skip_reason": "why there is none: overlap, queue_full, missed",
    "queue": "ids of tasks that are made when the one before has ended",
}
"""In the order in which they are shown."""


def when(times: DueTimes) -> tuple[str | int, ...]:
    """Its due times as a script gets them: cron, zone, interval, start, until."""
    until = "" if times.until is None else times.until
    return times.cron, times.zone if times.cron else "", times.interval or "", times.start or "", until


def times_of(record: Record) -> DueTimes:
    """When it is due, as its record says.

    Raises:
        InvalidValue: that can't be read.
    """
    cron, zone, until = (text(record.get(name)) for name in (b"cron", b"zone", b"until"))
    interval, start = (whole(record.get(name) or b"0", -1, 0, LAST_MS) for name in (b"interval", b"start"))
    last = whole(until or "0", -1, 0, LAST_MS)
    if bool(cron) == bool(interval) or min(interval, start, last) < 0 or (interval and interval < 1000):
        raise InvalidValue("when it is due can't be read: its record was damaged")
    return DueTimes(cron, zone or "UTC", interval, start, last if until else None)


def damage(record: Record) -> str | None:
    """What is wrong with what a schedule was asked for; None: nothing. (Its state isn't looked at.)"""
    try:
        times_of(record).next_after(0)
    except InvalidValue as error:
        return str(error)
    if b"run" not in of_lines(record.get(b"text", b"")):
        return "what its tasks ask for can't be read"
    return None


def decode(name: str, record: Record, last_state: State | None) -> ScheduleInfo:
    """The record of a schedule as people and programs read it."""
    fields = Fields(record)
    task = decode_task(name, of_lines(b"class=" + record.get(b"class", b"") + b"\n" + record.get(b"text", b"")))
    last_id = fields.text("last")
    due = fields.text("due")
    state = "paused" if b"paused" in record else "ended" if due == NEVER and b"queue" not in record else "active"
    return ScheduleInfo(
        name=name,
        state=state,
        cron=fields.text("cron") or None,
        tz=fields.text("zone") or None,
        interval=fields.seconds("interval") if record.get(b"interval") else None,
        until=fields.seconds("until") if record.get(b"until") else None,
        overlap=fields.text("overlap") or "",
        catch_up=fields.text("catch_up") or "",
        function=task.function,
        args=task.args,
        kwargs=task.kwargs,
        priority=task.priority,
        cpu_needed=task.cpu_needed,
        memory_needed=task.memory_needed,
        next_due=fields.seconds("due") if state == "active" and due != NEVER else None,
        last_task_id=last_id,
        last_state=last_state,
        made=fields.number("made"),
        skipped=fields.number("skipped"),
        last_skipped=fields.text("last_skipped"),
        skip_reason=fields.text("skip_reason"),
        queued=len((fields.text("queue") or "").split()),
        trouble=fields.text("trouble"),
        created_at=fields.seconds("at"),
    )
