"""Questions about tasks, nodes and what happened. Nothing here writes.

Each method returns an operation (``link.Op``). Their cost is bounded by what is asked for, not by what waits;
only ``ahead``, and so ``explain``, looks at every class that comes before the task's.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from typing import Any

from rq_sched.config import SETTINGS
from rq_sched.errors import InvalidValue, NodeNotFound, TaskNotFound
from rq_sched.event import Event, events_of
from rq_sched.keys import Keys, check_id
from rq_sched.link import Command, Op, Request
from rq_sched.node import NodeInfo, NodeState
from rq_sched.node import decode as decode_node
from rq_sched.record import decode as decode_task
from rq_sched.resources import Resources
from rq_sched.task import FINAL, Reason, State, TaskInfo, iso, need_of

PAGE = 500
"""Commands that travel together."""
SCAN_LIMIT = 20_000
"""Tasks that a filtered list looks at before it gives up: what it says stays cheap however much there is."""
SEQUENCE = 10


def as_dict(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """The reply to HGETALL."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Queries:
    """The questions; ``Store`` adds the transitions."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def _paged(self, commands: Sequence[Command]) -> Generator[Sequence[Request], list[Any], list[Any]]:
        replies: list[Any] = []
        for i in range(0, len(commands), PAGE):
            replies += yield commands[i : i + PAGE]
        return replies

    # -- tasks ------------------------------------------------------------------------------------

    def states(self, task_ids: Sequence[str]) -> Op[list[State | None]]:
        """The states of tasks; None for an unknown one."""
        replies = yield from self._paged([("HMGET", self.keys.task(t), "s", "c") for t in task_ids])
        return [State((state or b"pending").decode()) if known else None for state, known in replies]

    def status(self, task_ids: Sequence[str]) -> Op[list[TaskInfo | None]]:
        """Everything known of tasks; None for an unknown one. Why a pending one waits is worked out now."""
        infos = yield from self._read(task_ids)
        yield from self._say_why([info for info in infos if info is not None])
        return infos

    def _say_why(self, infos: Sequence[TaskInfo]) -> Op[None]:
        """Works out why those that are pending wait."""
        waiting = [info for info in infos if info.state is State.PENDING]
        nodes = (yield from self.nodes()) if waiting else []
        for info in waiting:
            info.reason = pending_reason(Resources(info.cpu_needed, info.memory_needed), nodes)

    def _read(self, task_ids: Sequence[str]) -> Op[list[TaskInfo | None]]:
        records = [
            as_dict(flat) for flat in (yield from self._paged([("HGETALL", self.keys.task(t)) for t in task_ids]))
        ]
        apart: list[Command] = []
        for task_id, record in zip(task_ids, records, strict=True):
            if b"ax" in record:
                apart.append(("GET", self.keys.payload(task_id)))
            if b"rx" in record:
                apart.append(("GET", self.keys.result(task_id)))
        long = iter((yield from self._paged(apart)))
        infos: list[TaskInfo | None] = []
        for task_id, record in zip(task_ids, records, strict=True):
            payload = next(long) if b"ax" in record else None
            result = next(long) if b"rx" in record else None
            infos.append(decode_task(task_id, record, payload, result) if b"c" in record else None)
        return infos

    def result(self, task_id: str) -> Op[TaskInfo]:
        """One task with its outcome.  Raises: TaskNotFound."""
        info = (yield from self._read([check_id(task_id)]))[0]
        if info is None:
            raise TaskNotFound(f"no task {task_id}: never submitted to this namespace, or forgotten")
        return info

    def payload(self, task_id: str) -> Op[bytes]:
        """The long arguments of a task, packed; empty if there are none."""
        return (yield [("GET", self.keys.payload(task_id))])[0] or b""

    def log(self, task_id: str, offset: int = 0) -> Op[bytes]:
        """The captured output of a task, from a byte on."""
        return (yield [("GETRANGE", self.keys.log(task_id), offset, -1)])[0] or b""

    def list_tasks(
        self,
        *,
        state: State | str | None = None,
        node: str | None = None,
        priority: int | None = None,
        limit: int = 50,
    ) -> Op[list[TaskInfo]]:
        """Tasks, at most ``limit``: running and assigned ones, pending ones in their order, delayed and held ones,
        ended ones newest first. A filter looks at 20,000 tasks at most."""
        wanted = [State(state)] if state else list(State)
        if node is not None:
            wanted = [s for s in wanted if s in (State.ASSIGNED, State.RUNNING) or s in FINAL]
        found: list[TaskInfo] = []
        if State.RUNNING in wanted or State.ASSIGNED in wanted:
            ids = yield from self._on_nodes(node)
            found += yield from self._matching(iter(ids), wanted, node, priority, limit)
        sources = [
            (State.PENDING, self._pending_page),
            (State.DELAYED, self._index_page),
            (State.HELD, self._index_page),
            *((s, self._index_page) for s in sorted(FINAL)),
        ]
        for one, page in sources:
            looked = 0
            while one in wanted and len(found) < limit and looked < SCAN_LIMIT:
                size = PAGE if (node or priority is not None) else min(PAGE, limit - len(found))
                ids = yield from page(one, looked, size)
                if not ids:
                    break
                looked += len(ids)
                found += yield from self._matching(iter(ids), [one], node, priority, limit - len(found))
        yield from self._say_why(found[:limit])
        return found[:limit]

    def _matching(
        self, ids: Any, states: Sequence[State], node: str | None, priority: int | None, limit: int
    ) -> Op[list[TaskInfo]]:
        found: list[TaskInfo] = []
        ids = list(ids)
        for i in range(0, len(ids), PAGE):
            if len(found) >= limit:
                break
            for info in (yield from self._read(ids[i : i + PAGE])):
                if info is None or info.state not in states:
                    continue
                if (node is None or info.node_id == node) and (priority is None or info.priority == priority):
                    found.append(info)
        return found[:limit]

    def _on_nodes(self, only: str | None) -> Op[list[str]]:
        nodes = yield from self.nodes()
        chosen = [n for n in nodes if only is None or n.node_id == only]
        ledgers = yield from self._paged([("HVALS", self.keys.ledger(n.node_id, n.incarnation)) for n in chosen])
        return [entry.split(b":")[0].decode() for ledger in ledgers for entry in ledger]

    def _index_page(self, state: State, offset: int, size: int) -> Op[list[str]]:
        if state is State.DELAYED or state is State.HELD:
            key, command = (self.keys.delayed if state is State.DELAYED else self.keys.held), "ZRANGE"
        else:
            key, command = self.keys.finished(state), "ZREVRANGE"
        return [t.decode() for t in (yield [(command, key, offset, offset + size - 1)])[0]]

    def _pending_page(self, state: State, offset: int, size: int) -> Op[list[str]]:
        """Pending tasks in their order over all classes: the queues are merged."""
        entries = yield from self.pending_in_order(offset + size)
        return [task_id for _, _, task_id, _ in entries[offset:]]

    def pending_in_order(self, limit: int) -> Op[list[tuple[float, str, str, str]]]:
        """The first pending tasks as (score, sequence, id, class), in the order in which they are to be placed."""
        groups = (yield [("ZRANGE", self.keys.groups, 0, -1)])[0]
        names = [group_name(member[SEQUENCE:].decode()) for member in groups]
        heads = yield from self._paged(
            [("ZRANGE", self.keys.classes(name), 0, limit - 1, "WITHSCORES") for name in names]
        )
        # Only classes whose heads are among the first `limit` can have tasks there.
        first = heapq.nsmallest(limit, ((float(h[i + 1]), h[i].decode()) for h in heads for i in range(0, len(h), 2)))
        classes = [head[SEQUENCE:] for _, head in first]
        queues = yield from self._paged([("ZRANGE", self.keys.pending(c), 0, limit - 1, "WITHSCORES") for c in classes])
        entries = (
            (float(q[i + 1]), q[i][:SEQUENCE].decode(), q[i][SEQUENCE:].decode(), c)
            for c, q in zip(classes, queues, strict=True)
            for i in range(0, len(q), 2)
        )
        return heapq.nsmallest(limit, entries)

    # -- nodes ------------------------------------------------------------------------------------

    def nodes(self) -> Op[list[NodeInfo]]:
        """All nodes, by id; dead ones too until they are forgotten."""
        live, gone = yield [
            ("ZRANGE", self.keys.nodes, 0, -1, "WITHSCORES"),
            ("ZRANGE", self.keys.gone, 0, -1),
        ]
        runs_out = {live[i].decode(): float(live[i + 1]) for i in range(0, len(live), 2)}
        ids = sorted({*runs_out, *(g.decode() for g in gone)})
        records = yield from self._paged([("HGETALL", self.keys.node(n)) for n in ids])
        return [
            decode_node(n, as_dict(record), runs_out.get(n)) for n, record in zip(ids, records, strict=True) if record
        ]

    def node(self, node_id: str) -> Op[NodeInfo]:
        """One node.  Raises: NodeNotFound."""
        record, runs_out = yield [
            ("HGETALL", self.keys.node(check_id(node_id, "node id"))),
            ("ZSCORE", self.keys.nodes, node_id),
        ]
        if not record:
            raise NodeNotFound(f"no node {node_id}: `rq-sched nodes` lists all")
        return decode_node(node_id, as_dict(record), None if runs_out is None else float(runs_out))

    # -- why, and what happened -------------------------------------------------------------------

    def explain(self, task_id: str) -> Op[dict[str, Any]]:
        """Why a task is where it is: for a pending one on how many nodes it fits now, what is short, what is ahead.

        Raises:
            TaskNotFound
        """
        found = yield from self.status([check_id(task_id)])
        info = found[0]
        if info is None:
            raise TaskNotFound(f"no task {task_id}: never submitted to this namespace, or forgotten")
        answer: dict[str, Any] = {
            "task_id": task_id,
            "state": info.state,
            "reason": info.reason,
            "attempt": info.attempt,
            "node_id": info.node_id,
            "cpu_needed": info.cpu_needed,
            "memory_needed": info.memory_needed,
        }
        if info.state is State.PENDING:
            need = Resources(info.cpu_needed, info.memory_needed)
            answer |= fit_counts(need, (yield from self.nodes()))
            answer["ahead"] = yield from self.ahead(task_id)
        elif info.error is not None:
            answer["error"] = info.error
        if info.state is State.DELAYED:
            due = (yield [("HGET", self.keys.task(task_id), "d")])[0]
            answer["due"] = iso(int(due) / 1000) if due else None
        return answer

    def ahead(self, task_id: str) -> Op[int]:
        """How many pending tasks come before this one, over all classes."""
        own = (yield [("HMGET", self.keys.task(task_id), "c", "n")])[0]
        if own[0] is None or own[1] is None:
            return 0
        sequence = own[1].decode()
        score = (yield [("ZSCORE", self.keys.pending(own[0].decode()), sequence + task_id)])[0]
        if score is None:
            return 0
        groups = (yield [("ZRANGE", self.keys.groups, 0, -1)])[0]
        heads = yield from self._paged(
            [("ZRANGEBYSCORE", self.keys.classes(group_name(g[SEQUENCE:].decode())), "-inf", score) for g in groups]
        )
        classes = [h[SEQUENCE:].decode() for group in heads for h in group]
        lower = yield from self._paged([("ZCOUNT", self.keys.pending(c), "-inf", b"(" + score) for c in classes])
        equal = 0
        for c in classes:  # among equals the sequence decides; a score's members are in the order of their sequence
            equal += yield from self._equals_before(c, score, sequence)
        return int(sum(lower)) + equal

    def _equals_before(self, task_class: str, score: bytes, sequence: str) -> Op[int]:
        """Entries of one score with a smaller sequence: a binary search by rank."""
        key = self.keys.pending(task_class)
        low, high = yield [("ZCOUNT", key, "-inf", b"(" + score), ("ZCOUNT", key, "-inf", score)]
        start = low
        while low < high:
            middle = (low + high) // 2
            member = (yield [("ZRANGE", key, middle, middle)])[0]
            if member and member[0][:SEQUENCE].decode() < sequence:
                low = middle + 1
            else:
                high = middle
        return int(low - start)

    def events(self, after: str = "-", *, limit: int = 1000, newest: bool = False) -> Op[list[Event]]:
        """The decision log after an id; with ``newest`` its last entries, in their order."""
        if newest:
            entries = (yield [("XREVRANGE", self.keys.events, "+", "-", "COUNT", limit)])[0][::-1]
        else:
            start = after if after == "-" else f"({after}"
            entries = (yield [("XRANGE", self.keys.events, start, "+", "COUNT", limit)])[0]
        return [event for entry in entries for event in events_of(entry[0], as_dict(entry[1]))]

    def events_follow(self, last_id: str, block_ms: int) -> Op[list[Event]]:
        """Wait for what comes after an id (``$``: from now on)."""
        command: Command = ("XREAD", "COUNT", 1000, "BLOCK", block_ms, "STREAMS", self.keys.events, last_id)
        reply = (yield [command])[0]
        return [
            event for _, entries in reply or [] for entry in entries for event in events_of(entry[0], as_dict(entry[1]))
        ]

    def counts(self) -> Op[dict[str, int]]:
        """Live and total counts as the scripts keep them."""
        flat = (yield [("HGETALL", self.keys.counts)])[0]
        return {name.decode(): int(value) for name, value in as_dict(flat).items()}

    def info(self) -> Op[dict[str, Any]]:
        """Totals: tasks by state, nodes by state, capacity, what ever happened."""
        counts = yield from self.counts()
        nodes = yield from self.nodes()
        started = yield from self._paged([("HGET", self.keys.node(n.node_id), "started") for n in nodes])
        delayed, held, *ended = yield [
            ("ZCARD", self.keys.delayed),
            ("ZCARD", self.keys.held),
            *(("ZCARD", self.keys.finished(s)) for s in sorted(FINAL)),
        ]
        alive = [n for n in nodes if n.state is not NodeState.DEAD]
        held_now = sum(n.running for n in alive)
        running = sum(int(s or 0) for n, s in zip(nodes, started, strict=True) if n.state is not NodeState.DEAD)
        tasks = {
            "pending": counts.get("pending", 0),
            "delayed": delayed,
            "held": held,
            "assigned": held_now - running,
            "running": running,
            **dict(zip((str(s) for s in sorted(FINAL)), ended, strict=True)),
        }
        total = ("submitted", "completed", "failed", "cancelled")
        return {
            "namespace": self.keys.namespace,
            "tasks": tasks,
            "nodes": {str(s): sum(n.state is s for n in nodes) for s in NodeState},
            "total_cpu": sum(n.total_cpu for n in alive),
            "free_cpu": sum(n.free_cpu for n in alive),
            "total_memory": sum(n.total_memory for n in alive),
            "free_memory": sum(n.free_memory for n in alive),
            "ever": {name: counts.get(name, 0) for name in total},
        }

    def settings(self) -> Op[dict[str, float]]:
        """The settings that all processes share, with their defaults."""
        flat = (yield [("HGETALL", self.keys.settings)])[0]
        known = {name.decode(): float(value) for name, value in as_dict(flat).items()}
        unknown = set(known) - set(SETTINGS)
        if unknown:
            raise InvalidValue(f"unknown setting {sorted(unknown)[0]!r} in {self.keys.settings}")
        return {name: known.get(name, default) for name, (default, _) in SETTINGS.items()}


def pending_reason(need: Resources, nodes: Sequence[NodeInfo]) -> str:
    """Why a task with this need waits, given the nodes as they are."""
    counts = fit_counts(need, nodes)
    if counts["nodes"] == 0:
        return Reason.NO_NODES
    if counts["fits_empty"] == 0:
        return Reason.INFEASIBLE
    return Reason.BEHIND if counts["fits_now"] else Reason.NO_FIT_NOW


def fit_counts(need: Resources, nodes: Sequence[NodeInfo]) -> dict[str, int]:
    """On how many of the nodes that are up a need fits now, what is short on how many, on how many it fits empty."""
    up = [n for n in nodes if n.state is NodeState.UP]
    return {
        "fits_now": sum(need.fits(n.free) for n in up),
        "nodes": len(up),
        "short_cpu": sum(need.cpu > n.free_cpu for n in up),
        "short_memory": sum(need.memory > n.free_memory for n in up),
        "fits_empty": sum(need.fits(n.total) for n in up),
    }


def group_name(task_class: str) -> str:
    """The coarse group of a class: the steps 1, 2, 3, 4, 6, 8, 12, 16, 24 … that hold its CPU and memory
    (``_queue.lua`` has the same rule; a test holds them together).

    >>> group_name("5:300")
    '6:384'
    """
    need = need_of(task_class)
    return f"{_step(need.cpu)}:{_step(need.memory)}"


def _step(amount: int) -> int:
    power = 1 << (amount - 1).bit_length()
    three_quarters = power * 3 // 4
    return three_quarters if power >= 4 and amount <= three_quarters else power
