"""The judge: knows from outside Redis what was acknowledged and what really ran, and looks at the invariants.

After every script that placed something: the order (I10) and each node's sums (I2), from the raw records. At every
fault, and every so many scripts: the whole audit (I1, I2, I8, I11). At each event: one outcome (I3), no false death
(I7), no attempt after an acknowledged end (I6), no task in two places at once, each death charged to whom it should be
(I4, ``charges.py``). Within the bound after each death: its tasks are given back (I5). At the end: every task is where
it belongs (I1, I4, I6), everything is free, nothing is left.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from rq_sched import audit
from rq_sched.link.scripts import Call
from rq_sched.model.amounts import limits_in
from rq_sched.model.arrays import owner, unmade_count, unmade_element
from rq_sched.model.classes import need_of
from rq_sched.model.labels import of_suffix, refused_in
from rq_sched.model.reading import as_dict
from rq_sched.model.resources import Resources
from rq_sched.model.states import FINAL, State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store import Store
from rq_sched.store.parts import Record
from tests.faults.sim.charges import CLEARS, Charges, History
from tests.faults.sim.clockwork import Violated, World
from tests.faults.sim.graphs import Graphs
from tests.faults.sim.limits import Limits
from tests.faults.sim.machines import Behaviour, Machine, Run
from tests.faults.sim.network import Network
from tests.faults.sim.people import Known, KnownArray
from tests.faults.sim.schedules import Schedules
from tests.faults.sim.trouble import Scheduler, Trouble

News = list[tuple[str, list[str]]]
ITEM = re.compile(r"([^@#=]+)(?:@([^#=]+))?(?:#(\d+))?(?:=(.*))?")
NOTICED = 2.0
"""Seconds beside the time to live until the tasks of a dead node must be given back."""
SEEN = 2.5
"""… where the parent has seen the death: 1 s, and what this network may cost."""

RECONCILED = 1.5
"""Times to live until agents must agree with a Redis that has lost writes, beside 1 s."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the judge knew at some time: each task's history, and the answer to who wanted its end."""

    history: dict[str, History]
    answers: dict[str, tuple[str | None, float]]


NODE_FIELDS = ("free_cpu", "free_memory", "total_cpu", "total_memory", "labels", "incarnation")

REST_ENDS = {"cancelling": State.CANCELLED, "expired": State.FAILED, "infeasible": State.FAILED}
"""Events of an array that end what isn't made of it."""


