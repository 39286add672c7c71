"""The record of a task as people and programs read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rq_sched.errors import UnreadableValue
from rq_sched.model import tags
from rq_sched.model.after import each_of
from rq_sched.model.amounts import limits_in, resources_in
from rq_sched.model.arrays import elements, size
from rq_sched.model.asked import units
from rq_sched.model.classes import read_need
from rq_sched.model.labels import of_suffix, refused_in
from rq_sched.model.output import LIMIT
from rq_sched.model.reading import Fields
from rq_sched.model.resources import Resources
from rq_sched.model.states import FINAL, Reason, State
from rq_sched.model.surroundings import surroundings_in
from rq_sched.model.task import DEFAULT_CRASH_LIMIT, TaskInfo
from rq_sched.model.values import unpack, unpack_arguments

NONE = -(2**53)
"""Where a number may be missing."""
_STATES = frozenset(State)


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
    need = _need(fields, "class")
    task_class = (text("class") or "") if need else ""
    need = need or Resources(1, 1)
    active = state in (State.ASSIGNED, State.RUNNING) and b"array" not in record
    allocated = (_need(fields, "allocated") or need) if active else Resources(0, 0)
    packed = fields.packed("with") or payload
    args, kwargs, *more = _arguments(packed) if packed else ([], {})
    result, error = _outcome(fields, state, long_result)
    exit_code, array = number("exit_code", NONE), text("array")
    of_array = None if array is None else _elements(fields, record, live)
    if of_array is not None and state is State.FAILED:
        error = f"{of_array['failed']:,} of {size(str(array)):,} elements failed"
    info = TaskInfo(
        task_id=task_id,
        args=args,
        kwargs=kwargs,
        **_asked_for(fields, need),
        **_of_class(task_class),
        **_around(surroundings_in(more)),
        state=state,
        reason=text("reason") or (Reason.AFTER if state is State.WAITING else None),
        attempt=number("attempt"),
        node_id=(text("node") or "").split(":")[0] or None,
        cpu_allocated=allocated.cpu,
        memory_allocated=allocated.memory,
        submitted_at=seconds("at"),
        scheduled_at=seconds("placed"),
        started_at=seconds("started"),
        finished_at=seconds("finished"),
        crashes=number("crashes"),
        suspect=b"asked" in record,
        expires_at=None if state in FINAL or active else seconds("expires"),
        progress=fields.real("progress"),
        result=result,
        error=error,
        exit_code=None if exit_code == NONE else exit_code,
        array=array if of_array is not None else None,
        after=_awaited(text("awaits")),
        after_each=each_of(text("awaits") or ""),
        awaited=number("left"),
        elements=of_array,
    )
    return _marked(info, fields)


def _asked_for(fields: Fields, need: Resources) -> dict[str, Any]:
    """What its request says in lines of their own."""
    text, number, seconds = fields.text, fields.number, fields.seconds
    retries = number("retries")
    return {
        "function": text("run") or "",
        "priority": number("priority"),
        "cpu_needed": need.cpu,
        "memory_needed": need.memory,
        "max_cpu_needed": number("max_cpu", need.cpu),
        "max_memory_needed": number("max_memory", need.memory),
        "retries": retries,
        "retries_left": max(0, retries - number("retries_used")),
        "crash_limit": number("crash_limit", DEFAULT_CRASH_LIMIT),
        "time_limit": seconds("time_limit"),
        "delay": seconds("delay") or 0.0,
        "deadline": seconds("deadline"),
        "infeasible": text("infeasible") or "wait",
        "elastic": text("elastic") or "cpu",
        "preemptible": bool(number("preemptible")),
        "log_limit": number("log_limit", LIMIT),
        "name": text("name"),
        "tags": tags.read(text("tags") or ""),
        "on_failure": text("on_failure") or "cancel",
    }


def _of_class(task_class: str) -> dict[str, Any]:
    """What the name of its class says beside CPU and memory."""
    return {
        "require": list(of_suffix(task_class)),
        "resources": {name: units(amount) for name, amount in resources_in(task_class).items()},
        "limits": limits_in(task_class),
        "refused": list(refused_in(task_class)),
    }


def _around(around: Mapping[str, Any]) -> dict[str, Any]:
    """Where it runs, and what it finds there."""
    return {
        "chdir": around.get("chdir"),
        "folder": around.get("folder"),
        "env": around.get("env", {}),
        "stdin": around.get("stdin"),
        "output_path": around.get("output"),
        "error_path": around.get("error"),
    }


def _awaited(text: str | None) -> list[str] | None:
    """What it waits for, as far as its request says it."""
    return None if text is None else [] if text.startswith("*") else text.split(",")


def damaged(task_id: str, why: str) -> TaskInfo:
    """The row of a task whose record is none."""
    return replace(decode(task_id, {}), reason=Reason.UNREADABLE, error=why)


def _marked(info: TaskInfo, fields: Fields) -> TaskInfo:
    """With what can't be read of it."""
    if not fields.unreadable:
        return info
    names = ", ".join(dict.fromkeys(fields.unreadable))
    what = f"its record can't be read in full: {names}; `rq-sched doctor --repair` mends it"
    return replace(info, reason=Reason.UNREADABLE, error=f"{info.error}; {what}" if info.error else what)


def _state(fields: Fields) -> State:
    name = fields.text("state") or "pending"
    if name in _STATES:
        return State(name)
    fields.unreadable.append("state")
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
        fields.unreadable.append("array")
        return None


def _outcome(fields: Fields, state: State, long_result: bytes | None) -> tuple[Any, str | None]:
    """Result and error: a completed task has the one, any other may have the other."""
    done = state is State.COMPLETED
    outcome = fields.packed("result" if done else "error")
    if outcome is None:
        outcome = long_result
    if outcome is None:
        return None, None
    return (_readable(outcome), None) if done else (None, outcome.decode("utf-8", "replace"))


def _readable(packed: bytes, unpack: Callable[[bytes], Any] = unpack) -> Any:
    """What is packed. Who can write to Redis may write anything, and whoever looks is to see the rest: for a value that
    can't be read stands the error that says so."""
    try:
        return unpack(packed)
    except UnreadableValue as error:
        return error


def _arguments(packed: bytes) -> Sequence[Any]:
    """Args and kwargs, and what stands behind them; None and None where they can't be read."""
    value = _readable(packed, unpack_arguments)
    return value if isinstance(value, list) and 2 <= len(value) <= 4 else (None, None)
