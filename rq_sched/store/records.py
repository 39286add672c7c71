"""The record of a task in Redis: short field names, defaults left out (long names cost half as much memory again)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from rq_sched.errors import UnreadableValue
from rq_sched.model.arrays import elements, size
from rq_sched.model.classes import class_of, read_need
from rq_sched.model.labels import of_suffix, refused_in
from rq_sched.model.reading import Fields
from rq_sched.model.resources import Resources
from rq_sched.model.signing import Signer
from rq_sched.model.states import Reason, State
from rq_sched.model.task import DEFAULT_CRASH_LIMIT, INLINE_LIMIT, TaskInfo, TaskRequest
from rq_sched.model.values import unpack

NONE = -(2**53)
"""Where a number may be missing."""
_STATES = frozenset(State)
FIELDS = {
    # short name in Redis: what it is. Defaults are left out.
    "s": "state",
    "c": "class: CPU:MEMORY, +LABEL for each label that it requires, !NODE:INCARNATION for each that has refused it",
    "n": "sequence, 13 hex digits: the order among equals",
    "p": "priority (0)",
    "f": "function",
    "a": "msgpack [args, kwargs], and the signature where there is one (none)",
    "ax": "bytes of the arguments in payload:ID (none there)",
    "q": "digest of the request: the same id with another one is refused",
    "t": "submitted_at, ms",
    "X": "max_cpu_needed (the need)",
    "Y": "max_memory_needed, MB (the need)",
    "r": "retries allowed (0)",
    "C": "crash_limit (3)",
    "l": "time_limit, ms (none)",
    "e": "elastic (cpu)",
    "v": "1: preemptible",
    "d": "due, ms: delayed until then",
    "D": "delay asked for at submit, ms",
    "u": "attempts so far",
    "y": "retries used",
    "z": "crashes",
    "h": "cpu: it was killed for memory that had been released, so only its CPU is released from now on",
    "G": "MB that it needed at first: its need has grown since, after it was killed for memory",
    "O": "class that it asked for: it is suspect, so its class is a whole node until it has run alone",
    "P": "how often it was preempted",
    "k": "token of the present or last attempt",
    "i": "NODE:INCARNATION of the present or last attempt",
    "A": "allocation CPU:MEMORY of the present or last attempt (as needed)",
    "N": "number of the last resize of the present attempt",
    "T": "scheduled_at, ms",
    "S": "started_at, ms",
    "F": "finished_at, ms",
    "m": "reason",
    "Z": "what the nodes have said that have refused it: a line NODE: TEXT each",
    "b": "what follows a stop: requeue (behind its equals), end, back (its old place)",
    "o": "the last operation's id: a driver's retry of it changes nothing",
    "R": "msgpack result (short)",
    "rx": "bytes of the result or error in result:ID",
    "E": "error text (short)",
    "x": "exit_code",
    "g": "progress, 0 to 1",
    "w": "channels of the clients that wait for its end",
    "j": "it is an array: FIRST-LAST, the indexes of its elements",
    "jn": "array: the first element that isn't made yet",
    "ja": "array: elements behind that one that were made before their turn",
    "jx": "array: the element from which on those that weren't made were cancelled",
    "jt": "array: when that was, ms",
    "jv": "array: how many of these have no record",
    "jco": "array: elements completed",
    "jfa": "array: elements failed",
    "jca": "array: elements cancelled",
    "jfo": "array: elements forgotten",
    "jw": "array: channels of the clients that wait for elements that aren't made yet",
}


def encode(request: TaskRequest, signer: Signer | None = None) -> list[str | bytes | int]:
    """A checked request as the flat arguments of ``task_submit.lua``:
    id, digest, class, priority, delay (ms), long payload, number of further arguments, field, value, ….

    The digest is the same whether the request is signed or not, and with which key.
    """
    arguments = request.pack_arguments()
    record: list[str | bytes | int] = ["f", request.function]
    payload = b""
    if len(arguments) > INLINE_LIMIT:
        payload = arguments
        record += ("ax", len(arguments))
    elif arguments:
        record += ("a", arguments)
    if request.max_cpu_needed is not None and request.max_cpu_needed != request.cpu_needed:
        record += ("X", request.max_cpu_needed)
    if request.max_memory_needed is not None and request.max_memory_needed != request.memory_needed:
        record += ("Y", request.max_memory_needed)
    if request.retries:
        record += ("r", request.retries)
    if request.crash_limit != DEFAULT_CRASH_LIMIT:
        record += ("C", request.crash_limit)
    if request.time_limit is not None:
        record += ("l", round(request.time_limit * 1000))
    if request.elastic != "cpu":
        record += ("e", request.elastic)
    if request.preemptible:
        record += ("v", 1)
    delay = round(request.delay * 1000)
    task_class = class_of(Resources(request.cpu_needed, int(request.memory_needed)), request.require)
    digest = blake2b(f"{task_class} {request.priority} {delay} {record}".encode(), digest_size=8)
    if request.array is not None:
        digest.update(f" {request.array}".encode())
    if payload:
        digest.update(payload)
    if signer is not None:
        signed = signer.sign(str(request.task_id), request.function, arguments, request.time_limit)
        short = len(signed) <= INLINE_LIMIT
        payload = b"" if short else signed
        record[2 : 4 if arguments else 2] = ("a", signed) if short else ("ax", len(signed))
    return [
        request.task_id or "",
        base64.b64encode(digest.digest())[:11],
        task_class,
        request.priority,
        delay,
        payload,
        len(record),
        *record,
    ]


def decode(
    task_id: str,
    record: Mapping[bytes, bytes],
    payload: bytes | None = None,
    long_result: bytes | None = None,
    live: int = 0,
) -> TaskInfo:
    """The record of a task as people and programs read it.

    ``payload`` and ``long_result`` are the contents of ``payload:ID`` and ``result:ID`` where the record points there;
    ``live``: of an array, how many of its elements were made and haven't ended.
    """
    fields = Fields(record)
    text, number, seconds = fields.text, fields.number, fields.seconds
    state = _state(fields)
    need = _need(fields, "c") or Resources(1, 1)
    active = state in (State.ASSIGNED, State.RUNNING) and b"j" not in record
    allocated = (_need(fields, "A") or need) if active else Resources(0, 0)
    packed = fields.packed("a") or payload
    args, kwargs = _readable(packed)[:2] if packed else ([], {})
    result, error = _outcome(fields, state, long_result)
    retries, exit_code, array = number("r"), number("x", NONE), text("j")
    of_array = None if array is None else _elements(fields, record, live)
    if of_array is not None and state is State.FAILED:
        error = f"{of_array['failed']:,} of {size(str(array)):,} elements failed"
    info = TaskInfo(
        task_id=task_id,
        priority=number("p"),
        function=text("f") or "",
        args=args,
        kwargs=kwargs,
        cpu_needed=need.cpu,
        memory_needed=need.memory,
        max_cpu_needed=number("X", need.cpu),
        max_memory_needed=number("Y", need.memory),
        require=list(of_suffix(text("c") or "")),
        refused=list(refused_in(text("c") or "")),
        state=state,
        reason=text("m"),
        attempt=number("u"),
        node_id=(text("i") or "").split(":")[0] or None,
        cpu_allocated=allocated.cpu,
        memory_allocated=allocated.memory,
        submitted_at=seconds("t"),
        scheduled_at=seconds("T"),
        started_at=seconds("S"),
        finished_at=seconds("F"),
        retries=retries,
        retries_left=max(0, retries - number("y")),
        crashes=number("z"),
        suspect=b"O" in record,
        crash_limit=number("C", DEFAULT_CRASH_LIMIT),
        time_limit=seconds("l"),
        delay=seconds("D") or 0.0,
        elastic=text("e") or "cpu",
        preemptible=bool(number("v")),
        progress=fields.real("g"),
        result=result,
        error=error,
        exit_code=None if exit_code == NONE else exit_code,
        array=array if of_array is not None else None,
        elements=of_array,
    )
    return _marked(info, fields)


def damaged(task_id: str, why: str) -> TaskInfo:
    """The row of a task whose record is none."""
    return replace(decode(task_id, {}), reason=Reason.UNREADABLE, error=why)


def _marked(info: TaskInfo, fields: Fields) -> TaskInfo:
    """With what can't be read of it."""
    if not fields.unreadable:
        return info
    names = ", ".join(f"{name} ({FIELDS[name].partition(':')[0]})" for name in dict.fromkeys(fields.unreadable))
    what = f"its record can't be read in full: {names}; `rq-sched doctor --repair` mends it"
    return replace(info, reason=Reason.UNREADABLE, error=f"{info.error}; {what}" if info.error else what)


