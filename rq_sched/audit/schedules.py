"""Checks at schedules: each stands in the index where it is to be looked at, and its state is one.

Whether its cron line can be read is no affair of the audit: that depends on the machine, and ``trouble`` says it.
"""

from __future__ import annotations

from rq_sched.audit.reads import decoded, number, pairs
from rq_sched.link import Op
from rq_sched.model.ids import ID_PATTERN
from rq_sched.model.reading import LAST_MS, MOST, whole
from rq_sched.model.schedule import MOST_NAME
from rq_sched.store.keys import Keys
from rq_sched.store.parts import Record
from rq_sched.store.schedule_records import NEVER

NEVER_LOOKED_AT = float("inf")


class Schedules:
    """The checks of one run."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def schedule(self, name: str) -> Op[str | None]:
        """A schedule, from its record or from its entry in the index."""
        row, score = yield [("HGETALL", self.keys.schedule(name)), ("ZSCORE", self.keys.schedules, name)]
        if not row:
            return None if score is None else "there is no such schedule"
        record = {field.encode(): value for field, value in pairs(row)}
        if len(name) > MOST_NAME or not ID_PATTERN.fullmatch(name):
            return "its name is none"
        if problem := wrong_due(record) or wrong_state(name, record):
            return problem
        right = looked_at(record)
        return (
            None if number(score) == right else f"it is to be looked at at {right:.0f}, and stands at {decoded(score)}"
        )


def wrong_due(record: Record) -> str | None:
    """What is wrong with when it is due next. (Of one that is paused that doesn't count.)"""
    due = decoded(record.get(b"due"))
    if b"paused" in record or due == NEVER or whole(due, -1, 0, LAST_MS) >= 0:
        return None
    return f"it is due at {due or 'no time'}"


def wrong_state(name: str, record: Record) -> str | None:
    """What is wrong with what its tasks left."""
    for field in (b"made", b"skipped"):
        if whole(record.get(field), -1, 0, MOST - 1) < 0:
            return f"{field.decode()} is {decoded(record.get(field)) or 'missing'}"
    if b"again" in record and whole(record[b"again"], -1, 0, MOST - 1) < 0:
        return f"again is {decoded(record[b'again'])}"
    if record.get(b"paused", b"1") != b"1":
        return f"paused is {decoded(record[b'paused'])}"
    queue = decoded(record.get(b"queue", b"")).split(" ") if b"queue" in record else []
    if any(not one.startswith(name + ".") or not ID_PATTERN.fullmatch(one) for one in queue):
        return "what waits in its queue isn't all of it"
    return None


def looked_at(record: Record) -> float:
    """Where it is to stand in the index."""
    if b"paused" in record:
        return NEVER_LOOKED_AT
    for field in (b"again", b"due"):
        at = whole(record.get(field), -1, 0, MOST - 1)
        if at >= 0:
            return float(at)
    return NEVER_LOOKED_AT