class Judge:
    """Watches one simulation."""

    def __init__(
        self,
        world: World,
        network: Network,
        store: Store,
        known: dict[str, Known],
        arrays: dict[str, KnownArray],
        machines: dict[str, Machine],
        schedulers: list[Scheduler],
    ) -> None:
        self.world = world
        self.network = network
        self.store = store
        self.known = known
        self.arrays = arrays
        self.machines = machines
        self.schedulers = schedulers
        self.trouble: Trouble
        self.schedules = (
            Schedules(world.schedules, network, store, self.violated, self._appeared) if world.schedules else None
        )
        self.limits = Limits(world.limits, store) if world.limits else None
        self.runs: dict[str, list[Run]] = defaultdict(list)
        self.history: dict[str, History] = defaultdict(History)
        self.looked: Counter[str] = Counter()
        self.charges = Charges(
            known, machines, self.runs, self.history, self.looked, lambda: self.trouble.lost, self.violated
        )
        self.graphs = Graphs(known, self.looked, self.violated)
        self.every = 60  # scripts between two audits
        self._since_audit = 0

    def violated(self, what: str) -> None:
        raise Violated(what)

    # -- as it goes ---------------------------------------------------------------------------------

    def executed(self, call: Call, reply: Any, news: News) -> None:
        """A script was carried out."""
        self._since_audit += 1
        if self.schedules is not None:
            self.schedules.executed(call, news)
        for kind, items in news:
            note = getattr(self, f"_{kind}", None)
            parsed = [ITEM.fullmatch(item) for item in items]
            if any(found is None for found in parsed):
                self.violated(f"an unreadable event: {kind} {items}")
            tasks = [found for found in parsed if found is not None and found[1] not in self.arrays]
            self.looked[f"arrays {kind}"] += len(items) - len(tasks)
            if kind in REST_ENDS:
                self._rest_ended(REST_ENDS[kind], [found[1] for found in parsed if found is not None])
            if note is not None:
                note(call, [found.groups() for found in tasks])
            if kind in CLEARS:
                self._needs([found[1] for found in tasks])
        self.graphs.check()
        if self._since_audit >= self.every:
            self.audit("now and then")

    def _rest_ended(self, state: State, ids: list[str]) -> None:
        """What isn't made of an array has ended with it: nothing is said of each."""
        for array_id in self.arrays.keys() & set(ids):
            for element in self.arrays[array_id].elements:
                if not self.history[element].placed:
                    self.graphs.ended(element, state)

    def _appeared(self, task_id: str, request: TaskRequest, behaviour: Behaviour) -> None:
        """A schedule has made a task."""
        self.known[task_id] = Known(request, behaviour, acked=True)
        self.looked["made by schedules"] += 1

    def _needs(self, ids: list[str]) -> None:
        """Whoever has just ended, or failed and waits, needs what it was submitted with."""
        for task_id, record in zip(ids, self.network.run_plainly(self.store.records(ids)), strict=True):
            if record:
                self.charges.needs(task_id, record[b"class"], record.get(b"asked"), pending=False)

    def audit(self, why: str) -> None:
        """Everything in Redis adds up."""
        self._since_audit = 0
        self.looked["audits"] += 1
        problems = audit.problems(self.network.run_plainly(audit.check(self.store.keys.namespace)))
        if problems:
            self.violated(f"({why}) " + "; ".join(str(problem) for problem in problems))

    # -- when writes are lost (durability ``memory``) -----------------------------------------------

    def remember(self) -> Memory:
        """What has happened so far, as Redis has it too."""
        return Memory(
            {task_id: replace(history, placed=[*history.placed]) for task_id, history in self.history.items()},
            {task_id: (known.end_answer, known.end_acked) for task_id, known in self.known.items()},
        )

    def forget_since(self, memory: Memory) -> None:
        """Redis has lost what happened since: what was acknowledged then is no longer promised. All else is."""
        if self.schedules is not None:
            self.schedules.forget()
        self.history.clear()
        self.history.update(memory.history)
        exist = self.network.plainly(*(("EXISTS", self.store.keys.task(owner(task_id))) for task_id in self.known))
        for array_id, state in self._array_states().items():
            array = self.arrays[array_id]
            array.acked, array.end_acked = array.acked and state is not None, 0.0
        for (task_id, known), exists in zip(self.known.items(), exist, strict=True):
            known.acked = known.acked and bool(exists)
            known.end_answer, known.end_acked = memory.answers.get(task_id, (None, 0.0))

    def _placed(self, call: Call, items: list[Any]) -> None:
        for task_id, _, attempt, _ in items:
            self.graphs.placed(task_id)
            self.history[task_id].placed.append(self.world.now)
            self.history[task_id].attempt = int(attempt)
            known = self.known[task_id]
            if known.end_acked and known.end_answer in ("cancelled", "stopping"):
                self.violated(f"{task_id} was placed after the end that a person was promised")
            array = self.arrays.get(owner(task_id))
            if array is not None and array.end_acked:
                self.violated(f"{task_id} was placed after its array was cancelled for good")
        self.looked["placed"] += len(items)
        self._order([(task_id, node_id) for task_id, node_id, _, _ in items])

    def _order(self, placed: list[tuple[str, str]]) -> None:
        """No earlier task fits where a later one was just put (I10), nobody has less than nothing (I2), and each task
        is where all labels are that it requires."""
        ids, nodes = list(self.known), list(self.machines)
        keys = self.store.keys
        replies = self.network.plainly(*(("HMGET", keys.node(node), *NODE_FIELDS) for node in nodes))
        records = self.network.run_plainly(self.store.records(ids))
        tasks = {task_id: record for task_id, record in zip(ids, records, strict=True) if record}
        left = self._left_of_limits(tasks)
        tasks |= self._next_elements()
        free, carried, places = {}, {}, {}
        for node, (cpu, memory, total_cpu, total_memory, labels, incarnation) in zip(nodes, replies, strict=True):
            if cpu is None:
                continue
            places[node] = f"{node}:{(incarnation or b'').decode()}"
            free[node], carried[node] = Resources(int(cpu), int(memory)), set(of_suffix((labels or b"").decode()))
            if int(cpu) < 0 or int(memory) < 0 or int(cpu) > int(total_cpu) or int(memory) > int(total_memory):
                self.violated(f"{node} has {free[node]} free of {total_cpu} {total_memory}")
        pending = [
            (
                _rank(record),
                need_of(record[b"class"].decode()),
                set(of_suffix(record[b"class"].decode())),
                refused_in(record[b"class"].decode()),
                limits_in(record[b"class"].decode()),
                task_id,
            )
            for task_id, record in tasks.items()
            if record[b"state"] == b"pending"
        ]
        for task_id, record in tasks.items():
            if record[b"state"] == b"pending":
                self.charges.needs(task_id, record[b"class"], record.get(b"asked"), pending=True)
        for task_id, node in reversed(placed):
            if int(tasks[task_id].get(b"expires", 2**60)) <= self.network.clock:
                self.violated(f"{task_id} was placed after its deadline")
            task_class, order = tasks[task_id][b"class"], _rank(tasks[task_id])
            need = need_of(task_class.decode())
            require = set(self.known[task_id].request.require)
            if not require <= carried[node]:
                self.violated(f"{task_id} requires {require} and was put on {node}, which carries {carried[node]}")
            self.looked["placed by label"] += bool(require)
            if places[node] in refused_in(task_class.decode()):
                self.violated(f"{task_id} was put on {node}, which has refused it")
            free[node] = free[node].plus(need)
            left.update(limits_in(task_class.decode()))
            passed_over = [
                name
                for rank, other, labels, refused, limits, name in pending
                if rank < order
                and other.fits(free[node])
                and labels <= carried[node]
                and places[node] not in refused
                and all(number <= left[limit] for limit, number in limits.items())
            ]
            if passed_over and not self.is_reserved(node):
                self.violated(f"{task_id} was put on {node} before {passed_over}, with {free[node]} free")

    def _left_of_limits(self, tasks: dict[str, Record]) -> Counter[str]:
        """What is left of limits (I2)."""
        if self.limits is None:
            return Counter()
        keys = self.store.keys
        most, kept = self.network.plainly(("HGETALL", keys.limits), ("HGETALL", keys.limits_kept))
        try:
            return self.limits.left(tasks, as_dict(most), as_dict(kept))
        except AssertionError as error:
            raise Violated(str(error)) from None

    def _next_elements(self) -> dict[str, Record]:
        """Of each array that waits the first element that isn't made: as its record would be."""
        found: dict[str, Record] = {}
        records = self.network.run_plainly(self.store.records([*self.arrays]))
        for array_id, record in zip(self.arrays, records, strict=True):
            if record and unmade_count(record) and (element := unmade_element(record, int(record[b"next"]), None)):
                found[f"{array_id}/{int(record[b'next'])}"] = element
        self.looked["elements that wait"] += len(found)
        return found

    def is_reserved(self, node: str) -> bool:
        return self.network.plainly(("HGET", self.store.keys.node(node), "reserved"))[0] is not None

    def _dead(self, call: Call, items: list[Any]) -> None:
        """Nobody who is well and connected is declared dead (I7)."""
        if call.script.name != "node_sweep":
            return
        for node_id, _, _, _ in items:
            machine = self.machines[node_id]
            self.world.tell(f"{node_id} is declared dead")
            process = machine.process
            (incarnation,) = self.network.plainly(("HGET", self.store.keys.node(node_id), "incarnation"))
            if incarnation != machine.incarnation.encode() or incarnation == machine.previous.encode():
                continue  # an older one: this one's registration was lost, or hasn't come yet
            well = machine.on and process is not None and process.alive and not process.frozen
            if well and not machine.partitioned and self.world.now - machine.trouble > machine.config.ttl:
                self.violated(f"{node_id} is well and connected, and was declared dead")

    def _faulty(self, call: Call, items: list[Any]) -> None:
        """Nobody says that of a machine that never broke."""
        for node_id, _, _, _ in items:
            self.looked["faults"] += 1
            if not self.machines[node_id].faults:
                self.violated(f"{node_id} says that it has a fault, and nothing befell it")

    def _recovered(self, call: Call, items: list[Any]) -> None:
        for node_id, _, _, _ in items:
            self.looked["recoveries"] += 1
            machine = self.machines[node_id]
            began, ended = machine.faults[-1]
            if ended == math.inf and self.world.now - began > machine.config.ttl:
                self.violated(f"{node_id} takes tasks again, and is broken since {self.world.now - began:.1f} s")

    def _started(self, call: Call, items: list[Any]) -> None:
        for task_id, _, _, _ in items:
            self.history[task_id].started |= {self.history[task_id].attempt}

    def _end(self, state: State, call: Call, items: list[Any]) -> None:
        for task_id, node_id, attempt, why in items:
            history = self.history[task_id]
            self.charges.ended(call, task_id, node_id, int(attempt or 0), why)
            self.graphs.ended(task_id, state)
            history.ends += 1
            self.looked[f"ended {state}"] += 1
            if history.ends > 1 + history.asked:
                self.violated(f"{task_id} has ended twice, the last time {state}")

    def _completed(self, call: Call, items: list[Any]) -> None:
        self._end(State.COMPLETED, call, items)

    def _failed(self, call: Call, items: list[Any]) -> None:
        self._end(State.FAILED, call, items)

    def _cancelled(self, call: Call, items: list[Any]) -> None:
        self._end(State.CANCELLED, call, items)

    def _requeued(self, call: Call, items: list[Any]) -> None:
        for task_id, node_id, attempt, why in items:
            self.history[task_id].asked += why == "asked"
            self.charges.back(call, task_id, node_id, int(attempt or 0), why)

    def _retry(self, call: Call, items: list[Any]) -> None:
        for task_id, node_id, attempt, why in items:
            self.charges.ended(call, task_id, node_id, int(attempt or 0), why)

    def ran(self, run: Run) -> None:
        """A task begins to run on a machine: nowhere else does it run, unless somebody there can't know better."""
        for other in self.runs[run.task_id]:
            if other.ended is None and not self._excused(other):
                self.violated(
                    f"{run.task_id} begins on {run.machine.node_id} and still runs on {other.machine.node_id}"
                )
        self.runs[run.task_id].append(run)

    def _excused(self, run: Run) -> bool:
        machine = run.machine
        process = machine.process
        frozen = machine.frozen or (process is not None and process.frozen)
        ttl = machine.config.ttl
        if frozen or self.world.now - machine.thawed < 0.2 or self.world.now - self.trouble.redis_trouble < ttl:
            return True
        return self.world.now - self.trouble.lost < RECONCILED * ttl + 1

    def died(self, machine: Machine, incarnation: str, seen: bool) -> None:
        """An agent was killed: its tasks must be given back in time (I5)."""
        if not incarnation:
            return
        then = self.world.now
        seen = seen and not machine.partitioned  # else nobody hears of what the parent has seen
        bound = SEEN if seen else machine.config.ttl + NOTICED
        # What it had sent, a registration too, may arrive when its line is whole again: its lease begins only then.
        apart = seen or machine.partitioned
        self.world.at(bound, lambda: self._given_back(machine, incarnation, apart, then))

    def _given_back(self, machine: Machine, incarnation: str, apart: bool, then: float) -> None:
        disturbed = self.network.down or self.trouble.redis_trouble >= then or (apart and machine.hindered >= then)
        if disturbed or not any(scheduler.well and scheduler.since < then for scheduler in self.schedulers):
            return
        self.looked["given back in time"] += 1
        ledger = self.store.keys.ledger(machine.node_id, incarnation)
        (left,) = self.network.plainly(("HLEN", ledger))
        if left:
            self.violated(f"{machine.node_id}:{incarnation} died {self.world.now - then:.1f} s ago and holds {left}")

    # -- at the end ---------------------------------------------------------------------------------

    def tasks(self) -> dict[str, TaskInfo | None]:
        ids = list(self.known)
        return dict(zip(ids, self.network.run_plainly(self.store.status(ids)), strict=True))

    def all_final(self) -> bool:
        """Whether nothing is left to do."""
        if not all(state is None or state.final for state in self._array_states().values()):
            return False
        records = self.network.run_plainly(self.store.records([*self.known]))
        return all(not record or record[b"state"].decode() in FINAL for record in records)

    def ends(self) -> None:
        """Everything has ended: rightly?"""
        self.audit("at the end")
        for task_id, info in self.tasks().items():
            known = self.known[task_id]
            if info is None:
                if known.acked:
                    self.violated(f"{task_id} was accepted and is gone")
                continue
            if info.state not in FINAL:
                self.violated(f"{task_id} never ended: it is {info.state} ({info.reason}) on {info.node_id}")
            self._judge(info, known)
        for array_id, state in self._array_states().items():
            array = self.arrays[array_id]
            if state is None and array.acked:
                self.violated(f"{array_id} was accepted and is gone")
            if state is not None and not state.final:
                self.violated(f"{array_id} never ended: it is {state}")
        for node in self.network.run_plainly(self.store.nodes()):
            if node.running or node.free != node.total:
                self.violated(f"{node.node_id} has {node.running} running and {node.free} free of {node.total}")

    def _array_states(self) -> dict[str, State | None]:
        ids = [*self.arrays]
        return dict(zip(ids, self.network.run_plainly(self.store.states(ids)), strict=True))

    def _judge(self, info: TaskInfo, known: Known) -> None:
        """One task's end, its attempts, its costs."""
        runs = self.runs[info.task_id]
        name, state = info.task_id, info.state
        self._judge_cancel(info, known)
        if info.crashes != self.history[name].crashes:
            seen = self.history[name].crashes
            self.violated(f"{name} is charged {info.crashes} crashes, and {seen} happened: {[run.how for run in runs]}")
        if state == State.COMPLETED:
            run = next((run for run in runs if run.token == info.result), None)
            if known.behaviour.kind != "ok" or run is None or run.how != "done":
                self.violated(f"{name} is completed, but that never happened: {info.result} {runs}")
        if known.requeued:
            return  # it counts anew
        used = info.retries - info.retries_left
        if used > info.retries or used > sum(run.how == "error" for run in runs):
            self.violated(f"{name} has used {used} retries: {[run.how for run in runs]}")
        if state == State.FAILED and info.reason == "error" and used < info.retries:
            self.violated(f"{name} has failed with {info.retries_left} retries left")
        if info.reason == "expired":
            self.looked["expired"] += 1
            if known.request.deadline is None or (self.history[name].started and not self.trouble.lost):
                self.violated(f"{name} has expired; its deadline {known.request.deadline}, runs {runs}")
        elif info.reason == "infeasible" and known.request.infeasible == "fail":
            self.looked["infeasible"] += 1
        elif state == State.FAILED and info.reason not in ("error", "poison"):
            self.violated(f"{name} has failed because of {info.reason}")
        if (info.reason == "poison") != (info.crashes >= info.crash_limit):
            self.violated(f"{name} has ended {state} ({info.reason}) with {info.crashes} crashes of {info.crash_limit}")
        if state == State.CANCELLED and not known.to_end and not self.graphs.may_be_cancelled(info):
            self.violated(f"{name} is cancelled, and nobody wanted that")

    def _judge_cancel(self, info: TaskInfo, known: Known) -> None:
        answer = known.end_answer
        if answer in ("cancelled", "stopping") and info.state != State.CANCELLED:
            self.violated(f"{info.task_id} was cancelled for good ({answer}), and is {info.state}")
        if answer is not None and answer.startswith("already") and answer != f"already {info.state}":
            self.violated(f"a cancel of {info.task_id} was told {answer}; it is {info.state}")

    def leftovers(self) -> None:
        """Everything is forgotten: nothing is left (I8)."""
        for i, (array_id, state) in enumerate(self._array_states().items()):
            if state is not None and i % 2:  # with all its elements; the others go with the last of theirs
                self.network.run_plainly(self.store.forget_ids([array_id]))
        ids = [task_id for task_id, info in self.tasks().items() if info is not None]
        for task_id in ids:
            if self.network.run_plainly(self.store.states([task_id]))[0] is not None:
                self.network.run_plainly(self.store.forget_ids([task_id]))
        left = audit.problems(self.network.run_plainly(audit.leftovers(self.store.keys.namespace)))
        if left:
            self.violated("; ".join(str(problem) for problem in left))


def _rank(record: Record) -> tuple[int, bytes]:
    """Its place in the order."""
    return -int(record.get(b"priority", 0)), record[b"turn"]


def unpacked(result: bytes) -> Any:
    return msgpack.unpackb(result)
