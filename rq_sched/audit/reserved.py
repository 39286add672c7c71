"""Checks at what is kept for one task or lent by another: the reservation, the preemptible attempts, surplus cores."""

from __future__ import annotations

from rq_sched.audit.reads import decoded, number, pairs
from rq_sched.link import Command, Op
from rq_sched.model.arrays import element_of, unmade_element
from rq_sched.model.classes import need_of
from rq_sched.model.states import State
from rq_sched.store.keys import Keys
from rq_sched.store.parts import Record, answered, asked, with_array

NEEDED = ("task", "class", "score", "sequence", "node", "incarnation", "spare_cpu", "spare_memory")


class ReservedChecks:
    """The checks of one run."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def reservation(self) -> Op[str | None]:
        """The node that is kept is up and says so, its task waits, and what is spare adds up."""
        read: Command = ("HGETALL", self.keys.reservation)
        before = {name: decoded(value) for name, value in pairs((yield [read])[0])}
        if "node" not in before:
            return None  # nothing is reserved yet
        missing = [name for name in NEEDED if name not in before]
        if missing:
            return f"it lacks {', '.join(missing)}"
        node_id, task_id = before["node"], before["task"]
        fields = ("state", "incarnation", "reserved", "total_cpu", "total_memory")
        again, node, tokens, *parts = yield [
            read,
            ("HMGET", self.keys.node(node_id), *fields),
            ("HKEYS", self.keys.ledger(node_id, before["incarnation"])),
            *asked(self.keys, [task_id]),
        ]
        (task,) = answered([task_id], parts)
        if not task and (element := element_of(task_id)):
            task = yield from self._unmade(*element)
        if {name: decoded(value) for name, value in pairs(again)} != before:
            return None
        state, incarnation, reserved, *total = map(decoded, node)
        if (state, incarnation, reserved) != ("up", before["incarnation"], task_id):
            return f"node {node_id} is {state or 'unknown'} ({incarnation}), reserved for {reserved or 'nobody'}"
        state, task_class, turn = (decoded((task or {}).get(name)) for name in (b"state", b"class", b"turn"))
        if (state, task_class, turn) != (State.PENDING, before["class"], before["sequence"]):
            return f"its task {task_id} is {state or 'gone'}, class {task_class}, sequence {turn}"
        return self._spare(before, [int(amount) for amount in total], {decoded(token) for token in tokens})

    def _unmade(self, array_id: str, index: int) -> Op[Record]:
        """The record that an element which isn't made yet would have."""
        changes, run, *parts = yield [
            ("HGETALL", self.keys.array(array_id)),
            ("ZREVRANGEBYSCORE", self.keys.apart(array_id), index, "-inf", "LIMIT", 0, 1),
            *asked(self.keys, [array_id]),
        ]
        (array,) = answered([array_id], parts)
        return (unmade_element(with_array(array, changes), index, run[0] if run else None) or {}) if array else {}

    def _spare(self, record: dict[str, str], total: list[int], tokens: set[str]) -> str | None:
        lent = {name[1:]: need_of(value) for name, value in record.items() if name.startswith("+")}
        gone = sorted(lent.keys() - tokens)
        if gone:
            return f"{gone[0]} uses what is spare and isn't on the node"
        need = need_of(record["class"])
        cpu = int(record["spare_cpu"]) + sum(used.cpu for used in lent.values()) + need.cpu
        memory = int(record["spare_memory"]) + sum(used.memory for used in lent.values()) + need.memory
        if [cpu, memory] != total:
            return f"its need + what is spare + what is lent is {cpu}:{memory}, the node has {total[0]}:{total[1]}"
        return None

    def node(self, node_id: str) -> Op[str | None]:
        """What a node says of a reservation, and of surplus cores."""
        incarnation = decoded((yield [("HGET", self.keys.node(node_id), "incarnation")])[0])
        path = self.keys.ledger(node_id, incarnation)
        node, kept, grown, tokens = yield [
            ("HMGET", self.keys.node(node_id), "incarnation", "reserved", "surplus", "state"),
            ("HMGET", self.keys.reservation, "node", "task"),
            ("HGETALL", path.removesuffix("tasks") + "grown"),
            ("HKEYS", path),
        ]
        current, reserved, surplus, state = map(decoded, node)
        if current != incarnation:
            return None
        if reserved and (node_id, reserved) != tuple(map(decoded, kept)):
            return f"it is reserved for {reserved}, which the reservation doesn't say"
        cores = {token: int(value) for token, value in pairs(grown)}
        gone = sorted(cores.keys() - {decoded(token) for token in tokens})
        if gone and state != "dead":
            return f"surplus of {gone[0]}, which isn't on its ledger"
        if state != "dead" and sum(cores.values()) != int(surplus or 0):
            return f"surplus is {surplus or 0}, its attempts have {sum(cores.values())}"
        return None

    def entry(self, member: str) -> Op[str | None]:
        """An entry of the preemptible attempts has its attempt on the node."""
        token, _, node_id = member.partition(" ")
        incarnation = decoded((yield [("HGET", self.keys.node(node_id), "incarnation")])[0])
        found, current, entry, lost = yield [
            ("ZSCORE", self.keys.preemptible, member),
            ("HGET", self.keys.node(node_id), "incarnation"),
            ("HGET", self.keys.ledger(node_id, incarnation), token),
            ("SMEMBERS", self.keys.lost),
        ]
        if found is None or decoded(current) != incarnation:
            return None
        if entry is None and not any(decoded(one).startswith(f"{node_id}:") for one in lost):
            return f"{token} isn't on the ledger of {node_id}"
        return None

    def attempt(self, node_id: str, incarnation: str, token: str) -> Op[str | None]:
        """An attempt that may be preempted stands in the index by its priority, while its node is alive: from a ledger
        that is being given back nobody is preempted."""
        get: Command = ("HGET", self.keys.ledger(node_id, incarnation), token)
        entry = decoded((yield [get])[0])
        task_id = entry.split(":")[0]
        again, score, node, *parts = yield [
            get,
            ("ZSCORE", self.keys.preemptible, f"{token} {node_id}"),
            ("HMGET", self.keys.node(node_id), "incarnation", "state"),
            *asked(self.keys, [task_id]),
        ]
        task = answered([task_id], parts)[0] or {}
        if decoded(node[0]) != incarnation or node[1] == b"dead":
            return None
        if decoded(again) != entry or b"preemptible" not in task or decoded(task.get(b"token")) != token:
            return None
        right = float(task.get(b"priority", 0))
        if number(score) != right and (score is not None or not entry.endswith(":s")):
            return f"task {task_id} is preemptible with priority {right:g}; its score there is {number(score)}"
        return None
