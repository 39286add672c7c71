"""What a task is: its states and their transitions, what is asked for when it is submitted, what is known of it.

The states and the table of transitions are the truth that the scripts and the drawing in
``docs/state-machine.md`` are tested against.
"""

from __future__ import annotations

import base64
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from rq_sched.errors import InvalidTarget, InvalidValue
from rq_sched.model.arrays import parse_array
from rq_sched.model.ids import check_id
from rq_sched.model.labels import parse_labels
from rq_sched.model.resources import parse_cpu, parse_memory
from rq_sched.model.states import State
from rq_sched.model.values import pack

INLINE_LIMIT = 64
"""Bytes up to which a field stays in the record: a longer one makes a small hash three times as large."""
DEFAULT_MEMORY = 256
DEFAULT_CRASH_LIMIT = 3
DEFAULT_GRACE = 10.0
PRIORITY_LIMIT = 2**31


def new_task_id() -> str:
    """A random id: 16 letters and digits, 80 bits."""
    return base64.b32encode(os.urandom(10)).decode("ascii").lower()


@dataclass(slots=True)
class TaskRequest:
    """What is asked for when a task is submitted.

    Parameters:
        function: ``pkg.mod:func``, or ``exec:PATH`` for a command.
        args, kwargs: plain data (what msgpack carries), at most 256 KiB together.
        task_id: generated if None.
        priority: higher first; any integer in ±2³¹.
        cpu_needed: cores, from 1.  memory_needed: MB, or text such as ``"2G"``.
        max_cpu_needed, max_memory_needed: up to which it may grow; the need if None.
        require: labels that its node must carry.
        array: ``FIRST-LAST`` or a ``range``: run it once for each of these indexes (``arrays.py``).
        retries: how many failures are tried again.  crash_limit: how many deaths of its process or node.
        time_limit: seconds a run may take.  delay: seconds before it may be placed.
        elastic: ``off``, ``cpu`` or ``all``: what may be given to others while it isn't used.
        preemptible: whether a task of higher priority may stop it.

    Raises:
        UsageError: from ``check()``, which every submit calls.

    >>> TaskRequest("math:sqrt", [2.0], cpu_needed=1, memory_needed="1G").check().memory_needed
    1024
    """

    function: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    task_id: str | None = None
    priority: int = 0
    cpu_needed: int = 1
    memory_needed: int | str = DEFAULT_MEMORY
    max_cpu_needed: int | None = None
    max_memory_needed: int | str | None = None
    retries: int = 0
    crash_limit: int = DEFAULT_CRASH_LIMIT
    time_limit: float | None = None
    delay: float = 0.0
    elastic: str = "cpu"
    preemptible: bool = False
    require: Sequence[str] = ()
    array: str | range | None = None

    def check(self) -> TaskRequest:
        """Itself, with sizes as numbers and an id, or an error that names the field."""
        if self.task_id is None:
            self.task_id = new_task_id()
        else:
            check_id(self.task_id)
        check_function(self.function)
        if isinstance(self.args, (str, bytes)) or not isinstance(self.args, Sequence):
            raise InvalidValue(f"args must be a list, not {self.args!r}")
        if not isinstance(self.kwargs, Mapping):
            raise InvalidValue(f"kwargs must be an object with names as keys, not {self.kwargs!r}")
        for name in self.kwargs:
            if not isinstance(name, str):
                raise InvalidValue(f"kwargs must have names as keys, not {name!r:.80}")
        if self.function.startswith("exec:"):
            _check_words(self.args, self.kwargs)
        self.cpu_needed = parse_cpu(self.cpu_needed, "cpu_needed")
        self.memory_needed = parse_memory(self.memory_needed, "memory_needed")
        if self.max_cpu_needed is not None:
            self.max_cpu_needed = _at_least(parse_cpu(self.max_cpu_needed, "max_cpu_needed"), self.cpu_needed, "cpu")
        if self.max_memory_needed is not None:
            most = parse_memory(self.max_memory_needed, "max_memory_needed")
            self.max_memory_needed = _at_least(most, self.memory_needed, "memory")
        if self.require:
            self.require = parse_labels(self.require, "require")
        if self.array is not None:
            self.array = parse_array(self.array)
        _integer(self.priority, "priority", -PRIORITY_LIMIT, PRIORITY_LIMIT)
        _integer(self.retries, "retries", 0, 2**31)
        _integer(self.crash_limit, "crash_limit", 1, 2**31)
        if self.time_limit is not None:
            check_seconds(self.time_limit, "time_limit", 0.001)
        check_seconds(self.delay, "delay")
        if self.elastic not in ("off", "cpu", "all"):
            raise InvalidValue(f"elastic must be off, cpu or all, not {self.elastic!r}")
        if type(self.preemptible) is not bool:
            raise InvalidValue(f"preemptible must be true or false, not {self.preemptible!r}")
        return self

    def pack_arguments(self) -> bytes:
        """The arguments as msgpack; empty if there are none.

        Raises:
            NotSerializable: something in them isn't plain data.
            PayloadTooLarge: more than 256 KiB.
        """
        if not self.args and not self.kwargs:
            return b""
        return pack([list(self.args), dict(self.kwargs)], "the arguments", ("args", "kwargs"))


