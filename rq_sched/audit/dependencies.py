"""Checks at tasks that wait for others: those know of it, and what has ended has told them."""

from __future__ import annotations

import re
from typing import Any

from rq_sched.audit.reads import decoded
from rq_sched.audit.records import TaskFields
from rq_sched.link import Command, Op
from rq_sched.model.after import EACH, id_of
from rq_sched.model.states import State
from rq_sched.store.keys import Keys
from rq_sched.store.parts import asked, of_lines

PARTS = 3
"""Replies that make up the record of a task."""
LOOKED_AT = 100
"""Entries of a long list that are looked at."""
SIGNS = {"ok": ":", "any": "+", "failed": "!", "result": "="}
ENTRY = re.compile(r"([A-Za-z0-9][\w./-]*)([:+!=~])([0-9a-f]+)", re.ASCII)


class Dependencies:
    """The checks of one run."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def read(self, task_id: str, *more: Command) -> Op[tuple[TaskFields | None, list[Any]]]:
        """The record of a task, and the replies to more reads at the same time."""
        replies = yield [*asked(self.keys, [task_id]), *more]
        return TaskFields.of(task_id, replies[:PARTS]), replies[PARTS:]

    def known(self, task_id: str) -> Op[str | None]:
        """A task that waits stands with each that it still waits for, and it counts these."""
        keys = self.keys
        first, (named,) = yield from self.read(task_id, ("LRANGE", keys.awaits(task_id), 0, -1))
        if first is None or "left" not in first.fields or first.final:
            return None
        names, number = _awaited(first, named)
        if number < len(names) or not first.number("left"):
            return f"it waits for {first.fields['left']} of {number} tasks, and names {len(names)}"
        if names and names[0].endswith(EACH):
            return (yield from self._each(task_id, first, id_of(names[0])))
        requests = yield [("GET", keys.task(id_of(name))) for name in names]
        long = [_before(request) == "*" for request in requests]
        entries = [_entry(task_id, name, first) for name in names]
        lookups: list[Command] = [
            ("LPOS", keys.before(id_of(name)), entry) if is_long else ("GET", keys.task(id_of(name)))
            for name, entry, is_long in zip(names, entries, long, strict=True)
        ]
        again, (again_named, *found) = yield from self.read(task_id, ("LLEN", keys.awaits(task_id)), *lookups)
        if again != first or again_named != len(named):
            return None  # it has moved on meanwhile
        known = 0
        for entry, is_long, reply in zip(entries, long, found, strict=True):
            if not is_long and _before(reply) == "*":
                return None
            known += reply is not None if is_long else entry in _before(reply).split(",")
        left = known + number - len(names)  # those that aren't named yet will be
        if left != first.number("left"):
            return f"it waits for {first.fields['left']} tasks, {left} know of it"
        return None

    def _each(self, array_id: str, record: TaskFields, parent_id: str) -> Op[str | None]:
        """The other array knows who waits for it element by element; has it ended, these are looked at."""
        parent, (remembered,) = yield from self.read(parent_id, ("ZSCORE", self.keys.releasing, array_id))
        again, _ = yield from self.read(array_id)
        if again != record:
            return None  # it has moved on meanwhile
        entry = f"{array_id}/{record.fields.get('turn', '').lstrip('0')}"
        if parent is None or entry not in parent.fields.get("each", "").split(","):
            return f"it waits for {parent_id} element by element, which doesn't know of it"
        if parent.final and remembered is None and record.fields.get("on_failure") != "keep":
            return f"{parent_id} is {parent.state}, and it hasn't heard of it"
        return None

    def told(self, task_id: str) -> Op[str | None]:
        """Whoever waits for a task that has ended has heard of it, or is about to. (Of a long list its beginning.)"""
        untold: Command = ("ZSCORE", self.keys.releasing, task_id)
        entries: Command = ("LRANGE", self.keys.before(task_id), 0, LOOKED_AT - 1)
        record, (listed, remembered) = yield from self.read(task_id, entries, untold)
        if record is None or "before" not in record.fields:
            return None
        before = record.fields["before"]
        texts = [decoded(one) for one in listed] if before == "*" else before.split(",")
        for text in texts:
            if not ENTRY.fullmatch(text):
                return f"an entry of those that wait for it says nothing: {text!r}"
        if not record.final or remembered is not None or not texts:
            return None
        found = [match for text in texts if (match := ENTRY.fullmatch(text)) and match[2] != "~"]
        parts = yield [command for match in found for command in asked(self.keys, [match[1]])]
        for i, match in enumerate(found):
            other = TaskFields.of(match[1], parts[PARTS * i : PARTS * (i + 1)])
            if other is not None and _waits(other, match[3]) and _hears(other, match[2], record.state):
                again, (still, remembered) = yield from self.read(task_id, entries, untold)
                same = again == record and still == listed and remembered is None
                return f"it is {record.state}, and {match[1]} hasn't heard of it" if same else None
        return None

    def listed(self, kind: str, task_id: str) -> Op[str | None]:
        """``before:ID``, ``awaits:ID`` have a task that says so."""
        record, (exists,) = yield from self.read(task_id, ("EXISTS", f"{self.keys.prefix}{kind}:{task_id}"))
        if exists and (record is None or not record.fields.get(kind, "").startswith("*")):
            return "its task is gone" if record is None else "its task's record doesn't mention it"
        return None


def _awaited(record: TaskFields, named: list[bytes]) -> tuple[list[str], int]:
    """What it waits for as far as that is named, and how many these are in all."""
    awaits = record.fields.get("awaits", "")
    if awaits.startswith("*"):
        return [decoded(one) for one in named], int(awaits[1:])
    names = awaits.split(",") if awaits else []
    return names, len(names)


def _entry(task_id: str, name: str, record: TaskFields) -> str:
    """How a task stands with one that it waits for."""
    kind = name.partition(":")[2] or "ok"
    return f"{task_id}{SIGNS.get(kind, ':')}{record.fields.get('turn', '').lstrip('0')}"


def _before(request: bytes | None) -> str:
    return decoded(of_lines(request or b"").get(b"before"))


def _waits(record: TaskFields, turn: str) -> bool:
    return "left" in record.fields and not record.final and record.fields.get("turn", "").lstrip("0") == turn


def _hears(record: TaskFields, sign: str, state: str) -> bool:
    """Whether such an end means something to it now."""
    wanted = sign == "+" or (state == State.COMPLETED) == (sign != "!")
    return wanted or record.fields.get("on_failure") != "keep"
