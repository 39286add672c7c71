"""One seed: what goes on, and what is looked at."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from rq_sched import audit
from rq_sched.model.due import DueTimes, stamp
from rq_sched.model.offers import offered
from rq_sched.model.resources import Resources
from rq_sched.model.schedule import Schedule
from rq_sched.model.states import FINAL, State
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from rq_sched.store.parts import Record
from rq_sched.worker.config import WorkerConfig
from tests.faults.sim.clockwork import Violated, World
from tests.faults.sim.machines import Behaviour, Machine, Run
from tests.faults.sim.network import Faults
from tests.faults.sim.play import simulated
from tests.faults.vandal.changes import GUILTY, INNOCENT, NODES, Vandal
from tests.faults.vandal.rough import RoughNetwork, WatchedScheduler
from tests.faults.vandal.terminal import Terminal

SECONDS = 4.0
"""Simulated seconds in which things are changed."""
IN_TIME = 20.0
"""Simulated seconds within which innocents must have ended after the last change (at ``shared``: after a repair)."""
TTL = 2.0
LIMIT, MOST = "api", 3
HAS = {"n0": ("gpu=2", "scratch=1000"), "n1": ("gpu=3", "scratch=1000")}
"""What nodes have beside CPU and memory."""
ASKED: list[dict[str, float]] = [{}, {}, {"gpu": 1}, {"gpu": 2}, {"gpu": 0.5}, {"gpu": 0.25, "scratch": 600}]
BUSY = 200
"""Calls a simulated second, of all processes together, that are more than their work: somebody asks again and again."""


class Scene:
    """One seed."""

    def __init__(self, seed: int, url: str, *, seconds: float = SECONDS) -> None:
        self.world = world = World(seed)
        self.url = url
        self.rng = random.Random(f"scene {seed}")
        self.shared = seed % 2 == 1
        self.namespace = f"v{seed}-{uuid4().hex[:8]}"
        self.network = RoughNetwork(world, url, self.namespace)
        self.network.faults = Faults(0.02, 0, 0, 0, 0.05, 0)
        self.store = Store(self.namespace, lambda: self.network.clock, self.rng.choice([0, 8]))
        self.seconds = seconds
        self.behaviours: dict[str, Behaviour] = {}
        self.innocents: list[str] = []
        self.runs: dict[str, list[Run]] = {}
        self.schedulers = [WatchedScheduler(world, f"s{i}", self.namespace) for i in range(2)]
        self.machines = [self._machine(name) for name in NODES]
        self.vandal = Vandal(seed, self.network, world.tell, shared=self.shared)
        self.terminal = Terminal(self.rng, self.network, url, self.namespace)
        self.said: Counter[str] = Counter()
        self.scheduled: list[str] = []

    def _machine(self, name: str) -> Machine:
        total = Resources(self.rng.choice([3, 4]), 1000)
        labels = ("gpu",) if name == "n1" else ()
        config = WorkerConfig(
            "unix:///simulated", self.namespace, name, total, (), ttl=TTL, grace=0.5, labels=labels, resources=HAS[name]
        )
        return Machine(self.world, config, self._behaviour, self._ran)

    def _behaviour(self, task_id: str) -> Behaviour:
        return self.behaviours.get(task_id, Behaviour("ok", 0.05))

    def _ran(self, run: Run) -> None:
        self.runs.setdefault(run.task_id, []).append(run)

    # -- what goes on -------------------------------------------------------------------------------

    def play(self) -> Counter[str]:
        """From the first submit to the last look; what was changed, and how many ``innocents`` have ended.

        Raises:
            Violated: something isn't as it must be; the notes say which seed, and what was changed.
        """
        world = self.world
        try:
            with simulated(world, self.network):
                self._play()
            return self.vandal.count + Counter(innocents=self.said["innocents"])
        except BaseException as error:
            error.add_note(f"seed {world.seed}; again: python -m tests.faults.vandal --seed {world.seed} --verbose")
            error.add_note("\n".join([line for line in world.story if "vandal" in line][-80:]))
            raise
        finally:
            names = self.network.plainly(("KEYS", self.network.keys.prefix + "*"))[0]
            if names:
                self.network.plainly(("UNLINK", *names))
            self.network.close()

    def _play(self) -> None:
        world = self.world
        for scheduler in self.schedulers:
            scheduler.start()
        for machine in self.machines:
            machine.start()
        self.network.run_plainly(self.store.limit_set(LIMIT, MOST))
        world.run(world.now + 0.5)
        for number in range(8):
            self._submit(GUILTY, number)
        for kind in (INNOCENT, GUILTY):
            self._schedule(kind)
        end = world.now + self.seconds
        number = 0
        while world.now < end:
            world.run(world.now + self.rng.uniform(0.02, 0.3))
            if self.rng.random() < 0.4:
                self._submit(self.rng.choice([INNOCENT, INNOCENT, GUILTY]), 8 + number)
                number += 1
            if world.now < end:
                self.vandal.act()
            if self.rng.random() < 0.25:
                self.terminal.type(self.rng.choice(self.terminal.commands(self.innocents)))
        self.vandal.expire()
        if self.shared:
            self._rest(1)
            self._repair()
            self.network.run_plainly(
                self.store.limit_set(LIMIT, MOST)
            )  # a limit that was damaged is 0, until it is set
        self._until_innocents_ended()
        for words in self.rng.sample(self.terminal.commands(self.innocents), 8):
            self.terminal.type(words)
        self._at_the_end()

    def _submit(self, kind: str, number: int) -> None:
        rng = self.rng
        task_id = f"{kind}{number}"
        size = rng.choice([1, 1, 2])
        array = "0-3" if rng.random() < 0.2 else None
        request = TaskRequest(
            "m:f",
            ["y" * rng.choice([0, 0, 100])],
            task_id=task_id,
            cpu_needed=size,
            memory_needed=rng.choice([100, 100, 300]),
            max_cpu_needed=size + rng.choice([0, 2]),
            priority=rng.choice([0, 0, 1]),
            delay=rng.choice([0, 0, 0, 0.7]),
            retries=rng.choice([0, 1]),
            preemptible=rng.random() < 0.2,
            require=("gpu",) if rng.random() < 0.1 else (),
            array=array,
            time_limit=rng.choice([None, None, 30]),
        )
        asked = random.Random(f"{self.world.seed} {task_id}")  # changes no other chance
        request.chdir, request.env = asked.choice([None, "/srv/%t"]), asked.choice([None, {"RUN": "1"}])
        request.output_path = asked.choice([None, "%t.%a.out"])
        if self.shared:  # what was lost of a limit or a card comes back by a repair alone
            request.resources = asked.choice(ASKED)
            request.limits = asked.choice([{}, {}, {LIMIT: 1}, {LIMIT: 2}])
        request.deadline = None if kind == INNOCENT else asked.choice([None, None, 2.0, 30.0])
        request.check()
        names = [task_id] if array is None else [f"{task_id}/{i}" for i in range(4)]
        for name in names:
            self.behaviours[name] = Behaviour("ok", rng.choice([0.02, 0.1, 0.4, 1.0]), resizes=rng.random() < 0.2)
        try:
            answers = self.network.run_plainly(self.store.submit([request]))
        except Exception as error:  # refused, because of what was changed: nobody was told that it is accepted
            self.world.tell(f"{task_id} was refused: {error}")
            self.said["refused"] += 1
            return
        if kind == INNOCENT and answers == ["new"]:
            self.innocents += names
            self.world.tell(f"accepted {task_id}")

    def _schedule(self, kind: str) -> None:
        """A task each second, for some seconds."""
        rng = self.rng
        name = f"{kind}{90 + len(self.scheduled)}"
        self.scheduled.append(name)
        until = self.network.clock + round(self.seconds * 1000)
        times = DueTimes(interval=1000, start=self.network.clock // 1000 * 1000, until=until)
        request = TaskRequest("m:f", cpu_needed=1, memory_needed=100).check()
        overlap = "allow" if kind == INNOCENT else rng.choice(["queue", "allow"])
        self.network.run_plainly(self.store.schedule_add(Schedule(name, times, request, overlap, "all")))
        for due in times.after(self.network.clock):
            task_id = f"{name}.{stamp(due)}"
            self.behaviours[task_id] = Behaviour("ok", rng.choice([0.02, 0.4, 1.2]))
            if kind == INNOCENT:
                self.innocents.append(task_id)

    # -- what is looked at --------------------------------------------------------------------------

    def _rest(self, seconds: float) -> None:
        """Nobody changes anything: all processes live, and none asks without end for what it can't get."""
        calls = self.network.calls
        self.world.run(self.world.now + seconds)
        self._check_processes()
        if (made := self.network.calls - calls) > max(seconds, 1.0) * BUSY:
            raise Violated(f"{made} calls in {seconds} s: somebody gets nowhere, and tries on")

    def _until_innocents_ended(self) -> None:
        world = self.world
        end = world.now + IN_TIME
        while (left := self._open()) and world.now < end:
            self._rest(min(end - world.now, 0.5))
        if left:
            found = audit.problems(self.network.run_plainly(audit.check(self.namespace)))
            raise Violated(f"innocents have not ended: {left}; " + "; ".join(map(str, found)))
        ran = {task_id: [run for run in self.runs.get(task_id, ()) if run.how == "done"] for task_id in self.innocents}
        for task_id, record in self._records():
            if not record or record[b"state"] != b"completed":
                raise Violated(f"{task_id} is innocent and ended so: {record!r}")
            result = record.get(b"result", b"")
            if not any(run.token.encode() in result for run in ran[task_id]):
                raise Violated(f"{task_id} is completed with {result!r}, and never was: {self.runs.get(task_id)}")
            if not self.shared and len(self.runs[task_id]) != 1:
                raise Violated(f"{task_id} is innocent and ran {len(self.runs[task_id])} times")
        self.said["innocents"] += len(self.innocents)

    def _open(self) -> list[str]:
        return [t for t, record in self._records() if not record or record[b"state"].decode("latin-1") not in FINAL]

    def _records(self) -> Iterable[tuple[str, Record | None]]:
        """What stands in Redis of the innocents."""
        return zip(self.innocents, self.network.run_plainly(self.store.records(self.innocents)), strict=True)

    def _check_processes(self) -> None:
        processes = [(one.name, one.process) for one in self.schedulers]
        processes += [(one.node_id, one.process) for one in self.machines]
        self.world.crashed += [name for name, process in processes if process is None or not process.alive]
        if self.world.crashed:
            raise Violated(f"processes have ended: {self.world.crashed}")

    def _repair(self) -> list[dict[str, Any]]:
        self._check_processes()
        out = self.terminal.type(["doctor", "--repair"], as_json=True)
        try:
            done: list[dict[str, Any]] = json.loads(out)["repaired"]
        except (ValueError, KeyError):
            raise Violated(f"doctor --repair said {out!r} {self.terminal.err}") from None
        for one in done:
            self.world.tell(f"vandal: repaired {one['check']}: {one['subject']}: {one['message']}"[:300])
        return done

    def _at_the_end(self) -> None:
        """When all has come to rest: a repair leaves nothing to look at, and has invented nothing."""
        self._rest(3 * TTL)
        self._repair()
        self._rest(15)
        self._repair()
        left = audit.problems(self.network.run_plainly(audit.check(self.namespace)))
        if left:
            raise Violated("after a repair: " + "; ".join(map(str, left)))
        self._rest(5)
        keys = self.network.keys
        for machine in self.machines:
            fields = ("total_cpu", "total_memory", "resources")
            (has,) = self.network.plainly(("HMGET", keys.node(machine.node_id), *fields))
            offers = offered(machine.config.offers)
            if has != [b"%d" % machine.total.cpu, b"%d" % machine.total.memory, offers.encode()]:
                raise Violated(f"{machine.node_id} has {has}, not {machine.total} and {offers}")
        for task_id, info in zip(
            self.behaviours, self.network.run_plainly(self.store.status(list(self.behaviours))), strict=True
        ):
            if info is None or info.state is not State.COMPLETED or task_id.startswith(INNOCENT):
                continue
            if not any(run.how == "done" for run in self.runs.get(task_id, ())) and task_id not in self.vandal.touched:
                raise Violated(f"{task_id} is completed, and never ran: {info.result}")


def play(seeds: Iterable[int], url: str) -> Counter[str]:
    """Play these; what was changed, and how many ``innocents`` have ended.

    Raises:
        Violated: by the first that fails.
    """
    seen: Counter[str] = Counter()
    for seed in seeds:
        seen.update(Scene(seed, url).play())
    return seen
