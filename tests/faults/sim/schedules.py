"""Schedules in the simulation: who makes them, and the judge of what they make.

A due time is passed once: the schedule moves on, never back, and each of its times got a task, or was skipped and
counted. What a failover has lost, it has lost of both.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rq_sched.link import Command
from rq_sched.link.scripts import Call
from rq_sched.model.due import DueTimes
from rq_sched.model.reading import whole
from rq_sched.model.schedule import Schedule, scheduled_by
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.faults.sim.machines import Behaviour
from tests.faults.sim.network import Network

KINDS = [  # interval in s, overlap, catch_up: a clock that jumps by hours must not make thousands of tasks
    (1, "skip", "last"),
    (2, "queue", "last"),
    (2, "allow", "last"),
    (1, "skip", "none"),
    (900, "allow", "all"),
    (900, "queue", "all"),
]


@dataclass(slots=True)
class KnownSchedule:
    """What is known of a schedule outside Redis."""

    schedule: Schedule
    whole: bool = True  # nobody has paused it, or run it by hand: then all its times are accounted for


class Schedules:
    """All schedules of a simulation.

    Parameters:
        rng: decides what people ask for.
        appeared: told of each task that one has made, with what it asks for and how it behaves.
    """

    def __init__(
        self,
        rng: random.Random,
        network: Network,
        store: Store,
        violated: Callable[[str], None],
        appeared: Callable[[str, TaskRequest, Behaviour], None],
    ) -> None:
        self.rng = rng
        self.network = network
        self.store = Store(store.keys.namespace, now_ms=lambda: network.clock)
        self.violated = violated
        self.appeared = appeared
        self.known: dict[str, KnownSchedule] = {}
        self._made: set[str] = set()
        self._due: dict[str, int] = {}
        self._last: dict[str, str] = {}  # the task that each made last

    # -- what people do -----------------------------------------------------------------------------

    def act(self) -> Any:
        """What somebody asks for next: an operation."""
        if len(self.known) < 2 or self.rng.random() < 0.3:
            schedule = self._schedule(f"every{len(self.known)}")
            self.known[schedule.name] = KnownSchedule(schedule)
            return lambda: self.store.schedule_add(schedule)
        name = self.rng.choice(sorted(self.known))
        verb = self.rng.choice(["again", "again", "pause", "resume", "resume", "run"])
        if verb == "again":
            return lambda: self.store.schedule_add(self.known[name].schedule)
        self.known[name].whole = False
        return lambda: getattr(self.store, f"schedule_{verb}")(name)

    def _schedule(self, name: str) -> Schedule:
        seconds, overlap, catch_up = self.rng.choice(KINDS)
        request = TaskRequest("m:f", cpu_needed=1, memory_needed=100, retries=1).check()
        return Schedule(name, DueTimes(interval=1000 * seconds), request, overlap, catch_up)

    # -- the judge ----------------------------------------------------------------------------------

    def executed(self, call: Call, news: list[tuple[str, list[str]]]) -> None:
        """A script was carried out."""
        for task_id in (item for kind, items in news if kind == "submitted" for item in items):
            name = scheduled_by(task_id)
            if name not in self.known:
                continue
            if task_id in self._made:
                self.violated(f"{task_id} was made twice")
            self._made.add(task_id)
            self._alone(name, task_id)
            request = replace(self.known[name].schedule.request, task_id=task_id)
            self.appeared(task_id, request, Behaviour("ok", self.rng.choice([0.01, 0.3, 1.5]), True, False))
        if call.script.name.startswith("schedule_"):
            before, self._due = self._due, self._read_due()
            for name in self._due.keys() & before.keys() if call.script.name != "schedule_resume" else ():
                if self._due[name] < before[name]:
                    self.violated(f"schedule {name} goes back from {before[name]} to {self._due[name]}")

    def _alone(self, name: str, task_id: str) -> None:
        """The task before has ended, if nobody asked for more than one at a time."""
        before, self._last[name] = self._last.get(name), task_id
        by_hand = "." in task_id.removeprefix(name + ".")
        if before is None or by_hand or self.known[name].schedule.overlap == "allow":
            return
        state = self.network.run_plainly(self.store.states([before]))[0]
        if state is not None and not state.final:
            self.violated(f"{task_id} was made, and {before} is {state}")

    def forget(self) -> None:
        """Redis has lost its last writes."""
        exist = self.network.plainly(*(("EXISTS", self.store.keys.task(task_id)) for task_id in sorted(self._made)))
        self._made = {task_id for task_id, there in zip(sorted(self._made), exist, strict=True) if there}
        self._due = self._read_due()
        last = self.network.plainly(*(("HGET", self.store.keys.schedule(name), "last") for name in self.known))
        self._last = {name: task_id.decode() for name, task_id in zip(self.known, last, strict=True) if task_id}

    def _read_due(self) -> dict[str, int]:
        due = self.network.plainly(*(("HGET", self.store.keys.schedule(name), "due") for name in self.known))
        return {name: int(at) for name, at in zip(self.known, due, strict=True) if at is not None}

    def let_go(self) -> None:
        """Each due time that has passed is accounted for. Then there are no schedules any more."""
        for info in self.network.run_plainly(self.store.schedules()):
            known, key = self.known[info.name], self.store.keys.schedule(info.name)
            read: Command = ("HMGET", key, "due", "start")
            due, start = map(whole, self.network.plainly(read)[0])
            exist = [task_id for task_id in self._made if scheduled_by(task_id) == info.name]
            if len(exist) != info.made:
                self.violated(f"schedule {info.name} has made {info.made}, and there are {len(exist)}")
            passed = (due - start) // known.schedule.times.interval - 1
            if known.whole and passed != info.made + info.skipped + info.queued:
                self.violated(f"schedule {info.name} has passed {passed} times: {info}")
            if known.schedule.overlap == "allow" and known.schedule.catch_up == "all" and info.skipped:
                self.violated(f"schedule {info.name} has skipped {info.skipped}")
            self.network.run_plainly(self.store.schedule_remove(info.name))