def _state(fields: Fields) -> State:
    name = fields.text("s") or "pending"
    if name in _STATES:
        return State(name)
    fields.unreadable.append("s")
    return State.PENDING


def _need(fields: Fields, name: str) -> Resources | None:
    found = fields.text(name)
    if found is None:
        return None
    need = read_need(found)
    if need is None:
        fields.unreadable.append(name)
    return need


def _elements(fields: Fields, record: Mapping[bytes, bytes], live: int) -> dict[str, int] | None:
    try:
        return elements(record, live)
    except (ValueError, LookupError):
        fields.unreadable.append("j")
        return None


def _outcome(fields: Fields, state: State, long_result: bytes | None) -> tuple[Any, str | None]:
    """Result and error: a completed task has the one, any other may have the other."""
    done = state is State.COMPLETED
    outcome = fields.packed("R" if done else "E")
    if outcome is None:
        outcome = long_result
    if outcome is None:
        return None, None
    return (_readable(outcome, one=True), None) if done else (None, outcome.decode("utf-8", "replace"))


def _readable(packed: bytes, one: bool = False) -> Any:
    """What is packed: ``one`` value, or the pair of args and kwargs. Who can write to Redis may write anything, and
    whoever looks is to see the rest: for a value that can't be read stands the error that says so, for a pair None."""
    value: Any
    try:
        value = unpack(packed)
    except UnreadableValue as error:
        value = error
    if one or (isinstance(value, list) and len(value) in (2, 3)):
        return value
    return None, None
