"""What should be, and the checks that see whether it is so. None of this is shared with the scripts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rq_sched.audit.arrays import Arrays
from rq_sched.audit.reads import decoded, first, number, pairs, peek
from rq_sched.link import Command, Op
from rq_sched.model.arrays import SEQUENCE, SEQUENCES, element_of, size, unmade_member
from rq_sched.model.classes import group_of, need_of
from rq_sched.model.ids import ELEMENT_PATTERN, ID_PATTERN
from rq_sched.model.labels import of_suffix, refused_in, suffix
from rq_sched.model.node import NodeState
from rq_sched.model.reading import whole
from rq_sched.model.resources import MEMORY_STEP, Resources
from rq_sched.model.states import FINAL, State
from rq_sched.model.task import DEFAULT_CRASH_LIMIT
from rq_sched.store.keys import Keys

LAST_SEQUENCE = SEQUENCES - 1
TASK_FIELDS = (
    "s",
    "c",
    "n",
    "p",
    "t",
    "k",
    "i",
    "A",
    "d",
    "F",
    "r",
    "y",
    "z",
    "C",
    "ax",
    "rx",
    "j",
    "jn",
    "u",
    "l",
    "X",
    "Y",
)
WHOLE = ("t", "d", "F", "r", "y", "z", "C", "u", "l", "X", "Y", "ax", "rx")
"""Fields that hold a whole number from 0, where they are there."""
SEQUENCE_FORM = re.compile(r"[0-9a-f]{13}")
EXTENT = re.compile(r"\d{1,9}-\d{1,9}")
LABEL_FORM = re.compile(r"[a-z0-9._-]{1,32}")
MARKS = {State.ASSIGNED: "as", State.RUNNING: "rs"}  # state of a task → marks that its allocation may have


@dataclass(frozen=True, slots=True)
class TaskFields:
    """The fields of a task's record that matter here."""

    task_id: str
    fields: dict[str, str]

    @classmethod
    def of(cls, task_id: str, reply: Sequence[Any]) -> TaskFields | None:
        fields = {name: decoded(value) for name, value in zip(TASK_FIELDS, reply, strict=True) if value is not None}
        return cls(task_id, fields) if fields else None

    @property
    def state(self) -> str:
        return self.fields.get("s", State.PENDING)

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def member(self) -> str:
        if "j" in self.fields and "jn" in self.fields:
            return unmade_member(self.task_id, {name.encode(): value.encode() for name, value in self.fields.items()})
        return self.fields.get("n", "") + self.task_id

    def number(self, name: str, default: int = 0) -> int:
        return int(self.fields.get(name, default))

    def score(self, aging: float) -> float:
        """Its place in the order of its class (promise 4)."""
        return -self.number("p") + aging * self.number("t") / 3_600_000

    def allocation(self) -> str:
        """CPU:MEMORY that its attempt holds."""
        return self.fields.get("A") or _amount(need_of(self.fields["c"]))

    @property
    def last(self) -> int:
        """The last sequence that it has: an array's is that of its last element."""
        place = int(self.fields["n"], 16) if SEQUENCE_FORM.fullmatch(self.fields.get("n", "")) else 0
        return place + (size(self.fields["j"]) - 1 if EXTENT.fullmatch(self.fields.get("j", "")) else 0)

    def malformed(self) -> str | None:
        """What is wrong with it by itself."""
        if not ELEMENT_PATTERN.fullmatch(self.task_id) and not ID_PATTERN.fullmatch(self.task_id) and not self.final:
            return "its id is none"
        if (task_class := self.fields.get("c")) is not None and not group_of(task_class):
            return f"its class is {task_class!r}"
        if (place := self.fields.get("n")) is not None and not SEQUENCE_FORM.fullmatch(place):
            return f"its place in the order is {place!r}"
        for name in WHOLE:
            if name in self.fields and whole(self.fields[name], -1, 0) < 0:
                return f"{name} is {self.fields[name]!r}"
        needed = "cntki" if self.state in MARKS else "cnt"
        missing = [name for name in needed if name not in self.fields]
        if missing:
            return f"its record lacks {', '.join(missing)}"
        if self.state not in list(State):
            return f"its state is {self.state!r}"
        if self.number("y") > self.number("r"):
            return f"{self.number('y')} retries used of {self.number('r')}"
        crashes, most = self.number("z"), self.number("C", DEFAULT_CRASH_LIMIT)
        if crashes > most or (crashes == most and self.state not in FINAL):
            return f"{crashes} crashes, the limit is {most}"
        return None


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """A node's record and ledger, as read at one instant."""

    record: dict[str, str]
    ledger: list[tuple[Resources, str]]  # allocation, mark

    @classmethod
    def of(cls, record: Any, ledger: Any) -> NodeSnapshot:
        entries = [decoded(value).split(":") for _, value in pairs(ledger)]
        return cls(
            {name: decoded(value) for name, value in pairs(record)},
            [(Resources(int(cpu), int(memory)), mark) for _, cpu, memory, mark in entries],
        )

    def number(self, name: str) -> int:
        return int(self.record.get(name, 0))

    @property
    def state(self) -> str:
        return self.record.get("state", "")

    @property
    def labels(self) -> tuple[str, ...]:
        return of_suffix(self.record.get("labels", ""))

    @property
    def scores(self) -> tuple[int | None, int | None]:
        """What it should have in ``free`` and in ``totals``, and in the same of each of its labels."""
        if self.state != "up":
            return None, None
        total = _packed(Resources(self.number("total_cpu"), self.number("total_memory")))
        return None if "reserved" in self.record else _packed(self.room), total

    @property
    def free(self) -> Resources:
        return Resources(self.number("free_cpu"), self.number("free_memory"))

    @property
    def room(self) -> Resources:
        """What a need can have: surplus is taken back for it."""
        return self.free.plus(Resources(self.number("surplus"), 0))

    def sums(self) -> str | None:
        """What doesn't add up."""
        total = Resources(self.number("total_cpu"), self.number("total_memory"))
        cpu, memory = (
            sum(allocation.cpu for allocation, _ in self.ledger),
            sum(allocation.memory for allocation, _ in self.ledger),
        )
        if self.free.cpu < 0 or self.free.memory < 0:
            return f"free is below 0: {_amount(self.free)}"
        if self.free.plus(Resources(cpu, memory)) != total:
            return f"free {_amount(self.free)} + allocations {cpu}:{memory} isn't the total {_amount(total)}"
        if self.number("running") != len(self.ledger):
            return f"running is {self.number('running')}, the ledger has {len(self.ledger)} entries"
        marks = Counter(mark for _, mark in self.ledger)
        if not marks["r"] <= self.number("started") <= marks["r"] + marks["s"]:
            return f"started is {self.number('started')}, the ledger's marks are {dict(marks)}"
        return None

    def unknown(self) -> str | None:
        """What a living node doesn't say of itself."""
        incarnation, labels = self.record.get("incarnation", ""), self.record.get("labels")
        if self.state == "dead":
            return None
        if not ID_PATTERN.fullmatch(incarnation):
            return f"its incarnation is {incarnation!r}"
        if labels is None or labels != suffix(self.labels) or any(not LABEL_FORM.fullmatch(one) for one in self.labels):
            return f"its labels are {labels!r}"
        said = f"{self.record.get('total_cpu')}:{self.record.get('total_memory')}{labels}"
        if (has := self.record.get("has", said)) != said:
            return f"it has {said}, and registered with {has}"
        return None

    def indexes(self, heartbeat: Any, gone: Any, free: Any, totals: Any, ends: Any, orders: int) -> str | None:
        """Which index doesn't agree, given the node's scores in them and how many orders are kept."""
        if self.state not in list(NodeState):
            return f"its state is {self.state!r}"
        if ("fault" in self.record) != (self.state == "faulty") and self.state != "draining":
            return f"it is {self.state}; its fault: {self.record.get('fault')}"
        alive = self.state != "dead"
        if (heartbeat is not None) != alive or (gone is None) != alive:
            return f"it is {self.state}; in nodes: {heartbeat is not None}, in gone: {gone is not None}"
        room, total = self.scores
        if number(free) != room:
            return f"it is {self.state} with room for {_amount(self.room)}; its score in free is {free}, not {room}"
        if number(totals) != total:
            return f"it is {self.state}; its score in totals is {totals}, not {total}"
        right = self.number("ends") if self.state == "up" and "ends" in self.record else None
        if number(ends) != right:
            return f"it is {self.state}; its score in ends is {ends}, not {right}"
        if alive and orders != self.number("ordered") - self.number("acked"):
            return f"{orders} orders are kept, from {self.number('acked')} to {self.number('ordered')}"
        return None


