"""What a task is: its states and their transitions, what is asked for when it is submitted, what is known of it.

The states and the table of transitions are the truth that the scripts and the drawing in
``docs/state-machine.md`` are tested against.
"""

from __future__ import annotations

import base64
import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rq_sched.errors import InvalidTarget, InvalidValue
from rq_sched.model.after import EACH, with_each, with_results
from rq_sched.model.given import given
from rq_sched.model.options import DEFAULT_CRASH_LIMIT as DEFAULT_CRASH_LIMIT
from rq_sched.model.options import DEFAULT_MEMORY as DEFAULT_MEMORY
from rq_sched.model.options import NAMES, OPTIONS, RequestOptions, by_keyword, unknown
from rq_sched.model.options import PRIORITY_LIMIT as PRIORITY_LIMIT
from rq_sched.model.references import Reference, references
from rq_sched.model.states import State
from rq_sched.model.surroundings import asked_for, check_file
from rq_sched.model.values import pack

if TYPE_CHECKING:
    from typing import Unpack

INLINE_LIMIT = 64
"""Bytes up to which a field stays in the record: a longer one makes a small hash three times as large."""
TOLD_LIMIT = 256
"""Bytes up to which a result comes with the news of its task's end."""
DEFAULT_GRACE = 10.0


def new_task_id() -> str:
    """A random id: 16 letters and digits, 80 bits."""
    return base64.b32encode(os.urandom(10)).decode("ascii").lower()


