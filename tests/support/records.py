"""The parts of a task in Redis, as tests read and damage them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rq_sched.link import Command, Op
from rq_sched.store.keys import Keys
from rq_sched.store.parts import Record, answered, asked, of_attempt, of_lines, to_attempt, to_lines


def record_of(keys: Keys, task_id: str) -> Op[dict[str, str]]:
    """What stands in Redis of a task, its parts as one; empty: nothing."""
    (found,) = answered([task_id], (yield asked(keys, [task_id])))
    return {name.decode(): value.decode("utf-8", "backslashreplace") for name, value in (found or {}).items()}


@dataclass(frozen=True)
class Altered:
    """A change of one part of a task, as somebody makes it who can write to Redis.

    Parameters:
        part: ``request``, ``attempt`` or ``outcome``.
        fields: name → value; None: it goes.
    """

    part: str
    task_id: str
    fields: Mapping[str, str | bytes | int | None]

    def made(self, keys: Keys) -> Op[None]:
        read, parse, write, back = _way(keys, self.part, self.task_id)
        fields = parse((yield [read])[0] or b"")
        for name, value in self.fields.items():
            if value is None:
                fields.pop(name.encode(), None)
            else:
                fields[name.encode()] = value if isinstance(value, bytes) else str(value).encode()
        yield [back(write(fields))]


def request(task_id: str, **fields: str | bytes | int | None) -> Altered:
    return Altered("request", task_id, fields)


def attempt(task_id: str, **fields: str | bytes | int | None) -> Altered:
    return Altered("attempt", task_id, fields)


def outcome(task_id: str, **fields: str | bytes | int | None) -> Altered:
    return Altered("outcome", task_id, fields)


_Way = tuple[Command, Callable[[bytes], Record], Callable[[Mapping[bytes, bytes]], bytes], Callable[[bytes], Command]]


def _way(keys: Keys, part: str, task_id: str) -> _Way:
    """How a part is read, parsed, made text, and written."""
    if part == "attempt":
        read: Command = ("HGET", keys.placed, task_id)
        return read, of_attempt, to_attempt, lambda text: ("HSET", keys.placed, task_id, text)
    key = keys.task(task_id) if part == "request" else keys.ended(task_id)
    return ("GET", key), of_lines, to_lines, lambda text: ("SET", key, text)


def alter(run: Callable[[Op[None]], Any], keys: Keys, *changes: Altered) -> None:
    """Makes these changes."""
    for change in changes:
        run(change.made(keys))
