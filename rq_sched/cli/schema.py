"""What a key of the schema means, and how its contents read: the knowledge behind ``inspect``.

Names and meanings of keys come from the table in the docstring of ``keys``, those of fields from ``parts`` and
``node_records``, so that nothing is told twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from rq_sched.cli import show
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.reading import LAST_MS, real
from rq_sched.model.reading import text as text
from rq_sched.model.resources import MEMORY_STEP, Resources
from rq_sched.model.schema import ENTRIES
from rq_sched.model.settings import SETTINGS
from rq_sched.model.task import iso
from rq_sched.model.values import unpack
from rq_sched.store import keys
from rq_sched.store.node_records import FIELDS as NODE_FIELDS
from rq_sched.store.parts import ARRAY, ATTEMPT, OUTCOME, REQUEST, of_attempt, of_lines
from rq_sched.store.schedule_records import FIELDS as SCHEDULE_FIELDS
from rq_sched.store.schedule_records import NEVER

_ROW = re.compile(r"^``(?P<name>[^`]+)``\s+(?P<type>\w+)\s+(?P<text>.+)$")
_PARTS = {"ID": r"[^:]+", "INCARNATION": r"[^:]+", "CLASS": r"\d+:\d+.*", "GROUP": r"\d+:\d+.*", "STATE": r"[a-z]+",
          "LABEL": r"[a-z0-9._-]+", "NAME": r"[^:]+"}  # fmt: skip
_TIMES = frozenset({"at", "due", "expires", "placed", "started", "cut_at", "again", "until"})
_RECORDS = {"task:ID": REQUEST, "attempt": ATTEMPT, "ended:ID": OUTCOME, "array:ID": ARRAY,
            "schedule:NAME": SCHEDULE_FIELDS}  # fmt: skip
_RESERVATION_TIMES = frozenset({"since", "at", "until", "preempting"})
LINES = 500
"""Characters that are shown of what a schedule's tasks ask for."""
OF_LINES = ("task:ID", "ended:ID")
RESERVATION_FIELDS = {
    "first": "the first blocked task that some node could hold when empty",
    "since": "ms, since when it is that",
    "task": "the task that a node is kept for",
    "class": "its class: CPU:MEMORY, +LABEL for each label that it requires, !NODE:INCARNATION for each refusal",
    "score": "its place in the order: −priority, aged",
    "sequence": "its place among equals",
    "node": "the node that is kept",
    "incarnation": "that node's registration",
    "at": "ms, since when it is kept",
    "until": "ms, when the task is expected to start (empty: unknown)",
    "spare_cpu": "cores that later tasks may still use there",
    "spare_memory": "MB that later tasks may still use there",
    "preempting": "ms, when tasks were last told to stop for it",
}
_MARKS = {"a": "assigned", "r": "running", "s": "stopping"}


class Kind(NamedTuple):
    """One row of the schema; ``name`` as in ``task:ID``."""

    name: str
    type: str
    meaning: str


class KeyEntry(NamedTuple):
    """One thing in a key: its name there, how it reads, what it means."""

    name: str
    value: str
    meaning: str


@cache
def kinds() -> dict[str, Kind]:
    """The rows of the schema by name."""
    found: dict[str, Kind] = {}
    last = ""
    for line in (keys.__doc__ or "").splitlines():
        row = _ROW.match(line)
        if row:
            last = row["name"]
            found[last] = Kind(last, row["type"], row["text"].strip())
        elif last and line.startswith(" " * 20):
            found[last] = found[last]._replace(meaning=f"{found[last].meaning} {line.strip()}")
        else:
            last = ""
    return {name: kind._replace(meaning=kind.meaning.replace("``", "")) for name, kind in found.items()}


def kind_of(name: str) -> Kind | None:
    """The row that a key (without the prefix of its namespace) belongs to.

    >>> kind_of("task:t1").name
    'task:ID'
    """
    for kind in sorted(kinds().values(), key=lambda kind: -len(kind.name)):  # node:ID:alive before node:ID
        words = re.split(r"\b(ID|INCARNATION|CLASS|GROUP|STATE|LABEL|NAME)\b", kind.name)
        if re.fullmatch("".join(_PARTS.get(word, re.escape(word)) for word in words), name):
            return kind
    return None


def when(milliseconds: str | float) -> str:
    """A time as it stands in Redis, with the time that it means."""
    number = real(str(milliseconds), -1.0)
    if not 0 <= number <= LAST_MS:
        return f"{milliseconds} (no time)"
    return f"{number:.0f} ({iso(number / 1000)})"


