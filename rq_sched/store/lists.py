"""Lists of tasks: those in a state or on a node, pending ones in their order, the elements of an array. Nothing here
writes.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from rq_sched.errors import InvalidValue
from rq_sched.link import Command, Op
from rq_sched.model.arrays import SEQUENCE, extent
from rq_sched.model.classes import group_of
from rq_sched.model.reading import real, text
from rq_sched.model.states import FINAL, State
from rq_sched.model.task import TaskInfo
from rq_sched.store.base import PAGE
from rq_sched.store.elements import made_stretches
from rq_sched.store.indexes import Index, merged
from rq_sched.store.reads import Reads

SCAN_LIMIT = 20_000
"""Tasks that a filtered list looks at before it gives up: what it says stays cheap however much there is."""
ALL = 2**40
"""More tasks than there are."""
NODES_BATCH = 100
"""Nodes whose ledgers are read together."""

ACTIVE = frozenset({State.ASSIGNED, State.RUNNING})
SHOWN = {State.RUNNING: 0, State.ASSIGNED: 0, State.PENDING: 1, State.WAITING: 2, State.DELAYED: 3, State.HELD: 4}
"""The order in which a list shows what hasn't ended."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks are asked for."""

    states: frozenset[State]
    node: str | None
    priority: int | None
    tags: Mapping[str, str]

    @property
    def filters(self) -> bool:
        """Whether more must be looked at than is found."""
        return self.node is not None or self.priority is not None or bool(self.tags)

    def takes(self, info: TaskInfo) -> bool:
        return (
            info.state in self.states
            and (self.node is None or info.node_id == self.node)
            and (self.priority is None or info.priority == self.priority)
            and self.tags.items() <= info.tags.items()
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """The answer to a list. ``more``: more match than were asked for; ``gave_up``: a filter has looked at as many as it
    may, so that more may match."""

    tasks: list[TaskInfo]
    more: bool = False
    gave_up: bool = False


class Lists(Reads):
    """The questions that many tasks answer."""

    def list_tasks(
        self,
        *,
        state: State | str | None = None,
        node: str | None = None,
        priority: int | None = None,
        tags: Mapping[str, str] | None = None,
        limit: int = 50,
    ) -> Op[Listed]:
        """Tasks, at most ``limit``, each once: running and assigned ones, pending ones in their order, waiting, delayed
        and held ones, ended ones newest first. A filter looks at 20,000 of each of these kinds at most."""
        wanted = Wanted(frozenset([State(state)] if state else State), node, priority, tags or {})
        found: dict[str, TaskInfo] = {}
        gave_up = False
        # In the order of their lives, so that one that moves on meanwhile is met later, and at most twice.
        for kind in ({State.WAITING}, {State.DELAYED}, {State.HELD}, {State.PENDING}, ACTIVE, FINAL):
            if not wanted.states & kind or (node is not None and not kind & (ACTIVE | FINAL)):
                continue
            if kind is FINAL and len(found) > limit:
                break  # they come last
            some, cut = yield from self._search(kind, wanted, limit + 1)
            found |= {info.task_id: info for info in some}
            gave_up = gave_up or cut
        tasks = sorted(found.values(), key=_shown_order)
        yield from self._say_why(tasks[:limit])
        return Listed(tasks[:limit], len(tasks) > limit, gave_up)

    def _search(self, kind: Set[State], wanted: Wanted, most: int) -> Op[tuple[list[TaskInfo], bool]]:
        """The first of one kind that are wanted, and whether there may be more that weren't looked at."""
        if kind == ACTIVE:
            return (yield from self._on_nodes(wanted, most)), False
        indexes = yield from self._indexes(kind, SCAN_LIMIT if wanted.filters else most)
        found: list[TaskInfo] = []
        looked = 0
        while len(found) < most and not (wanted.filters and looked >= SCAN_LIMIT):
            size = SCAN_LIMIT - looked if wanted.filters else most - len(found)
            entries = yield from merged(indexes, min(PAGE, size))
            if not entries:
                return found, False
            looked += len(entries)
            cut = SEQUENCE if kind == {State.PENDING} else 0
            ids = [text(entry.member[cut:]).removesuffix("/") for entry in entries]
            found += yield from self._matching(ids, wanted, most - len(found))
        return found, len(found) < most and any(one.more for one in indexes)

    def _indexes(self, kind: Set[State], reach: int) -> Op[list[Index]]:
        """Where tasks of a kind stand in their order. ``reach``: so many are looked at, at most."""
        if kind == FINAL:
            return [Index(self.keys.finished(one), one, reverse=True) for one in sorted(FINAL)]
        if kind == {State.PENDING}:
            return (yield from self.pending_indexes(reach))
        (state,) = kind
        return [Index({State.WAITING: self.keys.waiting, State.DELAYED: self.keys.delayed}.get(state, self.keys.held))]

    def list_elements(
        self,
        array_id: str,
        *,
        state: State | str | None = None,
        node: str | None = None,
        priority: int | None = None,
        tags: Mapping[str, str] | None = None,
        limit: int = 50,
    ) -> Op[Listed]:
        """Elements of an array in the order of their indexes, at most ``limit``; those that aren't made yet, too. If
        need be, all are looked through.

        Raises:
            TaskNotFound
            InvalidValue: it isn't an array.
        """
        array = yield from self.result(array_id)
        if array.array is None:
            raise InvalidValue(f"{array_id} isn't an array: it has no elements")
        wanted = Wanted(frozenset([State(state)] if state else State), node, priority, tags or {})
        first, last = extent(array.array)
        made, cut = yield from made_stretches(self.keys, array_id, first, last)
        unmade_is_wanted = array.state in wanted.states or (cut and State.CANCELLED in wanted.states)
        found: list[TaskInfo] = []
        for begin, end in [(first, last)] if unmade_is_wanted else made:
            for start in range(begin, end + 1, PAGE):
                if len(found) > limit:
                    break
                ids = [f"{array_id}/{index}" for index in range(start, min(start + PAGE, end + 1))]
                states = yield from self.states(ids)
                there = [task_id for task_id, one in zip(ids, states, strict=True) if one in wanted.states]
                found += yield from self._matching(there, wanted, limit + 1 - len(found))
        yield from self._say_why(found[:limit])
        return Listed(found[:limit], len(found) > limit)

    def _matching(self, ids: Sequence[str], wanted: Wanted, limit: int) -> Op[list[TaskInfo]]:
        found: list[TaskInfo] = []
        for i in range(0, len(ids), PAGE):
            if len(found) >= limit:
                break
            infos = yield from self._read(ids[i : i + PAGE])
            found += [info for info in infos if info is not None and wanted.takes(info)]
        return found[:limit]

    def _on_nodes(self, wanted: Wanted, limit: int) -> Op[list[TaskInfo]]:
        """What nodes hold, some nodes at a time until there is enough."""
        node_ids = (yield from self._known_nodes()) if wanted.node is None else [wanted.node]
        found: list[TaskInfo] = []
        for i in range(0, len(node_ids), NODES_BATCH):
            task_ids = yield from self._held_by(node_ids[i : i + NODES_BATCH])
            found += yield from self._matching(task_ids, wanted, limit - len(found))
            if len(found) >= limit:
                break
        return found

    def _known_nodes(self) -> Op[list[str]]:
        live, gone = yield [("ZRANGE", self.keys.nodes, 0, -1), ("ZRANGE", self.keys.gone, 0, -1)]
        return sorted(map(text, {*live, *gone}))

    def _held_by(self, node_ids: Sequence[str]) -> Op[list[str]]:
        """The ids of the tasks on these nodes."""
        records = yield from self.rows([("HMGET", self.keys.node(n), "incarnation", "running") for n in node_ids])
        busy: list[Command] = [
            ("HVALS", self.keys.ledger(n, text(record[0])))
            for n, record in zip(node_ids, records, strict=True)
            if record and record[0] and record[1] != b"0"
        ]
        ledgers = yield from self.rows(busy)
        return [text(entry.split(b":")[0]) for ledger in ledgers for entry in ledger or ()]

    def ids_on_nodes(self) -> Op[list[str]]:
        """The ids of all tasks that are on nodes."""
        return (yield from self._held_by((yield from self._known_nodes())))

    def pending_indexes(self, limit: int = ALL) -> Op[list[Index]]:
        """The queues in which the first pending tasks are."""
        return [Index(self.keys.pending(one), one) for one in (yield from self._first_classes(limit))]

    def _first_classes(self, limit: int) -> Op[list[str]]:
        """The classes in which the first pending tasks are: those whose heads are among the first ``limit``."""
        groups = (yield [("ZRANGE", self.keys.groups, 0, -1)])[0]
        names = dict.fromkeys(name for member in groups if (name := group_of(member[SEQUENCE:])))
        heads = yield from self.rows(
            [("ZRANGE", self.keys.classes(name), 0, limit - 1, "WITHSCORES") for name in names]
        )
        scored = ((real(h[i + 1]), text(h[i])) for h in heads for i in range(0, len(h or ()), 2))
        return list(dict.fromkeys(head[SEQUENCE:] for _, head in heapq.nsmallest(limit, scored)))

    def pending_in_order(self, limit: int) -> Op[list[tuple[float, str, str, str]]]:
        """The first pending tasks as (score, sequence, id, class), in the order in which they are to be placed."""
        entries = yield from merged((yield from self.pending_indexes(limit)), limit)
        return [
            (e.score, text(e.member[:SEQUENCE]), text(e.member[SEQUENCE:]).removesuffix("/"), e.name) for e in entries
        ]


def _shown_order(info: TaskInfo) -> tuple[int, float]:
    """What runs, what waits in the order in which it was read, what has ended: the newest first."""
    if info.state.final:
        return len(SHOWN), -(info.finished_at or 0.0)
    return SHOWN[info.state], 0.0
