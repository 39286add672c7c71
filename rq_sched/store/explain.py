"""Why a task is where it is, and what would become of one that isn't submitted. Nothing here writes.

The cost is bounded: the nodes are read by a script, 250 a call; tasks ahead are counted up to a bound (``position.py``;
beyond it the count is a least one, and says so: ``ahead_at_least``); of the decision log a stretch is looked through,
the newest first. Each call reads at one instant; while tasks move, the whole is as exact as a view of moving things
can be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rq_sched.errors import LimitUnknown, TaskExists, TaskNotFound
from rq_sched.link import Command, Op
from rq_sched.model.arrays import SEQUENCE, element_of, extent, owner
from rq_sched.model.asked import units
from rq_sched.model.events import Event, events_of
from rq_sched.model.explanation import Explanation
from rq_sched.model.fit import Place, Wish, fit_counts, pending_reason
from rq_sched.model.held import read_held
from rq_sched.model.ids import known_id
from rq_sched.model.limits import blocking
from rq_sched.model.node import NodeState
from rq_sched.model.reading import LAST_MS, as_dict, real, text, whole
from rq_sched.model.states import Reason, State
from rq_sched.model.surroundings import is_below
from rq_sched.model.task import TaskInfo, TaskRequest, iso
from rq_sched.store.dependencies import DependencyReads
from rq_sched.store.limit_reads import NEVER_SET
from rq_sched.store.parts import of_lines
from rq_sched.store.position import ahead
from rq_sched.store.records import decode
from rq_sched.store.requests import encode
from rq_sched.store.shared_settings import SharedSettings

LOG_BATCH = 200
"""Entries of the decision log that one script call looks through."""
LOG_BATCHES = 25
LAST = "f" * SEQUENCE  # behind every sequence number
ACTIVE = (State.ASSIGNED, State.RUNNING)


class Explain(DependencyReads, SharedSettings):
    """The questions that begin with why."""

    def explain(self, task_id: str) -> Op[Explanation]:
        """Why a task is where it is; of an array that waits all is about its ``next`` one.  Raises: TaskNotFound."""
        return Explanation.of((yield from self._explained(task_id)))

    def _explained(self, task_id: str) -> Op[dict[str, Any]]:
        """What applies of an ``Explanation``."""
        (info,) = yield from self._read([known_id(task_id)])
        if info is None:
            raise TaskNotFound.of(task_id)
        answer = _heading(info)
        if info.state is State.PENDING:
            (place,) = yield from self.places([task_id])
            if info.array is not None:
                info = yield from self._next_of(info)
                answer["next"] = info.task_id
            answer |= yield from self._waits(info, place)
        elif info.state is State.WAITING or info.reason == Reason.DEPENDENCY:
            answer |= yield from self.awaited(info)
        elif info.state is State.DELAYED or info.state is State.HELD:
            answer |= yield from self._aside_until(task_id, info.state)
        elif info.array is not None:
            pass  # its elements are somewhere, each by itself
        elif info.state in ACTIVE:
            answer |= yield from self._why_there(info)
        if info.node_id is not None and info.attempt:
            answer |= yield from self._folder_there(info)
        if info.error is not None:
            answer["error"] = info.error
        (record,) = yield from self.records([task_id])
        if record and (said := record.get(b"refusal")) is not None:
            answer["refusals"] = dict(one.partition(": ")[::2] for one in said.decode("utf-8", "replace").split("\n"))
        if info.attempt:
            answer |= yield from self._history(info)
            if info.state in ACTIVE and info.resources:
                answer["holds"] = yield from self._holds(record or {})
            if info.state in ACTIVE:
                answer |= _placing(answer["history"], info.attempt)
        return answer

    def dry_run(self, request: TaskRequest) -> Op[Explanation]:
        """What would become of a checked request if it were submitted now: as ``explain``, and nothing is written.

        ``state`` is what it would be then: ``assigned`` (it fits now), ``pending`` with the reason, ``delayed``,
        ``waiting`` (for others), ``cancelled`` (these have ended otherwise), or ``failed`` (no node could hold it, and
        it is not to wait); of an array all is about its first element. A task of this id and request that is here
        already is explained as it is.

        Raises:
            TaskExists: the id is another request's.
            DependencyNotFound: there is no such task to wait for.
            LimitUnknown: it asks for a limit that was never set.
        """
        task_id, _, digest, _ = encode(request)
        (known,) = yield from self.records([task_id])
        if known and known.get(b"digest") != digest:
            raise TaskExists(f"the id {task_id} is taken by another request: choose another id")
        if known:
            return Explanation.of((yield from self._explained(task_id)) | {"dry_run": True, "exists": True})
        now = yield from self.now()
        aging = real((yield [("HGET", self.keys.settings, "aging")])[0])
        info = _imagined(request, now)
        answer = _heading(info)
        yield from self._check_limits(info)
        answer |= yield from self._waits(info, Place(-request.priority + aging * now / 3_600_000, LAST))
        if request.delay:
            answer |= {"state": State.DELAYED, "reason": None, "due": iso(now / 1000 + request.delay)}
        elif answer["fits_now"] and "limited_by" not in answer:
            answer |= {"state": State.ASSIGNED, "reason": None}
        elif request.infeasible == "fail" and not answer["fits_empty"] and not (yield from self._may_come_back(info)):
            answer |= {"state": State.FAILED, "reason": Reason.INFEASIBLE}
        if request.after:
            answer |= yield from self.would_await(request)
        return Explanation.of(answer | {"dry_run": True, "exists": False})

    def _check_limits(self, info: TaskInfo) -> Op[None]:
        """As a submit would.  Raises: LimitUnknown."""
        for name, standing in (yield from self.limit_standings(list(info.limits))).items():
            if standing.most == NEVER_SET:
                raise LimitUnknown(
                    f"there is no limit {name}: `rq-sched limits` lists them, `rq-sched limit {name} 20` sets it"
                )

    def _may_come_back(self, info: TaskInfo) -> Op[bool]:
        """Whether a node that takes no tasks now could hold it when it does."""
        nodes = yield from self.nodes()
        away = [node for node in nodes if node.state not in (NodeState.UP, NodeState.DEAD)]
        return any(node.could_hold(Wish.of(info)) for node in away)

    def _next_of(self, info: TaskInfo) -> Op[TaskInfo]:
        """The next element of an array."""
        index = (yield [("HGET", self.keys.array(info.task_id), "next")])[0]
        return replace(info, task_id=f"{info.task_id}/{whole(index)}")

    def _aside_until(self, task_id: str, state: State) -> Op[dict[str, Any]]:
        """How long it is delayed, since when held; of an element that isn't made yet: its array."""
        names = list(dict.fromkeys((task_id, owner(task_id))))
        if state is State.DELAYED:
            found = [record.get(b"due") if record else None for record in (yield from self.records(names))]
        else:
            found = yield [("ZSCORE", self.keys.held, name) for name in names]
        at = next((real(value) for value in found if value is not None), None)
        return {"due" if state is State.DELAYED else "held_at": _time(at)}

    # -- pending ------------------------------------------------------------------------------------

    def _waits(self, info: TaskInfo, place: Place | None) -> Op[dict[str, Any]]:
        """What stands between a task and its start. ``place``: None where it has just left its queue."""
        wish = Wish.of(info)
        rooms = yield from self.rooms()
        reservation = yield from self.reservation()
        now = yield from self.now()
        barred = None
        if reservation is not None and place is not None:
            ends = now + info.time_limit * 1000 if info.time_limit else None
            barred = reservation.node_id if reservation.bars(info.task_id, place, wish.need, ends) else None
        answer: dict[str, Any] = {"reason": None, **fit_counts(wish, rooms, barred)}
        answer["reason"] = pending_reason(answer)
        standings = yield from self.limit_standings(list(info.limits))
        if limited := blocking(info.limits, standings, place):
            answer["limited_by"] = limited
            if answer["reason"] not in (Reason.NO_NODES, Reason.INFEASIBLE):
                answer["reason"] = Reason.LIMITED
        answer["missing_labels"] = {label: sum(label not in room.labels for room in rooms) for label in info.require}
        carrying = [r for r in rooms if r.carries(info.require) and not r.refuses(info.refused)]
        answer["largest_cpu"] = max((room.total.cpu for room in carrying), default=0)
        answer["largest_memory"] = max((room.total.memory for room in carrying), default=0)
        answer["largest_resources"] = {
            name: max((units(room.stocks[name].total) for room in carrying if name in room.stocks), default=0)
            for name in info.resources
        }
        before, exact = (0, True) if place is None else (yield from ahead(self, place))
        answer |= {"ahead": before, "ahead_at_least": not exact}
        answer["scheduler_seen"] = yield from self.scheduler_seen()
        answer["faults"] = yield from self.faults()
        if reservation is not None and reservation.node_id is not None:
            answer |= {
                "reserved_node": reservation.node_id,
                "reserved_task": reservation.task_id,
                "reserved_since": _time(reservation.at),
                "reserved_until": _time(reservation.until),
            }
        if reservation is not None and reservation.first == info.task_id and reservation.since is not None:
            answer |= yield from self._first_blocked(info, reservation.since)
        return answer

    def _first_blocked(self, info: TaskInfo, since: int) -> Op[dict[str, Any]]:
        """What is done for the first blocked task, and when."""
        settings = yield from self.settings()
        lower = (yield [("ZCOUNT", self.keys.preemptible, "-inf", f"({info.priority}")])[0]

        def when(name: str) -> str | None:
            seconds = float(settings.get(name, math.inf))
            return None if math.isinf(seconds) else _time(since + seconds * 1000)

        return {
            "blocked_since": _time(since),
            "reserve_at": when("reserve_after"),
            "preempt_at": when("preempt_after"),
            "preemptible": lower,
        }

    # -- placed, ended ------------------------------------------------------------------------------

    def _folder_there(self, info: TaskInfo) -> Op[dict[str, Any]]:
        """In which folder it runs on its node."""
        (found,) = yield from self.rows([("HMGET", self.keys.node(info.node_id or ""), "folders")])
        own, *allowed = text((found or [None])[0] or b"").split("\t")
        where = info.chdir or (
            info.folder if info.folder and any(is_below(info.folder, one) for one in allowed) else own
        )
        return {"runs_in": where} if own else {}

    def _why_there(self, info: TaskInfo) -> Op[dict[str, Any]]:
        """Its node as it is now, and on how many others it would fit now."""
        node: Command = (
            "HMGET",
            self.keys.node(info.node_id or ""),
            "running",
            "free_cpu",
            "free_memory",
            "state",
            "fault",
        )
        running, cpu, memory, state, fault = (yield from self.rows([node]))[0] or (None,) * 5
        counts = fit_counts(Wish.of(info), (yield from self.rooms()))
        return {
            "scheduled_at": iso(info.scheduled_at),
            "started_at": iso(info.started_at),
            "cpu_allocated": info.cpu_allocated,
            "memory_allocated": info.memory_allocated,
            "node_state": text(state) if state else None,
            "node_tasks": whole(running),
            "node_fault": text(fault) if fault else None,
            "node_free_cpu": whole(cpu),
            "node_free_memory": whole(memory),
            "fits_now": counts["fits_now"],
            "nodes": counts["nodes"],
        }

    def _holds(self, record: Mapping[bytes, bytes]) -> Op[dict[str, str]]:
        """What an attempt holds of its node's resources, as the ledger has it."""
        node_id, _, incarnation = record.get(b"node", b"").decode().partition(":")
        ledger = self.keys.ledger(node_id, incarnation)
        (entry,) = yield from self.rows([("HMGET", ledger, record.get(b"token", b""))])
        try:
            found = read_held(text((entry or [None])[0] or b"").split(":", 4)[4])
        except (ValueError, IndexError):
            return {}
        return {name: ",".join(one.indexes) or f"{one.amount}" for name, one in found.items()}

    def _history(self, info: TaskInfo) -> Op[dict[str, Any]]:
        """What the decision log says of a task: from its end, or now, back to its submit, as far as is looked."""
        begin = round((info.submitted_at or 0) * 1000)
        end = "+" if info.finished_at is None else str(round(info.finished_at * 1000) + 1000)
        found: list[Event] = []
        for _ in range(LOG_BATCHES):
            events, end = yield from self.events_about(info.task_id, str(max(0, begin - 1000)), end)
            found += events
            if not end:
                break
        found.reverse()
        first = "placed" if element_of(info.task_id) else "submitted"  # an element is submitted with its array
        complete = any(event.type == first and event.data.get("attempt", 1) == 1 for event in found)
        return {"history": [_said(event) for event in found], "history_complete": complete}

    def events_of_task(self, task_id: str, limit: int) -> Op[list[Event]]:
        """The last events of a task, the oldest first. A script looks for them, so the log itself stays in Redis."""
        found: list[Event] = []
        end = "+"
        while end and len(found) < limit:
            events, end = yield from self.events_about(task_id, "-", end, causes=False)
            found += events
        return found[:limit][::-1]

    def events_about(self, task_id: str, begin: str, end: str, *, causes: bool = True) -> Op[tuple[list[Event], str]]:
        """What a stretch of the log, from its end, says of a task: the newest first; and where to go on ('': done).

        With ``causes``, what placed the task is told with its placing, as ``by`` and ``room``: what else the same
        script did.
        """
        reply = (yield [self.call("event_find", task_id, begin, end, LOG_BATCH)])[0]
        found: list[Event] = []
        for raw_id, flat in zip(reply[1::2], reply[2::2], strict=True):
            events = events_of(raw_id, as_dict(flat))
            mine = [event for event in events if event.task_id == task_id]
            for event in mine:
                if causes and event.type == "placed":
                    event.data.update(_cause(events, event))
            found += reversed(mine)
        return found, reply[0].decode()


