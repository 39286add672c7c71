"""What should be, and the checks that see whether it is so. None of this is shared with the scripts."""

from __future__ import annotations

from typing import Any

from rq_sched.audit.arrays import Arrays
from rq_sched.audit.dependencies import Dependencies
from rq_sched.audit.limits import blocked, held_by, reads_of
from rq_sched.audit.reads import decoded, first, number, peek
from rq_sched.audit.records import LAST_SEQUENCE, MARKS, NodeSnapshot, Offer, TaskFields, amount_text
from rq_sched.audit.resources import names
from rq_sched.link import Command, Op
from rq_sched.model.amounts import limits_in
from rq_sched.model.arrays import SEQUENCE, element_of
from rq_sched.model.classes import group_of
from rq_sched.model.labels import of_suffix, refused_in
from rq_sched.model.states import FINAL, State
from rq_sched.store.keys import Keys
from rq_sched.store.parts import asked

PARTS = 3
"""Replies that make up the record of a task."""


class Checks:
    """The checks of one run. Set first: ``aging``, ``rooms`` (of the nodes whose room has been offered), ``fresh``."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.arrays = Arrays(keys)
        self.dependencies = Dependencies(keys)
        self.aging = 0.0
        self.rooms: list[Offer] = []
        self.all_rooms: list[Offer] = []  # with those that are within others: the others may have refused
        self.fresh: set[str] = set()
        self.unplaced: list[str] = []  # tasks that seem to fit somewhere: for `room`
        self.last = 0  # the last sequence that a task was seen to have
        self._candidates: dict[str, str | None] = {}

    def read(self, task_id: str, *more: Command) -> Op[tuple[TaskFields | None, list[Any]]]:
        """The record of a task, and the replies to more reads at the same time."""
        replies = yield [*asked(self.keys, [task_id]), *more]
        return TaskFields.of(task_id, replies[:PARTS]), replies[PARTS:]

    def candidate(self, task_class: str) -> str | None:
        """A node that would have room for this class."""
        if task_class not in self._candidates:
            rooms = self.all_rooms if refused_in(task_class) else self.rooms
            self._candidates[task_class] = next((one.node_id for one in rooms if one.holds(task_class)), None)
        return self._candidates[task_class]

    # -- tasks, from the record ---------------------------------------------------------------------

    def task(self, task_id: str) -> Op[str | None]:
        record, _ = yield from self.read(task_id)
        if record is None:
            return None
        self.last = max(self.last, min(record.last, LAST_SEQUENCE - 1))
        if "array" in record.fields:
            problem, waits = yield from self.arrays.array(task_id)
            if waits:
                self._seems_to_fit(record)
            return problem
        if problem := record.malformed():
            return problem
        element = element_of(task_id)
        separate = [(self.keys.payload(task_id), "payload"), (self.keys.result(task_id), "stored")]
        sizes = [("STRLEN", key) for key, field in separate if field in record.fields]
        live = [("SISMEMBER", self.keys.live(element[0]), element[1])] if element else []
        deadline: list[Command] = [("ZSCORE", self.keys.expiring, task_id)] if "expires" in record.fields else []
        again, (found, *more) = yield from self.read(task_id, self._place(record), *live, *deadline, *sizes)
        if again != record:
            return None  # it has moved on meanwhile
        lengths = more[len(live) + len(deadline) :]
        right_deadline = record.number("expires") if record.waits else None
        if deadline and number(more[len(live)]) != right_deadline:
            return f"it is {record.state}; its deadline in expiring is {number(more[len(live)])}, not {right_deadline}"
        if element and bool(more[0]) == (record.state in FINAL):
            return f"it is {record.state}; among the elements of {element[0]} that go on: {bool(more[0])}"
        right = [record.number(field) for _, field in separate if field in record.fields]
        if lengths != right:
            return f"what is kept beside its record has {lengths} bytes, not {right}"
        problem = self._misplaced(record, found)
        if not problem and record.state == State.PENDING:
            self._seems_to_fit(record)
        return problem

    def _seems_to_fit(self, record: TaskFields) -> None:
        if record.fields["class"] not in self.fresh and self.candidate(record.fields["class"]):
            self.unplaced.append(record.task_id)

    def _place(self, record: TaskFields) -> Command:
        """How to look it up in the index of its state."""
        if record.state == State.PENDING:
            return ("ZSCORE", self.keys.pending(record.fields["class"]), record.member)
        if record.state in MARKS:
            node_id, _, incarnation = record.fields["node"].partition(":")
            return ("HGET", self.keys.ledger(node_id, incarnation), record.fields["token"])
        return ("ZSCORE", self._waits_in(record.state), record.task_id)

    def _waits_in(self, state: str) -> str:
        if state in FINAL:
            return self.keys.finished(state)
        return {State.HELD: self.keys.held, State.WAITING: self.keys.waiting}.get(State(state), self.keys.delayed)

    def _misplaced(self, record: TaskFields, found: Any) -> str | None:
        if found is None:
            return f"it is {record.state} and not in the index of that state"
        if record.state in MARKS:
            task_id, cpu, memory, mark = decoded(found).split(":")[:4]
            right = (record.task_id, record.allocation())
            if (task_id, f"{cpu}:{memory}") != right or mark not in MARKS[State(record.state)]:
                return f"it is {record.state} with {right[1]}; the ledger says {decoded(found)}"
            if (wanted := limits_in(record.fields["class"])) != held_by(decoded(found)):
                return f"it takes {wanted} of limits; the ledger says {decoded(found)}"
            return None
        score = self._score(record)
        if score is not None and abs(float(found) - score) > 1e-6:
            return f"it is {record.state}; its score there is {float(found)}, not {score}"
        return None

    def _score(self, record: TaskFields) -> float | None:
        if record.state == State.PENDING:
            return record.score(self.aging)
        field = {State.DELAYED: "due", State.HELD: "", State.WAITING: "at"}.get(State(record.state), "finished")
        return float(record.number(field, -1)) if field else None

    def room(self, task_id: str) -> Op[str | None]:
        """Whether it fits on a node whose room has been offered already (I11). Read at one instant only."""
        record, _ = yield from self.read(task_id)
        if record is None or record.state != State.PENDING:
            return None
        task_class = record.fields["class"]
        node_id = self.candidate(task_class) or ""
        fresh: Command = ("ZRANGE", self.keys.fresh, 0, -1)
        more: list[Command] = [("HGETALL", self.keys.node(node_id)), ("ZSCORE", self.keys.dirty, node_id), fresh]
        again, (node_reply, dirty, entries, *limits) = yield from self.read(
            task_id, *more, *reads_of(self.keys, task_class)
        )
        node = NodeSnapshot.of(node_reply, ())
        coming = {decoded(entry)[SEQUENCE:] for entry in entries}
        looked_at_soon = dirty is not None or task_class in coming
        if wanted := limits_in(task_class).keys():  # who leaves `fresh` brings those behind it that ask for the same
            looked_at_soon = looked_at_soon or any(wanted & limits_in(one).keys() for one in coming)
            looked_at_soon = looked_at_soon or blocked(task_class, limits, record.member, record.score(self.aging))
        if again != record or looked_at_soon or node.state != "up":
            return None
        offer = Offer.of(node_id, node.record, node.room)
        if offer.holds(task_class) and "reserved" not in node.record:
            return f"needs {task_class} and waits, {node_id} has room for {amount_text(node.room)}"
        return None

    # -- tasks, from the indexes --------------------------------------------------------------------

    def entry(self, index: str, state: str, member: str) -> Op[str | None]:
        """An entry of pending:CLASS, delayed, held, finished:STATE."""
        task_id = member[SEQUENCE:].removesuffix("/") if state == State.PENDING else member
        record, (found,) = yield from self.read(task_id, ("ZSCORE", index, member))
        if found is None:
            return None
        if record is None:
            return "there is no such task"
        if "array" in record.fields:
            return (yield from self.arrays.entry(index, state, member, task_id))
        if state == "array":
            return "its task is no array"
        if record.state != state:
            return f"its task is {record.state}"
        if self._place(record) != ("ZSCORE", index, member):
            return f"its task has its place at {self._place(record)[1:]}"
        return None

    def deadline(self, task_id: str) -> Op[str | None]:
        """An entry of expiring."""
        record, (found,) = yield from self.read(task_id, ("ZSCORE", self.keys.expiring, task_id))
        if found is None:
            return None
        if record is None or "expires" not in record.fields:
            return "its task has no deadline for its first start" if record else "there is no such task"
        if "array" in record.fields:
            return (yield from self.arrays.deadline(task_id))
        return None if record.waits else f"its task is {record.state}"

    def allocation(self, node_id: str, incarnation: str, token: str) -> Op[str | None]:
        """An entry of a ledger."""
        get: Command = ("HGET", self.keys.ledger(node_id, incarnation), token)
        (entry,) = yield [get]
        task_id = decoded(entry).split(":")[0]
        record, (found,) = yield from self.read(task_id, get)
        if found is None or found != entry:
            return None
        if record is None:
            return f"there is no task {task_id}"
        if record.state not in MARKS or record.fields.get("token") != token:
            return f"task {task_id} is {record.state} with token {record.fields.get('token')}"
        if record.fields.get("node") != f"{node_id}:{incarnation}":
            return f"task {task_id} is on {record.fields.get('node')}"
        return None

    def placed(self, task_id: str) -> Op[str | None]:
        """An entry of ``placed`` is an attempt of a task. (That it is on its node's ledger the task's check sees.)"""
        record, (entry,) = yield from self.read(task_id, ("HGET", self.keys.placed, task_id))
        if entry is None:
            return None
        if record is None or "class" not in record.fields:
            return "there is no such task"
        return None if record.state in MARKS else f"it isn't where an attempt is: {decoded(entry)!r}"

    # -- heads, nodes, keys beside a record ---------------------------------------------------------

    def head(self, queue: str, index: str, name: str) -> Op[str | None]:
        """The head of a queue is in its index: as sequence + ``name``, or, where that is empty, as it is."""
        head = first((yield [peek(queue)])[0])
        if head is None:
            return None
        entry = head[0][:SEQUENCE] + name if name else head[0]
        again, found = yield [peek(queue), ("ZSCORE", index, entry)]
        if first(again) == head and number(found) != head[1]:
            return f"its head {entry} has score {head[1]}; in the index {number(found)}"
        return None

    def indexed_head(self, index: str, member: str, queue: str, name: str) -> Op[str | None]:
        """An entry of an index of heads is the head of its queue, and in the right index."""
        found, reply = yield [("ZSCORE", index, member), peek(queue)]
        if found is None:
            return None
        head = first(reply)
        right = head and (head[0][:SEQUENCE] + name if name else head[0], head[1])
        if right != (member, float(found)):
            return f"it has score {float(found)}; the head of its queue is {right}"
        if name and index != self.keys.classes(group_of(name)):
            return f"its class belongs to group {group_of(name)}"
        return None

    def node(self, node_id: str) -> Op[str | None]:
        """A node's ledger and indexes add up."""
        keys, node = self.keys, self.keys.node(node_id)
        fields = ("incarnation", "labels", "free_resources")
        incarnation, labels, free_text = map(decoded, (yield [("HMGET", node, *fields)])[0])
        stands = (*of_suffix(labels), *names(free_text))
        labelled = [keys.labelled(index, name) for name in stands for index in ("free", "totals")]
        indexes = (keys.nodes, keys.gone, keys.free, keys.totals, keys.ends, keys.dirty, *labelled)
        *scores, record, ledger, orders, oldest = yield [
            *(("ZSCORE", index, node_id) for index in indexes),
            ("HGETALL", node),
            ("HGETALL", keys.ledger(node_id, incarnation)),
            ("LLEN", keys.orders(node_id, incarnation)),
            ("LINDEX", keys.orders(node_id, incarnation), 0),
        ]
        if not record:
            return None if scores == [None] * len(indexes) else "it is in an index and has no record"
        found = NodeSnapshot.of(record, ledger)
        if (found.record.get("incarnation", ""), found.stands) != (incarnation, stands):
            return None
        heartbeat, gone, free, totals, ends, _, *of_labels = scores
        problem = found.unknown() or found.sums() or found.indexes(heartbeat, gone, free, totals, ends)
        if problem := problem or found.orders(orders, decoded(oldest or b"")):
            return problem
        if [number(score) for score in of_labels] != [*found.scores] * len(found.stands):
            return f"its scores in {labelled} are {of_labels}, not {found.scores} each"
        return None

    def labelled(self, node_id: str, label: str) -> Op[str | None]:
        """A node stands in the indexes of a label, or of a resource, as in those of all nodes, if it has that."""
        keys = self.keys
        record, *scores = yield [
            ("HGETALL", keys.node(node_id)),
            ("ZSCORE", keys.labelled("free", label), node_id),
            ("ZSCORE", keys.labelled("totals", label), node_id),
        ]
        node = NodeSnapshot.of(record, ())
        right = node.scores if label in node.stands else (None, None)
        found = (number(scores[0]), number(scores[1]))
        return None if found == right else f"its scores in free and totals of {label} are {found}, not {right}"

    def answered(self, node_id: str, incarnation: str, key: str) -> Op[str | None]:
        """A ledger or list of orders belongs to a live incarnation, or to one whose tasks are being given back."""
        exists, (current, state), *lost = yield [
            ("EXISTS", key),
            ("HMGET", self.keys.node(node_id), "incarnation", "state"),
            *(("SISMEMBER", self.keys.lost, f"{node_id}:{incarnation}:{how}") for how in ("crashed", "alone", "left")),
        ]
        alive = decoded(current) == incarnation and state != b"dead"
        if exists and not alive and not any(lost):
            return "its incarnation is gone, and nobody gives back what it holds"
        return None

    def beside(self, kind: str, task_id: str) -> Op[str | None]:
        """What is kept beside a record has a record that says so."""
        record, (exists,) = yield from self.read(task_id, ("EXISTS", f"{self.keys.prefix}{kind}:{task_id}"))
        field = {"payload": "payload", "result": "stored", "log": "class", "ended": "class"}[kind]
        if exists and (record is None or field not in record.fields):
            return "its task is gone" if record is None else "its task's record doesn't mention it"
        return None
