"""From version 1 to 2: the one hash of a task, with short names, becomes its three parts (``store/parts.py``).

The conversion itself is pure: ``parts_of`` makes the parts of a record. All else of a namespace is the same in both
versions: queues and other indexes, nodes and ledgers, and what is kept beside a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rq_sched.link import Command, Op, Row
from rq_sched.model.reading import as_dict, text
from rq_sched.model.signing import unsigned
from rq_sched.store.keys import Keys
from rq_sched.store.requests import covered_by, digest_of

BATCH = 200
"""Tasks that are read together, and written in one transaction."""
ACTIVE = (b"assigned", b"running")
WAITING = (b"delayed", b"held")
FINAL = (b"completed", b"failed", b"cancelled")
# New name → old one, in the new order.
ASKED = {
    b"delay": b"D", b"priority": b"p", b"retries": b"r", b"retries_used": b"y", b"crashes": b"z", b"crash_limit": b"C",
    b"time_limit": b"l", b"elastic": b"e", b"preemptible": b"v", b"max_cpu": b"X", b"max_memory": b"Y",
    b"payload": b"ax",
}  # fmt: skip
DIGESTED = (
    b"priority", b"delay", b"retries", b"crash_limit", b"time_limit", b"elastic", b"preemptible", b"max_cpu",
    b"max_memory",
)  # fmt: skip
"""What the digest covers of these, in its order."""
HAPPENED = {b"preempted": b"P", b"released": b"h", b"first_memory": b"G", b"asked": b"O"}
ATTEMPT = {b"started": b"S", b"allocated": b"A", b"resize": b"N", b"progress": b"g"}
ARRAY = {
    b"next": b"jn", b"apart": b"ja", b"completed": b"jco", b"failed": b"jfa", b"cancelled": b"jca",
    b"forgotten": b"jfo", b"unmade": b"jv", b"cut": b"jx", b"cut_at": b"jt", b"after": b"b", b"watch": b"jw",
}  # fmt: skip
Old = Mapping[bytes, bytes]
"""The record of a task in version 1."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A task in version 2; what it hasn't is None."""

    request: bytes
    attempt: bytes | None = None
    outcome: bytes | None = None
    array: dict[bytes, bytes] | None = None


def parts_of(old: Old, payload: bytes = b"") -> Parts:
    """The parts of the task with this record. ``payload``: its long arguments, where they stand beside it.

    >>> parts_of({b"c": b"1:256", b"n": b"000000000001f", b"t": b"17", b"f": b"math:sqrt", b"a": b"?"}).request
    b'class=1:256\\nturn=1f\\ndigest=\\nat=17\\nrun=math:sqrt\\nwith=?'
    """
    state = old.get(b"s", b"")
    if b"j" in old:
        array = {new: old[name] for new, name in ARRAY.items() if name in old}
        return Parts(_request(old, payload, state, old.get(b"u", b"0")), None, _outcome(old, state, None), array)
    attempt = _attempt(old) if state in ACTIVE or state in FINAL else None
    over = old.get(b"u", b"0")
    if attempt is not None:  # it isn't over, or stands in the outcome
        over = b"%d" % (int(over) - 1)
    return Parts(
        _request(old, payload, state, over),
        _placed(old, attempt) if state in ACTIVE and attempt is not None else None,
        _outcome(old, state, attempt),
    )


def _request(old: Old, payload: bytes, state: bytes, over: bytes) -> bytes:
    """``over``: how many attempts are."""
    waits = state in WAITING
    lines = {
        b"class": old.get(b"c"),
        b"turn": (old[b"n"].lstrip(b"0") or b"0") if b"n" in old else None,
        b"digest": _digest(old, payload) if b"q" in old else b"",
        b"at": old.get(b"t"),
        b"watch": old.get(b"w"),
        b"state": state if waits else None,
        b"due": old.get(b"d") if waits else None,
        **_renamed(old, ASKED),
        b"attempts": None if over == b"0" else over,
        **_renamed(old, HAPPENED),
    }
    refusals = [b"refusal=%b\n" % line for line in old.get(b"Z", b"").split(b"\n") if line]
    rest = {
        b"reason": old.get(b"m") if waits or not state else None,
        b"operation": old.get(b"o"),
        b"array": old.get(b"j"),
        b"run": old.get(b"f"),
    }
    return b"%b%b%bwith=%b" % (_lines(lines), b"".join(refusals), _lines(rest), old.get(b"a", b""))


