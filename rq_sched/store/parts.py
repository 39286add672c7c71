r"""A task as it stands in Redis: three parts, each written once (``docs/decisions/028-the-three-parts-of-a-task.md``).

What was asked for is the string ``task:ID``; where the task is now, an entry of the hash ``placed``; how its last
attempt ended, the string ``ended:ID``. What changes of an array is the hash ``array:ID``. The scripts read and write
them in ``lua/_record.lua``. Here they become one: the record of the task, a mapping of names to values.

>>> joined(b"class=1:256\nturn=1\nrun=math:sqrt\nwith=\x92", None, None)[b"state"]
b'pending'
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rq_sched.link import Command
from rq_sched.model.arrays import SEQUENCE, is_countable, unmade_count
from rq_sched.model.states import FINAL
from rq_sched.store.keys import Keys

REQUEST = {
    # name: what it is. What is missing has its default. They stand in this order.
    "class": "CPU:MEMORY and what is required: +LABEL, *RESOURCE=THOUSANDTHS, @LIMIT=AMOUNT, not !NODE:INCARNATION",
    "turn": "its place in the order: the sequence, in hex digits without leading zeros",
    "digest": "of the request: the same id with another one is refused; empty: an element of an array",
    "at": "submitted, ms",
    "watch": "channels of the clients that wait for its end",
    "state": "held or delayed (where its id stands)",
    "due": "ms, delayed until then",
    "expires": "ms, by which it must have started for the first time; it hasn't yet",
    "delay": "ms, asked for at submit",
    "deadline": "ms after its submit by which it must have started, asked for at submit (none)",
    "infeasible": "fail: it ends where no node could hold it when it could first be placed (wait)",
    "priority": "its priority (0)",
    "retries": "retries allowed (0)",
    "retries_used": "retries used (0)",
    "crashes": "how often its process or node died (0)",
    "crash_limit": "crashes after which it fails (3)",
    "time_limit": "ms that it may run (none)",
    "elastic": "off, cpu or all (cpu)",
    "preemptible": "1: it may be stopped for a task of higher priority",
    "max_cpu": "cores that it may use at most (the need)",
    "max_memory": "MB that it may use at most (the need)",
    "log_limit": "bytes of its output that are kept (65536)",
    "name": "what people call it (nothing)",
    "tags": "NAME=TEXT of each tag, with a tab between two (none)",
    "payload": "bytes of the arguments in payload:ID (none there)",
    "attempts": "attempts that are over, of a task that waits again (0)",
    "preempted": "how often it was preempted (0)",
    "released": "cpu: it was killed for memory that had been released, so only its CPU is released from now on",
    "first_memory": "MB that it needed at first: its need has grown since, after it was killed for memory",
    "asked": "class that it asked for: it is suspect, so its class is a whole node until it has run alone",
    "refusal": "what a node has said that has refused it: a line NODE: TEXT each",
    "reason": "why it waits",
    "operation": "the last operation's id: a driver's retry of it changes nothing",
    "array": "it is an array: FIRST-LAST, the indexes of its elements",
    "uses": "1: results of others stand among its arguments",
    "awaits": "what it waits for, or waited for: ID or ID:KIND, with commas between; *NUMBER: they stand in awaits:ID",
    "left": "how many of these haven't come yet: it is waiting",
    "before": "who waits for it: id, sign and turn, with commas between; *: they stand in before:ID",
    "each": "of an array: which arrays wait for it element by element, ID/TURN, with commas between",
    "on_failure": "keep: it waits on when one of these ends otherwise (cancel)",
    "run": "function",
    "with": "msgpack [args, kwargs], then where it runs and the signature, where there are any (none)",
}
ATTEMPT = {
    # TOKEN NODE:INCARNATION PLACED ATTEMPT stand in front; then name=value
    "token": "of the attempt, as on the ledger",
    "node": "NODE:INCARNATION",
    "placed": "when, ms",
    "attempt": "its number",
    "started": "when, ms (not yet)",
    "allocated": "CPU:MEMORY, where that isn't its need",
    "resize": "number of the last resize",
    "after": "it is told to stop; what follows: requeue (behind its equals), end, back (its old place)",
    "reason": "why it is told to stop",
    "progress": "0 to 1",
    "watch": "channels of the clients that wait for its end",
    "more": "1: its end must read the request",
}
OUTCOME = {
    "state": "completed, failed or cancelled; retry: of the last attempt of a task that goes on",
    "at": "when, ms",
    "attempt": "the attempt as it stood in placed (it ended while it waited)",
    "reason": "why it ended so",
    "exit_code": "of its process",
    "stored": "bytes of the result or error in result:ID",
    "result": "msgpack",
    "error": "text",
}
ARRAY = {
    "next": "the first element that isn't made yet",
    "apart": "elements behind that one that were made before their turn",
    "completed": "elements completed",
    "failed": "elements failed",
    "cancelled": "elements cancelled",
    "forgotten": "elements forgotten",
    "cut": "the element from which on those that weren't made have ended, cancelled",
    "cut_reason": "that they failed, and why",
    "cut_at": "when that was, ms",
    "unmade": "how many of these have no record",
    "after": "end: it was cancelled as a whole",
    "watch": "channels of the clients that wait for elements that aren't made yet",
}
TO_THE_END = ("with", "result", "error")
"""The last of a request or outcome: any bytes, up to the end."""
_LAST = tuple(name.encode() + b"=" for name in TO_THE_END)
_IN_FRONT = (b"token", b"node", b"placed", b"attempt")
_ATTEMPT = re.compile(rb"([^ ]+) ([^ ]+:[^ ]+) (\d+) (\d+)((?: [a-z_]+=[^ ]*)*)")
_OF_THE_STOP = frozenset({b"after", b"reason", b"watch", b"more"})
_FINAL = frozenset(str(state).encode() for state in FINAL)
Record = dict[bytes, bytes]
"""The parts of a task as one. ``state`` is always there; ``turn`` has all its digits, as in the members of queues;
``attempt`` is the number of the last one, ``finished`` when the task ended."""


def of_lines(text: bytes) -> Record:
    r"""The fields of a request or an outcome. Refusals stand in a line each.

    >>> of_lines(b"state=failed\nerror=first\nsecond")
    {b'state': b'failed', b'error': b'first\nsecond'}
    """
    fields: Record = {}
    refusals: list[bytes] = []
    start, end = 0, len(text)
    while start < end:
        stop = -1 if text.startswith(_LAST, start) else text.find(b"\n", start)
        line = text[start : stop if stop >= 0 else end]
        name, _, value = line.partition(b"=")
        if name == b"refusal":
            refusals.append(value)
        fields[name] = value
        start += len(line) + 1
    if refusals:
        fields[b"refusal"] = b"\n".join(refusals)
    return fields


def to_lines(fields: Mapping[bytes, bytes]) -> bytes:
    r"""The request or outcome that has these fields; they stand in this order, but for the one that goes to the end.

    >>> to_lines({b"error": b"boom", b"state": b"failed"})
    b'state=failed\nerror=boom'
    """
    names = sorted(fields, key=lambda name: name + b"=" in _LAST)
    values = {name: fields[name].split(b"\n") if name == b"refusal" else [fields[name]] for name in names}
    return b"\n".join(name + b"=" + value for name in names for value in values[name])


def of_attempt(text: bytes) -> Record:
    """The fields of an attempt; none: the text is none.

    >>> of_attempt(b"5f.1.1 n1:a0 1764000000000 1 started=1764000000005")[b"node"]
    b'n1:a0'
    """
    found = _ATTEMPT.fullmatch(text)
    if found is None:
        return {}
    fields = dict(zip(_IN_FRONT, found.groups(), strict=False))
    return fields | {name: value for name, _, value in (part.partition(b"=") for part in found[5].split(b" ")[1:])}


def to_attempt(fields: Mapping[bytes, bytes]) -> bytes:
    """The entry of ``placed`` that has these fields."""
    more = [name + b"=" + value for name, value in fields.items() if name not in _IN_FRONT]
    return b" ".join([*(fields[name] for name in _IN_FRONT), *more])


def joined(request: bytes | None, attempt: bytes | None, outcome: bytes | None) -> Record:
    """The record of a task (of an array: ``with_array``); empty: there is none, as nothing was asked for."""
    if request is None:
        return {}
    record = of_lines(request)
    if b"turn" in record:
        record[b"turn"] = record[b"turn"].zfill(SEQUENCE)
    ended = of_lines(outcome or b"")
    if b"attempts" in record:
        record[b"attempt"] = record[b"attempts"]
    if attempt is not None and (now := of_attempt(attempt)):
        record.pop(b"watch", None)  # there those of the attempt count
        record |= now
        record[b"state"] = b"running" if b"started" in now else b"assigned"
    elif ended.get(b"state") in _FINAL:
        return _ended(record, ended)
    of_the_last = (b"error", b"stored") if b"token" in record else (b"error", b"stored", b"exit_code")
    record |= {name: ended[name] for name in of_the_last if name in ended}  # of the attempt before
    record.setdefault(b"state", b"waiting" if b"left" in record else b"pending")
    return record


def _ended(record: Record, ended: Record) -> Record:
    """With its outcome, and what the outcome keeps of the attempt."""
    record.pop(b"reason", None)
    if b"attempt" in ended:
        attempt = of_attempt(ended.pop(b"attempt"))
        record |= {name: value for name, value in attempt.items() if name not in _OF_THE_STOP}
    if b"at" in ended:
        ended[b"finished"] = ended.pop(b"at")
    return record | ended


def with_array(record: Record, changes: Sequence[bytes]) -> Record:
    """The record of an array, with what changes of it (the reply to HGETALL)."""
    record = dict(zip(changes[::2], changes[1::2], strict=True)) | record
    if record[b"state"] == b"pending" and is_countable(record) and not unmade_count(record):
        record[b"state"] = b"running"
    return record


def asked(keys: Keys, task_ids: Sequence[str]) -> list[Command]:
    """Reads the parts of tasks, in the order in which a task passes through them: one that moves on meanwhile is seen
    where it was, or where it is. ``answered`` makes records of the replies."""
    if not task_ids:
        return []
    return [
        ("HMGET", keys.placed, *task_ids),
        *(("GET", keys.task(task_id)) for task_id in task_ids),
        ("MGET", *(keys.ended(task_id) for task_id in task_ids)),
    ]


def answered(task_ids: Sequence[str], replies: Sequence[Any]) -> list[Record | None]:
    """The records of tasks, of arrays without what changes of them (``with_array``): empty for one that there isn't.

    Parameters:
        replies: to ``asked``; an exception for a key of another type. Where that is the request's the record is None.
    """
    if not task_ids:
        return []
    attempts, *requests, outcomes = replies
    if not isinstance(attempts, list):
        attempts = [None] * len(task_ids)
    return [
        None if isinstance(request, Exception) else joined(request, attempt, outcome)
        for request, attempt, outcome in zip(requests, attempts, outcomes, strict=True)
    ]