@dataclass(slots=True, init=False)
class TaskRequest:
    """What is asked for when a task is submitted.

    Parameters:
        function: ``pkg.mod:func``, or ``exec:PATH`` for a command.
        args, kwargs: plain data (what msgpack carries), at most 256 KiB together. A handle in them, also in lists and
            dicts, is a task that must complete first: the function gets its result in that place.
        options: those of ``client.submit``, by its names for them or by the fields' (``cpu`` is ``cpu_needed``, ``id``
            is ``task_id``, …). One that is None has its default. ``model/options.py`` says of each what it may be.

    Raises:
        InvalidValue: there is no such option, or it is given by two names.
        UsageError: from ``check()``, which every submit calls: a value is out of its range.

    >>> TaskRequest("math:sqrt", [2.0], cpu=1, memory="1G", time_limit="10m").check().memory_needed
    1024
    """

    function: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    task_id: str | None
    priority: int
    cpu_needed: int
    memory_needed: int | str
    max_cpu_needed: int | None
    max_memory_needed: int | str | None
    retries: int
    crash_limit: int
    time_limit: float | None
    delay: float
    deadline: float | None
    infeasible: str
    elastic: str
    preemptible: bool
    require: Sequence[str]
    resources: Mapping[str, float] | Sequence[str] | None
    limits: Mapping[str, float] | Sequence[str] | None
    array: str | range | None
    chdir: str | None
    env: Mapping[str, str] | Sequence[str] | None
    stdin: str | bytes | None
    output_path: str | None
    error_path: str | None
    log_limit: int | str
    name: str | None
    tags: Mapping[str, str] | Sequence[str] | None
    after: Sequence[str]
    after_each: str | None
    on_failure: str
    hints: Mapping[str, Any] = field(init=False)

    def __init__(
        self,
        function: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[RequestOptions],
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = {} if kwargs is None else kwargs
        self.hints = {}  # what its node may leave aside (surroundings.py)
        for one, default, _ in _FIELDS:
            setattr(self, one, default)
        if options:
            for keyword, value in by_keyword(options).items():
                setattr(self, OPTIONS[keyword].long, value)

    def check(self) -> TaskRequest:
        """Itself, with sizes and durations as numbers and an id, or an error that names the field."""
        check_function(self.function)
        if isinstance(self.args, (str, bytes)) or not isinstance(self.args, Sequence):
            raise InvalidValue(f"args must be a list, not {given(self.args)}")
        if not isinstance(self.kwargs, Mapping):
            raise InvalidValue(f"kwargs must be an object with names as keys, not {given(self.kwargs)}")
        for name in self.kwargs:
            if not isinstance(name, str):
                raise InvalidValue(f"kwargs must have names as keys, not {given(name)}")
        if self.function.startswith("exec:"):
            _check_words(self.args, self.kwargs)
        for one, default, parse in _FIELDS:
            value = getattr(self, one)
            if value is not default:  # the same object: True is no 1
                setattr(self, one, parse(value, one))
        if found := references(self.args, self.kwargs):
            self.after = with_results(self.after, [one.id for one in found])
        if self.after_each is not None:
            self.after = with_each(self.after, self.after_each, self.array)
        elif any(one.endswith(EACH) for one in self.after):
            raise InvalidValue("after can't say :each: write after_each (--after-each ARRAY)")
        _at_least(self.max_cpu_needed, self.cpu_needed, "cpu")
        if self.cpu_needed == 0 and self.max_cpu_needed:
            raise InvalidValue("a task with cpu 0 has memory alone, and can't grow: leave max_cpu out")
        _at_least(self.max_memory_needed, self.memory_needed, "memory")
        if self.deadline is not None and self.deadline <= self.delay:
            raise InvalidValue(
                f"deadline ({self.deadline:g} s) must be longer than delay ({self.delay:g} s): it could never start"
            )
        if self.output_path is not None:
            check_file(self.output_path, "output", self.array)
        if self.error_path is not None:
            check_file(self.error_path, "error", self.array)
        if self.task_id is None:
            self.task_id = new_task_id()
        return self

    def pack_arguments(self, hints: Mapping[str, Any] | None = None) -> bytes:
        """The arguments as msgpack, and behind them where it is to run; empty if there are neither.

        Parameters:
            hints: what is said of that beside what is asked for.

        Raises:
            NotSerializable: something in them isn't plain data.
            PayloadTooLarge: more than 256 KiB.
        """
        surroundings = {**asked_for(self), **(hints or {})}
        if surroundings:
            parts = [list(self.args), dict(self.kwargs), surroundings]
            return pack(parts, "the arguments", ("args", "kwargs", "surroundings"))
        if not self.args and not self.kwargs:
            return b""
        return pack([list(self.args), dict(self.kwargs)], "the arguments", ("args", "kwargs"))


_FIELDS = [(option.long, option.default, option.parse) for option in OPTIONS.values()]
_OWN = ("function", "args", "kwargs")
_NAMES = frozenset((*_OWN, *NAMES))


def request_from_json(data: Any) -> TaskRequest:
    """A request from one decoded JSON object: ``function``, ``args``, ``kwargs``, and options by any of their names.

    Raises:
        InvalidValue: not an object, an unknown field, or no function.
    """
    if not isinstance(data, dict):
        raise InvalidValue("expected a JSON object with at least the field function")
    for name in data:
        if name not in _NAMES:
            raise unknown("field", name, _NAMES)
    if "function" not in data:
        raise InvalidValue("the field function is missing")
    return TaskRequest(
        **{name: value for name, value in data.items() if value is not None or name == "function"}
    ).check()


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
        if not isinstance(word, (str, bytes, int, float, Reference)):
            raise InvalidValue(f"an argument of a command must be text, bytes or a number, not {given(word)}")
        if (isinstance(word, str) and "\0" in word) or (isinstance(word, bytes) and b"\0" in word):
            raise InvalidValue(f"an argument of a command can't contain a null character: {given(word)}")


@dataclass(slots=True)
class TaskInfo:
    """Everything known of a task, with the field names of the interface.

    Times are seconds since 1970 (Redis' clock) or None; CPU in cores, memory in MB, durations in seconds.
    ``to_dict()`` gives ISO 8601 times.
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
    resources: dict[str, float]  # what it needs of its node beside, in units
    limits: dict[str, int]  # what it takes of limits of the namespace
    refused: list[str]  # registrations of nodes, NODE:INCARNATION, that have refused it: it isn't put there again
    name: str | None
    tags: dict[str, str]
    chdir: str | None
    folder: str | None  # of a command: where it was submitted
    env: dict[str, str]
    stdin: str | bytes | None
    output_path: str | None
    error_path: str | None
    log_limit: int
    array: str | None = None  # of an array: the indexes of its elements, FIRST-LAST
    after: list[str] | None = None  # what it waits for, or waited for: ID or ID:KIND; of more than 8 the first ones
    after_each: str | None = None  # the array for whose elements its own wait
    awaited: int = 0  # how many of these haven't come yet
    on_failure: str = "cancel"
    elements: dict[str, int] | None = None  # of an array: how many are waiting, active, completed, failed, cancelled
    deadline: float | None = None  # seconds after its submit by which it must have started for the first time
    expires_at: float | None = None  # when that is; None: it has started, or has no deadline
    infeasible: str = "wait"

    def to_dict(self) -> dict[str, Any]:
        """A flat dict, as ``--json`` prints it: times as ISO 8601 in UTC."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("submitted_at", "scheduled_at", "started_at", "finished_at", "expires_at"):
            out[name] = iso(out[name])
        return out

    def to_json(self) -> dict[str, Any]:
        """Deprecated: ``to_dict()``."""
        warnings.warn("info.to_json() is info.to_dict() now", DeprecationWarning, stacklevel=2)
        return self.to_dict()


def iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _at_least(most: Any, need: Any, what: str) -> None:
    if most is not None and most < need:
        raise InvalidValue(f"max_{what}_needed ({most}) is below {what}_needed ({need})")
