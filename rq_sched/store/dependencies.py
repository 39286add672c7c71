"""What a task waits for: as it stands now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rq_sched.errors import DependencyNotFound, InvalidValue
from rq_sched.link import Op
from rq_sched.model.after import id_of, not_of_these_indexes
from rq_sched.model.reading import text, whole
from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store.parts import Record
from rq_sched.store.reads import Reads

NAMED = 10
"""Tasks that are named of those that one waits for."""
LOOKED_AT = 1000
"""Tasks that are looked at of those that one waits for."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes that the results among the arguments of a task may have together."""
AT_ONCE = 16
"""Long results that are fetched at a time."""


class DependencyReads(Reads):
    """Questions about tasks that wait for others."""

    def awaited(self, info: TaskInfo) -> Op[dict[str, Any]]:
        """For how many of how many tasks it waits, or was cancelled by; and the first of these as they are now."""
        names, number = list(info.after or ()), len(info.after or ())
        if not names:  # they are too many for its request
            listed, named = (yield from self.rows(
                [("LRANGE", self.keys.awaits(info.task_id), 0, LOOKED_AT - 1), ("GET", self.keys.task(info.task_id))]
            ))  # fmt: skip
            names = [text(one) for one in listed or ()]
            number = max(len(names), whole(_number(named)))
        found = yield from self._to_come(names)
        return {"awaited": info.awaited, "awaited_of": number, "awaits": found[:NAMED], "on_failure": info.on_failure}

    def would_await(self, request: TaskRequest) -> Op[dict[str, Any]]:
        """The same of a request, and the state in which it would be if it waited for nothing else: none where all that
        it waits for has come.

        Raises:
            DependencyNotFound: there is no such task.
            InvalidValue: it would wait for the elements of what is no array of the same indexes.
        """
        if request.after_each is not None:
            (record,) = yield from self.records([request.after_each])
            if record is not None and text(record.get(b"array")) != request.array:
                raise InvalidValue(not_of_these_indexes(request.after_each))
        found = yield from self._to_come(request.after)
        for one in found:
            if one["state"] is None:
                raise DependencyNotFound(f"there is no task {one['task_id']} to wait for")
        answer = {"awaited": len(found), "awaited_of": len(request.after), "awaits": found[:NAMED]}
        if request.on_failure != "keep" and any(one["state"].final and one["kind"] != "each" for one in found):
            answer |= {"state": State.CANCELLED, "reason": Reason.DEPENDENCY}
        elif found:
            answer |= {"state": State.WAITING, "reason": Reason.AFTER}
        return answer | {"on_failure": request.on_failure}

    def results(self, task_ids: Sequence[str]) -> Op[tuple[dict[str, bytes], str]]:
        """What tasks have returned, packed, for one that uses it; where one has no result, or all together are too
        long: why that one can't run (else empty)."""
        records = yield from self.records(task_ids)
        found: dict[str, bytes] = {}
        long: list[str] = []
        size = 0
        for task_id, record in zip(task_ids, records, strict=True):
            if why := _no_result(record):
                return {}, f"{_USED.format(task_id)}: {why}"
            assert record is not None
            size += whole(record.get(b"stored") or b"", len(record.get(b"result", b"")))
            if b"stored" in record:
                long.append(task_id)
            else:
                found[task_id] = record.get(b"result", b"")
        if size > MOST_BYTES:
            return (
                {},
                f"the results among its arguments have {size:,} bytes, at most {MOST_BYTES:,} may be: {_LARGE}",
            )
        for i in range(0, len(long), AT_ONCE):
            page = long[i : i + AT_ONCE]
            for task_id, result in zip(page, (yield [("GET", self.keys.result(t)) for t in page]), strict=True):
                if result is None:
                    return {}, f"{_USED.format(task_id)}: it is no longer in Redis"
                found[task_id] = result
        return found, ""

    def _to_come(self, names: Sequence[str]) -> Op[list[dict[str, Any]]]:
        """Those that haven't ended as wanted, as they are now."""
        ids = [id_of(name) for name in names]
        records = yield from self.records(ids)
        states = yield from self.states(ids)
        found: list[dict[str, Any]] = []
        for name, record, state in zip(names, records, states, strict=True):
            kind = name.partition(":")[2] or "ok"
            if state is None or not _has_come(kind, state):
                node = text((record or {}).get(b"node")).partition(":")[0] or None
                found.append({"task_id": id_of(name), "kind": kind, "state": state, "node_id": node})
        return found


_USED = "it needs the result of task {} as an argument, which has none"
_LARGE = "let the tasks write into files or a store, and return the names"


def _no_result(record: Record | None) -> str:
    """Why a task has none; empty: it has one."""
    if not record:
        return "it was forgotten"
    if b"array" in record:
        return "it is an array: use its elements, such as list(handle.elements())"
    state = text(record[b"state"])
    return "" if state == State.COMPLETED else f"it is {state}"


def _number(request: bytes | None) -> bytes | None:
    """How many tasks it waits for, as its request says."""
    _, found, rest = (request or b"").partition(b"\nawaits=*")
    return rest.partition(b"\n")[0] if found else None


def _has_come(kind: str, state: State) -> bool:
    return state.final and (kind == "any" or (state is State.COMPLETED) == (kind != "failed"))