ROOM_MAKERS = {"completed", "failed", "cancelled", "retry", "requeued", "resized"}


def _cause(events: Sequence[Event], placed: Event) -> dict[str, Any]:
    """What the script that placed a task did beside: that is why then and there."""
    if any(event.type == "submitted" and event.task_id == placed.task_id for event in events):
        return {"by": "submit"}
    for event in events:
        if event.type in ROOM_MAKERS and event.node_id == placed.node_id and event.task_id != placed.task_id:
            return {"by": "room", "room": event.task_id}
    return {"by": "scheduler"}


def _placing(history: Sequence[dict[str, Any]], attempt: int) -> dict[str, Any]:
    """How the present attempt came to its node, where the log still says it."""
    for event in reversed(history):
        if event["type"] == "placed" and event.get("attempt") == attempt:
            return {"placed_by": event["by"], "placed_at": event["time"], "made_room_by": event.get("room")}
    return {"placed_by": None, "placed_at": None, "made_room_by": None}


def _said(event: Event) -> dict[str, Any]:
    return {"time": iso(event.time), "type": event.type, "node_id": event.node_id, **event.data}


def _time(milliseconds: float | None) -> str | None:
    return None if milliseconds is None or not 0 <= milliseconds <= LAST_MS else iso(milliseconds / 1000)


def _heading(info: TaskInfo) -> dict[str, Any]:
    of_array = {} if info.array is None else {"array": info.array, "elements": info.elements}
    places = {"chdir": info.chdir, "folder": info.folder, "expires_at": iso(info.expires_at)}
    return {
        "task_id": info.task_id,
        "state": info.state,
        "reason": info.reason,
        "attempt": info.attempt,
        "node_id": info.node_id,
        "cpu_needed": info.cpu_needed,
        "memory_needed": info.memory_needed,
        "require": info.require,
        "resources": info.resources,
        "limits": info.limits,
        "suspect": info.suspect,
        **{name: place for name, place in places.items() if place is not None},
        **of_array,
    }


def _imagined(request: TaskRequest, now: int) -> TaskInfo:
    """The task that a request would become."""
    _, task_class, _, text = encode(request)
    record = {b"class": task_class.encode(), b"at": b"%d" % now} | of_lines(text)
    if request.array is not None:
        record |= {b"array": str(request.array).encode(), b"next": b"%d" % extent(str(request.array))[0]}
    return decode(str(request.task_id), record)
