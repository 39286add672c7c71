"""Questions about tasks, nodes and what happened. Nothing here writes.

Each method returns an operation (``link.Op``). Their cost is bounded by what is asked for and by the number of nodes,
not by what waits. Why a task is where it is stands in ``explain.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rq_sched.errors import NodeNotFound, TaskNotFound
from rq_sched.link import Command, Op, Row
from rq_sched.model.arrays import element_of, is_countable, sequence, unmade_count, unmade_element, unmade_member
from rq_sched.model.asked import sums
from rq_sched.model.events import Event, events_of
from rq_sched.model.fit import Place, Reservation, Room, Wish, fit_counts, pending_reason
from rq_sched.model.ids import check_id, known_id
from rq_sched.model.limits import blocking
from rq_sched.model.namespace import NamespaceInfo
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.reading import as_dict, real, text, whole
from rq_sched.model.resources import Resources
from rq_sched.model.states import FINAL, Reason, State, read_state
from rq_sched.model.task import TaskInfo
from rq_sched.store.base import PAGE
from rq_sched.store.limit_reads import LimitReads
from rq_sched.store.node_records import decode as decode_node
from rq_sched.store.parts import Record, answered, asked, with_array
from rq_sched.store.records import damaged
from rq_sched.store.records import decode as decode_task

LOG_HEAD = 64
"""Bytes at the beginning of a log by which it is known again."""
ARRAYS = 1000
"""Arrays that are looked at where something is counted."""
SOON = 20
"""Schedules of which the next is taken: those that are looked at first (one that has a queue is looked at earlier)."""
ROOMS_BATCH = 250
"""Nodes that one script call reads."""


UNREADABLE_NODE = (b"state", b"unreadable")
"""The record of a node whose key is of another type."""


class Reads(LimitReads):
    """What single tasks and nodes are, and what happened: questions that others are made of."""

    # -- tasks ------------------------------------------------------------------------------------

    def states(self, task_ids: Sequence[str]) -> Op[list[State | None]]:
        """The states of tasks; None for an unknown one."""
        found = yield from self._recorded_states(task_ids)
        missing = [t for t, state in zip(task_ids, found, strict=True) if state is None]
        unmade = yield from self.unmade(missing)
        states: dict[str, State | None] = {t: read_state(record.get(b"state")) for t, record in unmade.items()}
        late = _made_meanwhile(missing, unmade)
        states |= dict(zip(late, (yield from self._recorded_states(late)), strict=True))
        return [state or states.get(task_id) for task_id, state in zip(task_ids, found, strict=True)]

    def _recorded_states(self, task_ids: Sequence[str]) -> Op[list[State | None]]:
        records = yield from self.records(task_ids)
        return [read_state(record[b"state"]) if record else None for record in records]

    def records(self, task_ids: Sequence[str]) -> Op[list[Record | None]]:
        """The records of tasks: empty for an unknown one, None for one whose key is of another type."""
        found: list[Record | None] = []
        for i in range(0, len(task_ids), PAGE):
            page = task_ids[i : i + PAGE]
            records = answered(page, (yield [Row(command) for command in asked(self.keys, page)]))
            arrays = [t for t, record in zip(page, records, strict=True) if record and b"array" in record]
            changes = yield from self.rows([("HGETALL", self.keys.array(t)) for t in arrays])
            of_arrays = dict(zip(arrays, changes, strict=True))
            found += [
                with_array(record, of_arrays[t] or ()) if record and t in of_arrays else record
                for t, record in zip(page, records, strict=True)
            ]
        return found

    def unmade(self, task_ids: Sequence[str]) -> Op[dict[str, dict[bytes, bytes]]]:
        """Of tasks without a record the elements that aren't made yet: id → the record that it would have."""
        named = {t: element for t in task_ids if (element := element_of(t)) is not None}
        if not named:
            return {}
        array_ids = sorted({array_id for array_id, _ in named.values()})
        records = yield from self.records(array_ids)
        arrays = {a: record or {} for a, record in zip(array_ids, records, strict=True)}
        runs = yield from self.rows(
            [
                ("ZREVRANGEBYSCORE", self.keys.apart(array_id), index, "-inf", "LIMIT", 0, 1)
                for array_id, index in named.values()
            ]
        )
        found: dict[str, dict[bytes, bytes]] = {}
        for (task_id, (array_id, index)), run in zip(named.items(), runs, strict=True):
            try:
                record = unmade_element(arrays[array_id], index, run[0] if run else None)
            except (ValueError, LookupError):
                continue  # its array can't be read
            if record is not None:
                found[task_id] = record
        return found

    def status(self, task_ids: Sequence[str]) -> Op[list[TaskInfo | None]]:
        """Everything known of tasks; None for an unknown one. Why a pending one waits is worked out now."""
        infos = yield from self._read(task_ids)
        yield from self._say_why([info for info in infos if info is not None])
        return infos

    def _say_why(self, infos: Sequence[TaskInfo]) -> Op[None]:
        """Works out why those that are pending wait."""
        waiting = [info for info in infos if info.state is State.PENDING and info.reason != Reason.UNREADABLE]
        if not waiting:
            return
        rooms = yield from self.rooms()
        reservation = yield from self.reservation()
        reasons: dict[tuple[Wish, str | None], Reason] = {}
        barred = yield from self._barred(waiting, rooms, reservation)
        distinct = list({room[1:-1]: room for room in rooms}.values())  # for a reason it is enough that one is there
        for info in waiting:
            key = Wish.of(info), barred.get(info.task_id)
            if key not in reasons:
                among = rooms if info.refused else distinct
                reasons[key] = pending_reason(fit_counts(key[0], among, key[1]))
            info.reason = reasons[key]
        yield from self._say_which_are_limited([info for info in waiting if info.limits])

    def _say_which_are_limited(self, waiting: Sequence[TaskInfo]) -> Op[None]:
        """Of tasks that ask for limits, those that a limit doesn't let start."""
        if not waiting:
            return
        standings = yield from self.limit_standings(sorted({name for info in waiting for name in info.limits}))
        places = yield from self.places([info.task_id for info in waiting])
        for info, place in zip(waiting, places, strict=True):
            if info.reason not in (Reason.NO_NODES, Reason.INFEASIBLE) and blocking(info.limits, standings, place):
                info.reason = Reason.LIMITED

    def _barred(
        self, waiting: Sequence[TaskInfo], rooms: Sequence[Room], reservation: Reservation | None
    ) -> Op[dict[str, str]]:
        """Of these tasks, those that would fit on the reserved node and may not use it: task → node."""
        room = next((r for r in rooms if reservation and r.node_id == reservation.node_id), None)
        if reservation is None or room is None:
            return {}
        fitting = [
            info
            for info in waiting
            if room.fits(Wish.of(info)) and room.carries(info.require) and not room.refuses(info.refused)
        ]
        places = yield from self.places([info.task_id for info in fitting])
        now = (yield from self.now()) if any(info.time_limit for info in fitting) else 0
        barred: dict[str, str] = {}
        for info, place in zip(fitting, places, strict=True):
            ends = now + info.time_limit * 1000 if info.time_limit else None
            need = Resources(info.cpu_needed, info.memory_needed)
            if place is not None and reservation.bars(info.task_id, place, need, ends):
                barred[info.task_id] = room.node_id
        return barred

    def places(self, task_ids: Sequence[str]) -> Op[list[Place | None]]:
        """Their places in the order of pending tasks; None for one that isn't pending."""
        records = yield from self.records(task_ids)
        owners = [element_of(t) if not record else None for t, record in zip(task_ids, records, strict=True)]
        of_arrays = iter((yield from self.records([owner[0] for owner in owners if owner])))
        entries: list[tuple[str, str, str]] = []  # class, member, sequence
        for task_id, own, element in zip(task_ids, records, owners, strict=True):
            record = (next(of_arrays) if element else own) or {}
            place = text(record.get(b"turn"))
            member = place + task_id
            if b"array" in record:  # its rest stands there, for this one too
                try:
                    place = sequence(record, element[1] if element else int(record[b"next"]))
                    member = unmade_member(element[0] if element else task_id, record)
                except (ValueError, LookupError):
                    member = ""  # it can't be read: it has no place
            entries.append((text(record.get(b"class")), member, place))
        found = yield from self.rows([("ZSCORE", self.keys.pending(c), member) for c, member, _ in entries])
        return [
            None if score is None else Place(real(score), place)
            for score, (_, _, place) in zip(found, entries, strict=True)
        ]

    def _read(self, task_ids: Sequence[str]) -> Op[list[TaskInfo | None]]:
        found = yield from self.records(task_ids)
        missing = [t for t, record in zip(task_ids, found, strict=True) if not record]
        others = yield from self.unmade(missing)
        late = _made_meanwhile(missing, others)
        again = yield from self.records(late)
        others |= {t: record or {} for t, record in zip(late, again, strict=True)}
        records = [record or others.get(t, {}) for t, record in zip(task_ids, found, strict=True)]
        separate: list[Command] = []
        for task_id, record in zip(task_ids, records, strict=True):
            if b"payload" in record:
                separate.append(("GET", self.keys.payload(task_id)))
            if b"stored" in record:
                separate.append(("GET", self.keys.result(task_id)))
            if b"array" in record:
                separate.append(("SCARD", self.keys.live(task_id)))
        long = iter((yield from self.rows(separate)))
        infos: list[TaskInfo | None] = []
        for task_id, one, record in zip(task_ids, found, records, strict=True):
            payload = next(long) if b"payload" in record else None
            result = next(long) if b"stored" in record else None
            live = (next(long) or 0) if b"array" in record else 0
            if one is None:
                infos.append(damaged(task_id, "its record is a key of another type"))
            elif record and b"class" not in record:
                infos.append(damaged(task_id, "its record doesn't say what it needs"))
            else:
                infos.append(decode_task(task_id, record, payload, result, live) if record else None)
        return infos

    def result(self, task_id: str) -> Op[TaskInfo]:
        """One task with its outcome.  Raises: TaskNotFound."""
        info = (yield from self._read([known_id(task_id)]))[0]
        if info is None:
            raise TaskNotFound.of(task_id)
        return info

    def payload(self, task_id: str) -> Op[bytes]:
        """The long arguments of a task, packed; empty if there are none."""
        return (yield [("GET", self.keys.payload(task_id))])[0] or b""

    def log(self, task_id: str) -> Op[bytes]:
        """The captured output of a task."""
        return (yield [("GET", self.keys.log(task_id))])[0] or b""

    def log_from(self, task_id: str, offset: int) -> Op[tuple[bytes, bytes]]:
        """The captured output of a task from a byte on; and its first bytes, which are others once some of it was
        dropped (marks say how much)."""
        key = self.keys.log(task_id)
        new, head = yield [("GETRANGE", key, offset, -1), ("GETRANGE", key, 0, LOG_HEAD - 1)]
        return new or b"", head or b""

    def resting(self) -> Op[dict[str, dict[bytes, bytes]]]:
        """The records of arrays of which some elements aren't made yet: ``ARRAYS`` of them at most."""
        ids = [text(a) for a in (yield [("SRANDMEMBER", self.keys.arrays, ARRAYS)])[0]]
        found = yield from self.records(ids)
        return {a: record for a, record in zip(ids, found, strict=True) if record and is_countable(record)}

    # -- nodes ------------------------------------------------------------------------------------

    def nodes(self) -> Op[list[NodeInfo]]:
        """All nodes, by id; dead ones too until they are forgotten."""
        live, gone = yield [
            ("ZRANGE", self.keys.nodes, 0, -1, "WITHSCORES"),
            ("ZRANGE", self.keys.gone, 0, -1),
        ]
        runs_out = {text(live[i]): real(live[i + 1]) for i in range(0, len(live), 2)}
        ids = sorted({*runs_out, *map(text, gone)})
        records = yield from self.rows([("HGETALL", self.keys.node(n)) for n in ids])
        return [
            decode_node(n, as_dict(UNREADABLE_NODE if record is None else record), runs_out.get(n))
            for n, record in zip(ids, records, strict=True)
            if record != []
        ]

    def node(self, node_id: str) -> Op[NodeInfo]:
        """One node.  Raises: NodeNotFound."""
        record, runs_out = yield from self.rows(
            [("HGETALL", self.keys.node(check_id(node_id, "node id"))), ("ZSCORE", self.keys.nodes, node_id)]
        )
        if record is None:
            record = UNREADABLE_NODE
        if not record:
            raise NodeNotFound(f"no node {node_id}: `rq-sched nodes` lists all")
        return decode_node(node_id, as_dict(record), None if runs_out is None else real(runs_out))

    def rooms(self) -> Op[list[Room]]:
        """What all nodes that are up have: each read at one instant, some 250 a call."""
        ids = (yield [("ZRANGE", self.keys.nodes, 0, -1)])[0]
        return (yield from self.rooms_of(ids))

    def rooms_of(self, node_ids: Sequence[str | bytes]) -> Op[list[Room]]:
        """What those of these nodes have that are up."""
        calls = [self.call("node_rooms", *node_ids[i : i + ROOMS_BATCH]) for i in range(0, len(node_ids), ROOMS_BATCH)]
        texts = (yield calls) if calls else []
        rooms = [Room.parse(line) for lines in texts for line in text(lines).split("\n") if line]
        return [room for room in rooms if room is not None]

    def faults(self) -> Op[dict[str, str]]:
        """Which nodes take no tasks because of what fault of their machine."""
        ids = (yield [("ZRANGE", self.keys.nodes, 0, -1)])[0]
        texts = yield from self.paged([("HGET", self.keys.node(n.decode()), "fault") for n in ids])
        return {n.decode(): t.decode("utf-8", "replace") for n, t in zip(ids, texts, strict=True) if t is not None}

    def reservation(self) -> Op[Reservation | None]:
        """What is reserved, or about to be."""
        names = ("first", "since", "task", "score", "sequence", "node", "at", "until", "spare_cpu", "spare_memory")
        values = (yield [("HMGET", self.keys.reservation, *names)])[0]
        return Reservation.of({n: text(v) for n, v in zip(names, values, strict=True) if v is not None})

    # -- what happened ----------------------------------------------------------------------------

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

    def scheduler_seen(self) -> Op[float | None]:
        """Seconds since a scheduler was last at work (each looks for dead nodes twice a second); None: never."""
        now = yield from self.now()
        last = ((yield [("GET", self.keys.swept)])[0] or b"").rpartition(b" ")[2]
        return max(0.0, (now - int(last)) / 1000) if last.isdigit() and int(last) else None

    def counts(self) -> Op[dict[str, int]]:
        """Live and total counts as the scripts keep them."""
        flat = (yield [("HGETALL", self.keys.counts)])[0]
        return {text(name): whole(value) for name, value in as_dict(flat).items()}

    def info(self) -> Op[NamespaceInfo]:
        """Totals: tasks by state, nodes by state, capacity, what ever happened; when a scheduler was at work last."""
        counts = yield from self.counts()
        nodes = yield from self.nodes()
        started = yield from self.rows([("HGET", self.keys.node(n.node_id), "started") for n in nodes])
        unmade = {
            b"waiting": 0,
            b"delayed": 0,
            b"held": 0,
        }  # an array stands in these indexes for all that isn't made yet
        for record in (yield from self.resting()).values():
            if record[b"state"] in unmade:
                unmade[record[b"state"]] += unmade_count(record) - 1
        waiting, delayed, held, *ended = yield [
            ("ZCARD", self.keys.waiting),
            ("ZCARD", self.keys.delayed),
            ("ZCARD", self.keys.held),
            *(("ZCARD", self.keys.finished(s)) for s in sorted(FINAL)),
        ]
        alive = [n for n in nodes if n.state is not NodeState.DEAD]
        held_now = sum(n.running for n in alive)
        running = sum(whole(s) for n, s in zip(nodes, started, strict=True) if n.state is not NodeState.DEAD)
        tasks = {
            "pending": counts.get("pending", 0),
            "waiting": waiting + unmade[b"waiting"],
            "delayed": delayed + unmade[b"delayed"],
            "held": held + unmade[b"held"],
            "assigned": max(0, held_now - running),
            "running": running,
            **dict(zip((str(s) for s in sorted(FINAL)), ended, strict=True)),
        }
        tasks["failed"] += counts.get("unmade_failed", 0)
        tasks["cancelled"] += counts.get("unmade", 0) - counts.get("unmade_failed", 0)
        schedules, next_due = yield from self.schedules_due()
        total = ("submitted", "completed", "failed", "cancelled")
        return NamespaceInfo(
            namespace=self.keys.namespace,
            tasks=tasks,
            nodes={str(s): sum(n.state is s for n in nodes) for s in NodeState},
            total_cpu=sum(n.total_cpu for n in alive),
            free_cpu=sum(n.free_cpu for n in alive),
            total_memory=sum(n.total_memory for n in alive),
            free_memory=sum(n.free_memory for n in alive),
            total_resources=sums(n.total_resources for n in alive),
            free_resources=sums(n.free_resources for n in alive),
            ever={name: counts.get(name, 0) for name in total},
            faults={n.node_id: n.fault for n in nodes if n.fault},
            scheduler_seen=(yield from self.scheduler_seen()),
            schedules=schedules,
            next_due=next_due,
        )

    def schedules_due(self) -> Op[tuple[int, float | None]]:
        """How many schedules there are, and when the next of them is due."""
        keys = self.keys
        number, first = yield from self.rows(
            [("ZCARD", keys.schedules), ("ZRANGEBYSCORE", keys.schedules, "-inf", "(+inf", "LIMIT", 0, SOON)]
        )
        dues = yield from self.rows([("HGET", keys.schedule(text(name)), "due") for name in first or ()])
        return number or 0, min((int(due) / 1000 for due in dues if due and due.isdigit()), default=None)


def _made_meanwhile(missing: Sequence[str], unmade: Mapping[str, object]) -> list[str]:
    """Elements that had no record, and aren't unmade: they may have been made between these two looks."""
    return [task_id for task_id in missing if task_id not in unmade and element_of(task_id) is not None]