def packed(value: bytes) -> str:
    """msgpack as JSON; what isn't msgpack (the text of an error) as text."""
    try:
        return show.value(unpack(value), limit=500)
    except Exception:  # any bytes may stand there: inspect shows them all the same
        return text(value)


def fields(kind: str, record: Mapping[bytes, bytes]) -> list[KeyEntry]:
    """The fields of a hash, those of records in the order in which they are explained."""
    order = list(NODE_FIELDS if kind == "node:ID" else _RECORDS.get(kind, ()))
    place = {name: number for number, name in enumerate(order)}
    names = sorted(record, key=lambda name: (place.get(text(name), len(order)), name))
    return [_field(kind, text(name), record[name]) for name in names]


def _field(kind: str, name: str, value: bytes) -> KeyEntry:
    shown = text(value)
    if kind in _RECORDS:
        if name in _TIMES and shown not in ("", NEVER):
            shown = when(shown)
        elif name in ("with", "result"):
            shown = packed(value) if value else ""
        elif name == "text":
            shown = shown[:LINES]
        return KeyEntry(name, shown, _RECORDS[kind].get(name, ""))
    if kind == "node:ID":
        return KeyEntry(name, when(shown) if name == "registered" else shown, NODE_FIELDS.get(name, ""))
    if kind == "settings":
        return KeyEntry(name, shown, SETTINGS[name].meaning if name in SETTINGS else ENTRIES.get(name, ""))
    if kind == "reservation":
        return KeyEntry(name, when(shown) if name in _RESERVATION_TIMES and shown else shown, _reservation_field(name))
    if kind.endswith(":grown"):
        return KeyEntry(name, shown, "cores beyond its need")
    return KeyEntry(name, shown, _allocation(shown) if kind.endswith(":tasks") else "")


def _reservation_field(name: str) -> str:
    """What a field of the reservation means."""
    return (
        "an attempt that uses what is spare: CPU:MEMORY" if name.startswith("+") else RESERVATION_FIELDS.get(name, "")
    )


def _allocation(entry: str) -> str:
    """A line of a ledger, ``ID:CPU:MEMORY:MARK``, in words."""
    task_id, *rest = entry.split(":")
    if len(rest) < 3 or not (rest[0].isdigit() and rest[1].isdigit()):
        return ""
    return f"{task_id} {_MARKS.get(rest[2], rest[2])} with {Resources(int(rest[0]), int(rest[1]))}"


def _unpacked(score: float) -> str:
    """What a score of ``free`` or ``totals`` says."""
    number = int(real(str(score)))
    return str(Resources(number // MEMORY_STEP, number % MEMORY_STEP))


def member(kind: str, name: str, score: float) -> KeyEntry:
    """How a member of a sorted set reads with its score."""
    if kind == "pending:CLASS":
        of_array = ", the rest of an array" if name.endswith("/") else ""
        return KeyEntry(name[SEQUENCE:], f"priority {0 - score:g}", f"sequence {name[:SEQUENCE]}{of_array}")
    if kind in ("groups", "fresh", "classes:GROUP", "limited:NAME"):
        return KeyEntry(name[SEQUENCE:], f"head: priority {0 - score:g}", f"sequence {name[:SEQUENCE]}")
    if kind in ("totals", "totals:LABEL"):
        return KeyEntry(name, f"{score:.0f}", _unpacked(score))
    if kind == "apart:ID":
        return KeyEntry(f"{score:.0f}-{name}", "", "indexes of elements made before their turn")
    if kind == "preemptible":
        token, _, node_id = name.partition(" ")
        return KeyEntry(token, f"priority {score:g}", f"on {node_id}")
    if kind in ("free", "free:LABEL"):
        return KeyEntry(name, f"{score:.0f}", f"{_unpacked(score)} free")
    return KeyEntry(name, when(score), "")


def lines(kind: str, value: bytes) -> list[KeyEntry]:
    """The lines of a request or an outcome; the fields of an attempt."""
    return fields(kind, of_attempt(value) if kind == "attempt" else of_lines(value))


def string(kind: str, value: bytes) -> str:
    """How the content of another string reads."""
    if kind in ("payload:ID", "result:ID"):
        return packed(value)
    return when(text(value).split(" ")[0]) if kind == "swept" else text(value)
