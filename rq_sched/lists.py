"""Lists of tasks: those in a state or on a node, pending ones in their order, the elements of an array. Nothing here
writes.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from rq_sched.arrays import SEQUENCE, extent
from rq_sched.errors import InvalidValue
from rq_sched.fit import group_of
from rq_sched.link import Command, Op
from rq_sched.queries import PAGE, Queries
from rq_sched.reading import real, text, whole
from rq_sched.task import FINAL, State, TaskInfo

SCAN_LIMIT = 20_000
"""Tasks that a filtered list looks at before it gives up: what it says stays cheap however much there is."""
NODES_BITE = 100
"""Nodes whose ledgers are read together."""


class Lists(Queries):
    """The questions that many tasks answer."""

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
            found = yield from self._on_nodes(wanted, node, priority, limit)
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
                found += yield from self._matching(ids, [one], node, priority, limit - len(found))
        yield from self._say_why(found[:limit])
        return found[:limit]

    def list_elements(
        self,
        array_id: str,
        *,
        state: State | str | None = None,
        node: str | None = None,
        priority: int | None = None,
        limit: int = 50,
    ) -> Op[list[TaskInfo]]:
        """Elements of an array in the order of their indexes, at most ``limit``; those that aren't made yet, too. If
        need be, all are looked through.

        Raises:
            TaskNotFound
            InvalidValue: it isn't an array.
        """
        array = yield from self.result(array_id)
        if array.array is None:
            raise InvalidValue(f"{array_id} isn't an array: it has no elements")
        wanted = [State(state)] if state else list(State)
        first, last = extent(array.array)
        made, cut = yield from self.made_stretches(array_id, first, last)
        unmade_is_wanted = array.state in wanted or (cut and State.CANCELLED in wanted)
        found: list[TaskInfo] = []
        for begin, end in [(first, last)] if unmade_is_wanted else made:
            for start in range(begin, end + 1, PAGE):
                if len(found) >= limit:
                    break
                ids = [f"{array_id}/{index}" for index in range(start, min(start + PAGE, end + 1))]
                states = yield from self.states(ids)
                there = [task_id for task_id, one in zip(ids, states, strict=True) if one in wanted]
                found += yield from self._matching(there, wanted, node, priority, limit - len(found))
        yield from self._say_why(found)
        return found

    def made_stretches(self, array_id: str, first: int, last: int) -> Op[tuple[list[tuple[int, int]], bool]]:
        """From which index to which the elements of an array were made: in their turn, then before it; and whether some
        were cancelled without."""
        (begun, cut), runs = yield [
            ("HMGET", self.keys.task(array_id), "jn", "jx"),
            ("ZRANGE", self.keys.apart(array_id), 0, -1, "WITHSCORES"),
        ]
        in_turn = (first, min(last, whole(cut or begun, first) - 1))
        before = [(whole(begin), min(whole(end, -1), last)) for end, begin in zip(runs[::2], runs[1::2], strict=True)]
        return [in_turn, *before], cut is not None

    def _matching(
        self, ids: Sequence[str], states: Sequence[State], node: str | None, priority: int | None, limit: int
    ) -> Op[list[TaskInfo]]:
        found: list[TaskInfo] = []
        for i in range(0, len(ids), PAGE):
            if len(found) >= limit:
                break
            for info in (yield from self._read(ids[i : i + PAGE])):
                if info is None or info.state not in states:
                    continue
                if (node is None or info.node_id == node) and (priority is None or info.priority == priority):
                    found.append(info)
        return found[:limit]

    def _on_nodes(
        self, states: Sequence[State], only: str | None, priority: int | None, limit: int
    ) -> Op[list[TaskInfo]]:
        """What nodes hold, some nodes at a time until there is enough."""
        live, gone = yield [("ZRANGE", self.keys.nodes, 0, -1), ("ZRANGE", self.keys.gone, 0, -1)]
        ids = sorted(map(text, {*live, *gone})) if only is None else [only]
        found: list[TaskInfo] = []
        for i in range(0, len(ids), NODES_BITE):
            bite = ids[i : i + NODES_BITE]
            records = yield from self._rows([("HMGET", self.keys.node(n), "incarnation", "running") for n in bite])
            busy: list[Command] = [
                ("HVALS", self.keys.ledger(n, text(record[0])))
                for n, record in zip(bite, records, strict=True)
                if record and record[0] and record[1] != b"0"
            ]
            ledgers = yield from self._rows(busy)
            tasks = [text(entry.split(b":")[0]) for ledger in ledgers for entry in ledger or ()]
            found += yield from self._matching(tasks, states, only, priority, limit - len(found))
            if len(found) >= limit:
                break
        return found

    def _index_page(self, state: State, offset: int, size: int) -> Op[list[str]]:
        if state is State.DELAYED or state is State.HELD:
            key, command = (self.keys.delayed if state is State.DELAYED else self.keys.held), "ZRANGE"
        else:
            key, command = self.keys.finished(state), "ZREVRANGE"
        return [text(t) for t in (yield [(command, key, offset, offset + size - 1)])[0]]

    def _pending_page(self, state: State, offset: int, size: int) -> Op[list[str]]:
        """Pending tasks in their order over all classes: the queues are merged."""
        entries = yield from self.pending_in_order(offset + size)
        return [task_id for _, _, task_id, _ in entries[offset:]]

    def pending_in_order(self, limit: int) -> Op[list[tuple[float, str, str, str]]]:
        """The first pending tasks as (score, sequence, id, class), in the order in which they are to be placed."""
        groups = (yield [("ZRANGE", self.keys.groups, 0, -1)])[0]
        names = dict.fromkeys(name for member in groups if (name := group_of(member[SEQUENCE:])))
        heads = yield from self._rows(
            [("ZRANGE", self.keys.classes(name), 0, limit - 1, "WITHSCORES") for name in names]
        )
        # Only classes whose heads are among the first `limit` can have tasks there.
        scored = ((real(h[i + 1]), text(h[i])) for h in heads for i in range(0, len(h or ()), 2))
        classes = list(dict.fromkeys(head[SEQUENCE:] for _, head in heapq.nsmallest(limit, scored)))
        queues = yield from self._rows([("ZRANGE", self.keys.pending(c), 0, limit - 1, "WITHSCORES") for c in classes])
        entries = (
            (real(q[i + 1]), text(q[i][:SEQUENCE]), text(q[i][SEQUENCE:]).removesuffix("/"), c)
            for c, q in zip(classes, queues, strict=True)
            for i in range(0, len(q or ()), 2)
        )
        return heapq.nsmallest(limit, entries)
