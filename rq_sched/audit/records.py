"""Records and ledgers as the checker sees them: what each says of itself. None of this is shared with the scripts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rq_sched.audit import resources
from rq_sched.audit.reads import decoded, number, pairs
from rq_sched.model.amounts import resources_in
from rq_sched.model.arrays import SEQUENCES, size
from rq_sched.model.classes import group_of, need_of
from rq_sched.model.ids import ELEMENT_PATTERN, ID_PATTERN
from rq_sched.model.labels import of_suffix, refused_in, suffix
from rq_sched.model.node import NodeState
from rq_sched.model.orders import ORDERS_KEPT
from rq_sched.model.reading import whole
from rq_sched.model.resources import KIND_STEP, MEMORY_STEP, Resources
from rq_sched.model.states import FINAL, State
from rq_sched.model.task import DEFAULT_CRASH_LIMIT
from rq_sched.store.parts import answered

LAST_SEQUENCE = SEQUENCES - 1
WHOLE = (
    "at", "due", "finished", "placed", "started", "retries", "retries_used", "crashes", "crash_limit", "attempt",
    "attempts", "time_limit", "max_cpu", "max_memory", "payload", "stored", "left", "deadline", "expires",
)  # fmt: skip
"""Fields that hold a whole number from 0, where they are there."""
SEQUENCE_FORM = re.compile(r"[0-9a-f]{13}")
EXTENT = re.compile(r"\d{1,9}-\d{1,9}")
LABEL_FORM = re.compile(r"[a-z0-9._-]{1,32}")
MARKS = {State.ASSIGNED: "as", State.RUNNING: "rs"}  # state of a task → marks that its allocation may have


@dataclass(frozen=True, slots=True)
class TaskFields:
    """The record of a task, its three parts as one."""

    task_id: str
    fields: dict[str, str]

    @classmethod
    def of(cls, task_id: str, replies: Sequence[Any]) -> TaskFields | None:
        """``replies``: to ``parts.asked``."""
        (record,) = answered([task_id], replies)
        fields = {decoded(name): decoded(value) for name, value in (record or {}).items()}
        return cls(task_id, fields) if fields else None

    @property
    def state(self) -> str:
        return self.fields["state"]

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def waits(self) -> bool:
        """On no node, and not ended."""
        return not self.final and self.state not in MARKS

    @property
    def member(self) -> str:
        return self.fields.get("turn", "") + self.task_id

    def number(self, name: str, default: int = 0) -> int:
        return int(self.fields.get(name, default))

    def score(self, aging: float) -> float:
        """Its place in the order of its class (promise 4)."""
        return -self.number("priority") + aging * self.number("at") / 3_600_000

    def allocation(self) -> str:
        """CPU:MEMORY that its attempt holds."""
        return self.fields.get("allocated") or amount_text(need_of(self.fields["class"]))

    @property
    def last(self) -> int:
        """The last sequence that it has: an array's is that of its last element."""
        place = int(self.fields["turn"], 16) if SEQUENCE_FORM.fullmatch(self.fields.get("turn", "")) else 0
        return place + (size(self.fields["array"]) - 1 if EXTENT.fullmatch(self.fields.get("array", "")) else 0)

    def malformed(self) -> str | None:
        """What is wrong with it by itself."""
        if not ELEMENT_PATTERN.fullmatch(self.task_id) and not ID_PATTERN.fullmatch(self.task_id) and not self.final:
            return "its id is none"
        if (task_class := self.fields.get("class")) is not None and not group_of(task_class):
            return f"its class is {task_class!r}"
        if (place := self.fields.get("turn")) is not None and not SEQUENCE_FORM.fullmatch(place):
            return f"its place in the order is {place!r}"
        for name in WHOLE:
            if name in self.fields and whole(self.fields[name], -1, 0) < 0:
                return f"{name} is {self.fields[name]!r}"
        missing = [name for name in ("class", "turn", "at") if name not in self.fields]
        if missing:
            return f"its record lacks {', '.join(missing)}"
        if self.state not in list(State):
            return f"its state is {self.state!r}"
        if self.number("retries_used") > self.number("retries"):
            return f"{self.number('retries_used')} retries used of {self.number('retries')}"
        crashes, most = self.number("crashes"), self.number("crash_limit", DEFAULT_CRASH_LIMIT)
        if crashes > most or (crashes == most and self.state not in FINAL):
            return f"{crashes} crashes, the limit is {most}"
        return None


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """A node's record and ledger, as read at one instant."""

    record: dict[str, str]
    ledger: list[tuple[Resources, str]]  # allocation, mark
    held: list[str]  # of resources, as the entries say it

    @classmethod
    def of(cls, record: Any, ledger: Any) -> NodeSnapshot:
        entries = [decoded(value).split(":", 4) for _, value in pairs(ledger)]
        return cls(
            {name: decoded(value) for name, value in pairs(record)},
            [(Resources(int(cpu), int(memory)), mark) for _, cpu, memory, mark, *_ in entries],
            [held[0] for *_, held in ((*entry[:4], entry[4:]) for entry in entries) if held],
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
    def stands(self) -> tuple[str, ...]:
        """The names of the indexes beside ``free`` and ``totals`` in which it stands: labels and resources."""
        return (*self.labels, *resources.names(self.record.get("free_resources", "")))

    @property
    def scores(self) -> tuple[int | None, int | None]:
        """What it should have in ``free`` and in ``totals``, and in the same of each of its labels and resources."""
        if self.state != "up":
            return None, None
        total = packed_amount(Resources(self.number("total_cpu"), self.number("total_memory")))
        kinds = len(self.stands) - len(self.labels)
        return None if "reserved" in self.record else kinds * KIND_STEP + packed_amount(self.room), total

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
            return f"free is below 0: {amount_text(self.free)}"
        if self.free.plus(Resources(cpu, memory)) != total:
            return f"free {amount_text(self.free)} + allocations {cpu}:{memory} isn't the total {amount_text(total)}"
        if self.number("running") != len(self.ledger):
            return f"running is {self.number('running')}, the ledger has {len(self.ledger)} entries"
        marks = Counter(mark for _, mark in self.ledger)
        if not marks["r"] <= self.number("started") <= marks["r"] + marks["s"]:
            return f"started is {self.number('started')}, the ledger's marks are {dict(marks)}"
        return self._resource_sums()

    def _resource_sums(self) -> str | None:
        if self.state == "dead":  # nobody is given any there
            return None
        has, free = self.record.get("resources"), self.record.get("free_resources")
        try:
            ledger = resources.held(self.held)
            return resources.wrong(resources.owned(has or ""), resources.free(free or ""), ledger)
        except resources.Malformed as error:
            return f"its resources are {has!r}, free {free!r}; {str(error)!r} says nothing"

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
        if "resources" in self.record:
            said += f" {self.record['resources']}"
        if (has := self.record.get("has", said)) != said:
            return f"it has {said}, and registered with {has}"
        return None

    def indexes(self, heartbeat: Any, gone: Any, free: Any, totals: Any, ends: Any) -> str | None:
        """Which index doesn't agree, given the node's scores in them."""
        if self.state not in list(NodeState):
            return f"its state is {self.state!r}"
        if ("fault" in self.record) != (self.state == "faulty") and self.state != "draining":
            return f"it is {self.state}; its fault: {self.record.get('fault')}"
        alive = self.state != "dead"
        if (heartbeat is not None) != alive or (gone is None) != alive:
            return f"it is {self.state}; in nodes: {heartbeat is not None}, in gone: {gone is not None}"
        room, total = self.scores
        if number(free) != room:
            return f"it is {self.state} with room for {amount_text(self.room)}; its score in free is {free}, not {room}"
        if number(totals) != total:
            return f"it is {self.state}; its score in totals is {totals}, not {total}"
        right = self.number("ends") if self.state == "up" and "ends" in self.record else None
        if number(ends) != right:
            return f"it is {self.state}; its score in ends is {ends}, not {right}"
        return None

    def orders(self, kept: int, oldest: str) -> str | None:
        """Whether all are there that its agent hasn't acknowledged, and not too many others.

        Parameters:
            kept: how many orders there are.
            oldest: the first of them.
        """
        if self.state == "dead":
            return None
        ordered, acked = self.number("ordered"), self.number("acked")
        trimmed = ordered - kept
        sound = oldest.startswith(f"{trimmed + 1} ") and acked - acked % ORDERS_KEPT <= trimmed <= acked
        if "acked" not in self.record or not (sound if kept else trimmed == acked):
            return f"{kept} orders are kept, the first is {oldest!r}; {ordered} were given, {acked} acknowledged"
        return None


def packed_amount(amount: Resources) -> int:
    return amount.cpu * MEMORY_STEP + amount.memory


def amount_text(amount: Resources) -> str:
    return f"{amount.cpu}:{amount.memory}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a node that is up and not reserved has room for."""

    room: Resources
    labels: frozenset[str]
    node_id: str
    incarnation: str
    free_resources: str

    @classmethod
    def of(cls, node_id: str, record: Mapping[str, str], room: Resources) -> Offer:
        labels = frozenset(of_suffix(record.get("labels", "")))
        return cls(room, labels, node_id, record.get("incarnation", ""), record.get("free_resources", ""))

    def holds(self, task_class: str) -> bool:
        """Whether a task of this class could be put there."""
        refused = f"{self.node_id}:{self.incarnation}" in refused_in(task_class)
        carries = self.labels.issuperset(of_suffix(task_class))
        fits = need_of(task_class).fits(self.room) and resources.fits(self.free_resources, resources_in(task_class))
        return fits and carries and not refused


def largest(offers: Iterable[Offer]) -> list[Offer]:
    """Of those with the same labels and free resources, the ones of which none is within another: what fits into any
    fits into one of them."""
    fronts: dict[object, list[Offer]] = {}
    for offer in sorted(offers, key=lambda one: one.room, reverse=True):
        front = fronts.setdefault((offer.labels, offer.free_resources), [])
        if not front or offer.room.memory > front[-1].room.memory:
            front.append(offer)
    return [offer for front in fronts.values() for offer in front]