def _digest(old: Old, payload: bytes) -> bytes:
    """As this version makes it, so that a submit that is repeated is known again. (Of what was changed since, the
    priority is the one thing that the record doesn't tell: such a repeat is refused as another request.)"""
    need = old.get(b"O", old.get(b"c", b"")).partition(b"!")[0]
    if b"G" in old:  # its memory has grown
        cpu, _, rest = need.partition(b":")
        need = b"%b:%b%b" % (cpu, old[b"G"], rest.lstrip(b"0123456789"))
    asked = {name: old.get(ASKED[name], b"0") for name in DIGESTED}
    lines = _lines({name: value for name, value in asked.items() if value != b"0"} | {b"run": old.get(b"f", b"")})
    array = text(old[b"j"]) if b"j" in old else None
    covered = covered_by(text(need), array, text(lines) + "with=")
    return digest_of(covered, unsigned(payload or old.get(b"a", b"")))


def _attempt(old: Old) -> bytes | None:
    """Its present or last attempt, as ended tasks keep it; None: there was none, or it can't be read."""
    token, place, at, number = (old.get(name, b"") for name in (b"k", b"i", b"T", b"u"))
    if not (token and place and at.isdigit() and number.isdigit()):
        return None
    return _words([token, place, at, number], _renamed(old, ATTEMPT))


def _placed(old: Old, attempt: bytes) -> bytes:
    """The same as it stands in ``placed``: with what follows a stop, and who waits for its end."""
    reason = old.get(b"m") if b"b" in old else None
    # Whatever stands in its request, its end reads it.
    return _words([attempt], {b"after": old.get(b"b"), b"reason": reason, b"watch": old.get(b"w"), b"more": b"1"})


def _outcome(old: Old, state: bytes, attempt: bytes | None) -> bytes | None:
    """How it has ended, or what the attempt before has left of a task that goes on."""
    final = state in FINAL
    if not final and b"E" not in old and b"rx" not in old and b"x" not in old:
        return None
    last, raw = (b"result", old.get(b"R")) if state == b"completed" else (b"error", old.get(b"E"))
    lines = {
        b"state": state if final else b"retry",
        b"at": old.get(b"F") if final else old.get(b"T", old.get(b"t")),
        b"attempt": attempt if final else None,
        b"reason": old.get(b"m") if final else None,
        b"exit_code": old.get(b"x"),
        b"stored": old.get(b"rx"),
    }
    return _lines(lines) + (b"" if raw is None else b"%b=%b" % (last, raw))


def _renamed(old: Old, names: Mapping[bytes, bytes]) -> dict[bytes, bytes | None]:
    return {new: old.get(name) for new, name in names.items()}


def _lines(fields: Mapping[bytes, bytes | None]) -> bytes:
    """A line each. Whatever others have written there stays in its line."""
    there = [(name, value) for name, value in fields.items() if value is not None]
    return b"".join(b"%b=%b\n" % (name, value.replace(b"\n", b" ")) for name, value in there)


def _words(front: list[bytes], fields: Mapping[bytes, bytes | None]) -> bytes:
    more = [b"%b=%b" % (name, value) for name, value in fields.items() if value is not None]
    return b" ".join([*front, *(word.translate(None, b" \n") for word in more)])


def bite(keys: Keys, cursor: int) -> Op[tuple[int, int]]:
    """Convert some tasks, from a cursor on: the next cursor (0: those were the last), and how many they were. What is
    converted already is passed over. What is written is written in one transaction."""
    after, found = (yield [("SCAN", cursor, "MATCH", keys.task("*"), "COUNT", BATCH)])[0]
    records = yield [Row(("HGETALL", key)) for key in found]
    olds = {
        key: as_dict(record) for key, record in zip(found, records, strict=True) if isinstance(record, list) and record
    }
    long = [key for key, old in olds.items() if b"ax" in old]
    payloads = yield [Row(("GET", keys.payload(_id_of(keys, key)))) for key in long]
    payload_of = dict(zip(long, payloads, strict=True))
    commands: list[Command] = []
    for key, old in olds.items():  # what is no hash is a text: it is converted
        payload = payload_of.get(key)
        commands += _writes(keys, key, parts_of(old, payload if isinstance(payload, bytes) else b""))
    if commands:
        (placed,) = yield [Row(("HLEN", keys.placed))]
        if isinstance(placed, Exception):  # of another type: version 1 had no such key
            yield [("DEL", keys.placed)]
        yield [("MULTI",), *commands, ("EXEC",)]
    return int(after), len(olds)


def _id_of(keys: Keys, key: bytes) -> str:
    return text(key)[len(keys.task("")) :]


def _writes(keys: Keys, key: bytes, parts: Parts) -> list[Command]:
    task_id = _id_of(keys, key)
    commands: list[Command] = [("SET", key, parts.request)]
    if parts.attempt is not None:
        commands.append(("HSET", keys.placed, task_id, parts.attempt))
    if parts.outcome is not None:
        commands.append(("SET", keys.ended(task_id), parts.outcome))
    if parts.array:
        flat = [part for pair in parts.array.items() for part in pair]
        commands += [("DEL", keys.array(task_id)), ("HSET", keys.array(task_id), *flat)]
    return commands
