"""What a task waits for: as it stands now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rq_sched.errors import DependencyNotFound
from rq_sched.link import Op
from rq_sched.model.after import id_of
from rq_sched.model.reading import text, whole
from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store.reads import Reads

NAMED = 10
"""Tasks that are named of those that one waits for."""
LOOKED_AT = 1000
"""Tasks that are looked at of those that one waits for."""


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
        """
        found = yield from self._to_come(request.after)
        for one in found:
            if one["state"] is None:
                raise DependencyNotFound(f"there is no task {one['task_id']} to wait for")
        answer = {"awaited": len(found), "awaited_of": len(request.after), "awaits": found[:NAMED]}
        if request.on_failure != "keep" and any(one["state"].final for one in found):
            answer |= {"state": State.CANCELLED, "reason": Reason.DEPENDENCY}
        elif found:
            answer |= {"state": State.WAITING, "reason": Reason.AFTER}
        return answer | {"on_failure": request.on_failure}

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


def _number(request: bytes | None) -> bytes | None:
    """How many tasks it waits for, as its request says."""
    _, found, rest = (request or b"").partition(b"\nawaits=*")
    return rest.partition(b"\n")[0] if found else None


def _has_come(kind: str, state: State) -> bool:
    return state.final and (kind == "any" or (state is State.COMPLETED) == (kind != "failed"))