def _packed(amount: Resources) -> int:
    return amount.cpu * MEMORY_STEP + amount.memory


def _amount(amount: Resources) -> str:
    return f"{amount.cpu}:{amount.memory}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a node that is up and not reserved has room for."""

    room: Resources
    labels: frozenset[str]
    node_id: str
    incarnation: str = ""

    def holds(self, task_class: str) -> bool:
        """Whether a task of this class could be put there."""
        refused = f"{self.node_id}:{self.incarnation}" in refused_in(task_class)
        carries = self.labels.issuperset(of_suffix(task_class))
        return need_of(task_class).fits(self.room) and carries and not refused


def largest(offers: Iterable[Offer]) -> list[Offer]:
    """Of those with the same labels, the ones of which none is within another: what fits into any fits into one of
    them."""
    fronts: dict[frozenset[str], list[Offer]] = {}
    for offer in sorted(offers, key=lambda one: one.room, reverse=True):
        front = fronts.setdefault(offer.labels, [])
        if not front or offer.room.memory > front[-1].room.memory:
            front.append(offer)
    return [offer for front in fronts.values() for offer in front]


class Checks:
    """The checks of one run. Set first: ``aging``, ``rooms`` (of the nodes whose room has been offered), ``fresh``."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.arrays = Arrays(keys)
        self.aging = 0.0
        self.rooms: list[Offer] = []
        self.all_rooms: list[Offer] = []  # with those that are within others: the others may have refused
        self.fresh: set[str] = set()
        self.unplaced: list[str] = []  # tasks that seem to fit somewhere: for `room`
        self.last = 0  # the last sequence that a task was seen to have
        self._candidates: dict[str, str | None] = {}

    def record(self, task_id: str) -> Command:
        return ("HMGET", self.keys.task(task_id), *TASK_FIELDS)

    def candidate(self, task_class: str) -> str | None:
        """A node that would have room for this class."""
        if task_class not in self._candidates:
            rooms = self.all_rooms if refused_in(task_class) else self.rooms
            self._candidates[task_class] = next((one.node_id for one in rooms if one.holds(task_class)), None)
        return self._candidates[task_class]

    # -- tasks, from the record ---------------------------------------------------------------------

    def task(self, task_id: str) -> Op[str | None]:
        (reply,) = yield [self.record(task_id)]
        record = TaskFields.of(task_id, reply)
        if record is None:
            return None
        self.last = max(self.last, min(record.last, LAST_SEQUENCE - 1))
        if "j" in record.fields:
            problem = yield from self.arrays.array(task_id)
            if not problem and record.state == State.PENDING:
                self._seems_to_fit(record)
            return problem
        if problem := record.malformed():
            return problem
        element = element_of(task_id)
        separate = [(self.keys.payload(task_id), "ax"), (self.keys.result(task_id), "rx")]
        sizes = [("STRLEN", key) for key, field in separate if field in record.fields]
        live = [("SISMEMBER", self.keys.live(element[0]), element[1])] if element else []
        again, found, *more = yield [self.record(task_id), self._place(record), *live, *sizes]
        if TaskFields.of(task_id, again) != record:
            return None  # it has moved on meanwhile
        lengths = more[len(live) :]
        if element and bool(more[0]) == (record.state in FINAL):
            return f"it is {record.state}; among the elements of {element[0]} that go on: {bool(more[0])}"
        right = [record.number(field) for _, field in separate if field in record.fields]
        if lengths != right:
            return f"what is kept beside its record has {lengths} bytes, not {right}"
        if record.state == State.PENDING:
            self._seems_to_fit(record)
        return self._misplaced(record, found)

    def _seems_to_fit(self, record: TaskFields) -> None:
        if record.fields["c"] not in self.fresh and self.candidate(record.fields["c"]):
            self.unplaced.append(record.task_id)

    def _place(self, record: TaskFields) -> Command:
        """How to look it up in the index of its state."""
        if record.state == State.PENDING:
            return ("ZSCORE", self.keys.pending(record.fields["c"]), record.member)
        if record.state in MARKS:
            node_id, _, incarnation = record.fields["i"].partition(":")
            return ("HGET", self.keys.ledger(node_id, incarnation), record.fields["k"])
        return ("ZSCORE", self._waits_in(record.state), record.task_id)

    def _waits_in(self, state: str) -> str:
        if state in FINAL:
            return self.keys.finished(state)
        return self.keys.held if state == State.HELD else self.keys.delayed

    def _misplaced(self, record: TaskFields, found: Any) -> str | None:
        if found is None:
            return f"it is {record.state} and not in the index of that state"
        if record.state in MARKS:
            task_id, cpu, memory, mark = decoded(found).split(":")
            right = (record.task_id, record.allocation())
            if (task_id, f"{cpu}:{memory}") != right or mark not in MARKS[State(record.state)]:
                return f"it is {record.state} with {right[1]}; the ledger says {decoded(found)}"
            return None
        score = self._score(record)
        if score is not None and abs(float(found) - score) > 1e-6:
            return f"it is {record.state}; its score there is {float(found)}, not {score}"
        return None

    def _score(self, record: TaskFields) -> float | None:
        if record.state == State.PENDING:
            return record.score(self.aging)
        field = {State.DELAYED: "d", State.HELD: ""}.get(State(record.state), "F")
        return float(record.number(field, -1)) if field else None

    def room(self, task_id: str) -> Op[str | None]:
        """Whether it fits on a node whose room has been offered already (I11). Read at one instant only."""
        (reply,) = yield [self.record(task_id)]
        record = TaskFields.of(task_id, reply)
        if record is None or record.state != State.PENDING:
            return None
        task_class = record.fields["c"]
        node_id = self.candidate(task_class) or ""
        fresh: Command = ("ZRANGE", self.keys.fresh, 0, -1)
        asked: list[Command] = [("HGETALL", self.keys.node(node_id)), ("ZSCORE", self.keys.dirty, node_id), fresh]
        again, node_reply, dirty, entries = yield [self.record(task_id), *asked]
        node = NodeSnapshot.of(node_reply, ())
        looked_at_soon = dirty is not None or task_class in {decoded(entry)[SEQUENCE:] for entry in entries}
        if TaskFields.of(task_id, again) != record or looked_at_soon or node.state != "up":
            return None
        offer = Offer(node.room, frozenset(node.labels), node_id, node.record.get("incarnation", ""))
        if offer.holds(task_class) and "reserved" not in node.record:
            return f"needs {task_class} and waits, {node_id} has room for {_amount(node.room)}"
        return None

    # -- tasks, from the indexes --------------------------------------------------------------------

    def entry(self, index: str, state: str, member: str) -> Op[str | None]:
        """An entry of pending:CLASS, delayed, held, finished:STATE."""
        task_id = member[SEQUENCE:].removesuffix("/") if state == State.PENDING else member
        found, reply = yield [("ZSCORE", index, member), self.record(task_id)]
        if found is None:
            return None
        record = TaskFields.of(task_id, reply)
        if record is None:
            return "there is no such task"
        if state == "array":
            return None if "j" in record.fields and record.state in FINAL else f"its task is {record.state}"
        if record.state != state:
            return f"its task is {record.state}"
        if self._place(record) != ("ZSCORE", index, member):
            return f"its task has its place at {self._place(record)[1:]}"
        return None

    def allocation(self, node_id: str, incarnation: str, token: str) -> Op[str | None]:
        """An entry of a ledger."""
        get: Command = ("HGET", self.keys.ledger(node_id, incarnation), token)
        (entry,) = yield [get]
        task_id = decoded(entry).split(":")[0]
        found, reply = yield [get, self.record(task_id)]
        if found is None or found != entry:
            return None
        record = TaskFields.of(task_id, reply)
        if record is None:
            return f"there is no task {task_id}"
        if record.state not in MARKS or record.fields.get("k") != token:
            return f"task {task_id} is {record.state} with token {record.fields.get('k')}"
        if record.fields.get("i") != f"{node_id}:{incarnation}":
            return f"task {task_id} is on {record.fields.get('i')}"
        return None

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
        incarnation, labels = map(decoded, (yield [("HMGET", node, "incarnation", "labels")])[0])
        labelled = [keys.labelled(index, label) for label in of_suffix(labels) for index in ("free", "totals")]
        indexes = (keys.nodes, keys.gone, keys.free, keys.totals, keys.ends, keys.dirty, *labelled)
        *scores, record, ledger, orders = yield [
            *(("ZSCORE", index, node_id) for index in indexes),
            ("HGETALL", node),
            ("HGETALL", keys.ledger(node_id, incarnation)),
            ("LLEN", keys.orders(node_id, incarnation)),
        ]
        if not record:
            return None if scores == [None] * len(indexes) else "it is in an index and has no record"
        found = NodeSnapshot.of(record, ledger)
        if (found.record.get("incarnation"), found.record.get("labels", "")) != (incarnation, labels):
            return None
        heartbeat, gone, free, totals, ends, _, *of_labels = scores
        if problem := found.unknown() or found.sums() or found.indexes(heartbeat, gone, free, totals, ends, orders):
            return problem
        if [number(score) for score in of_labels] != [*found.scores] * len(found.labels):
            return f"it carries {labels}; its scores in {labelled} are {of_labels}, not {found.scores} each"
        return None

    def labelled(self, node_id: str, label: str) -> Op[str | None]:
        """A node stands in the indexes of a label as in those of all nodes, if it carries that label."""
        keys = self.keys
        record, *scores = yield [
            ("HGETALL", keys.node(node_id)),
            ("ZSCORE", keys.labelled("free", label), node_id),
            ("ZSCORE", keys.labelled("totals", label), node_id),
        ]
        node = NodeSnapshot.of(record, ())
        right = node.scores if label in node.labels else (None, None)
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
        exists, reply = yield [("EXISTS", f"{self.keys.prefix}{kind}:{task_id}"), self.record(task_id)]
        record = TaskFields.of(task_id, reply)
        field = {"payload": "ax", "result": "rx", "log": "c"}[kind]
        if exists and (record is None or field not in record.fields):
            return "its task is gone" if record is None else "its task's record doesn't mention it"
        return None