REQUEST_FIELDS = frozenset(f.name for f in fields(TaskRequest))


def request_from_json(data: Any) -> TaskRequest:
    """A request from one decoded JSON object with the field names of the interface.

    Raises:
        InvalidValue: not an object, an unknown field, or no function.
    """
    if not isinstance(data, dict):
        raise InvalidValue("expected a JSON object with at least the field function")
    unknown = sorted(set(data) - REQUEST_FIELDS)
    if unknown:
        raise InvalidValue(f"unknown field {unknown[0]!r}; known are {', '.join(sorted(REQUEST_FIELDS))}")
    if "function" not in data:
        raise InvalidValue("the field function is missing")
    given = {name: value for name, value in data.items() if value is not None or name == "function"}
    return TaskRequest(**given).check()


@functools.lru_cache(maxsize=1000)
def _is_target(text: str) -> bool:
    """Remembered: who submits many tasks mostly names few functions."""
    module, colon, name = text.partition(":")
    if module == "exec" and name:
        return name.isprintable()
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def check_function(target: object) -> str:
    """``pkg.mod:func`` or ``exec:/path``, itself.

    Raises:
        InvalidTarget: anything else.
    """
    if isinstance(target, str) and _is_target(target):
        return target
    if isinstance(target, str) and target.startswith("exec:/"):
        raise InvalidTarget(f"bad command {target[5:]!r}: its path must be text that can be printed, in UTF-8")
    raise InvalidTarget(f"bad target {target!r}: write a function as pkg.mod:func, a command after --")


def _check_words(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Whether a command can be started with these.  Raises: InvalidValue."""
    if kwargs:
        raise InvalidValue(f"a command takes no named arguments: {', '.join(kwargs)}")
    for word in args:
        if not isinstance(word, (str, bytes, int, float)):
            raise InvalidValue(f"an argument of a command must be text, bytes or a number, not {word!r:.80}")
        if (isinstance(word, str) and "\0" in word) or (isinstance(word, bytes) and b"\0" in word):
            raise InvalidValue(f"an argument of a command can't contain a null character: {word!r:.80}")


@dataclass(slots=True)
class TaskInfo:
    """Everything known of a task, with the field names of the interface.

    Times are seconds since 1970 (Redis' clock) or None; CPU in cores, memory in MB, durations in seconds.
    ``to_json()`` gives ISO 8601 times.
    """

    task_id: str
    priority: int
    function: str
    args: list[Any] | None
    kwargs: dict[str, Any] | None
    cpu_needed: int
    memory_needed: int
    max_cpu_needed: int
    max_memory_needed: int
    state: State
    reason: str | None
    attempt: int
    node_id: str | None
    cpu_allocated: int
    memory_allocated: int
    submitted_at: float | None
    scheduled_at: float | None
    started_at: float | None
    finished_at: float | None
    retries: int
    retries_left: int
    crashes: int
    crash_limit: int
    time_limit: float | None
    delay: float
    elastic: str
    preemptible: bool
    progress: float | None
    result: Any
    error: str | None
    exit_code: int | None
    suspect: bool  # it must run alone on a node before it may fail as poison; until then it needs a whole one
    require: list[str]  # labels that its node must carry
    refused: list[str]  # registrations of nodes, NODE:INCARNATION, that have refused it: it isn't put there again
    array: str | None = None  # of an array: the indexes of its elements, FIRST-LAST
    elements: dict[str, int] | None = None  # of an array: how many are waiting, active, completed, failed, cancelled

    def to_json(self) -> dict[str, Any]:
        """A flat dict for JSON: times as ISO 8601 in UTC."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("submitted_at", "scheduled_at", "started_at", "finished_at"):
            out[name] = iso(out[name])
        return out


def iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _at_least(most: int, need: int, what: str) -> int:
    if most < need:
        raise InvalidValue(f"max_{what}_needed ({most}) is below {what}_needed ({need})")
    return most


def _integer(value: object, name: str, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise InvalidValue(f"{name} must be a whole number between {least} and {most}, not {value!r}")


def check_seconds(value: object, name: str, least: float = 0) -> None:
    """Raises: InvalidValue: not a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= 10**9:
        raise InvalidValue(f"{name} must be a number of seconds from {least}, not {value!r}")
