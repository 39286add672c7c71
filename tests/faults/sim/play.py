"""One seed, from the first submit to the last trace of it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest import mock
from uuid import uuid4

from rq_sched.link.scripts import Script
from rq_sched.model.resources import Resources
from rq_sched.process.health import Reporter
from rq_sched.scheduler import placer, promoter
from rq_sched.scheduler import process as scheduler
from rq_sched.store import Store
from rq_sched.worker.agent import process as agent
from rq_sched.worker.agent.lease import Lease
from rq_sched.worker.config import WorkerConfig
from tests.faults.sim.clockwork import START, Exited, Violated, World
from tests.faults.sim.judge import Judge
from tests.faults.sim.limits import NAMES
from tests.faults.sim.machines import Machine, SimParentChannel, SimPool, SimWatchdog
from tests.faults.sim.network import Network, SimLink
from tests.faults.sim.people import ENDLESS, Known, KnownArray, Person
from tests.faults.sim.trouble import Scheduler, Trouble

PATIENCE = 240.0
"""Seconds of simulated time in which everything must have ended once nothing goes wrong any more."""


@dataclass(slots=True)
class Played:
    """What a simulation contained."""

    seed: int
    steps: int
    calls: int
    seconds: float
    looked: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def simulated(world: World, network: Network) -> Iterator[None]:
    """Inside, agents and schedulers live in the simulation."""

    def token_hex(n: int = 16) -> str:
        return f"{world.rng.getrandbits(8 * n):0{2 * n}x}"

    def exit_at_once(code: int) -> None:
        raise Exited(code)

    state = random.getstate()
    random.seed(world.seed)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        for target, name, value in (
            (secrets, "token_hex", token_hex),
            (os, "_exit", exit_at_once),
            (SimLink, "network", network),
            (scheduler, "AsyncLink", SimLink),
            (promoter.Promoter, "every", 0.5),
            (placer.Placer, "every", 1.0),
            (agent, "AsyncLink", SimLink),
            (agent, "ParentChannel", SimParentChannel),
            (agent, "Pool", SimPool),
            (agent, "Watchdog", SimWatchdog),
            (agent, "Lease", partial(Lease, clock=lambda: world.now)),
            (agent, "_allow_many_descriptors", lambda: None),
        ):
            stack.enter_context(mock.patch.object(target, name, value, create=name == "network"))
        try:
            yield
        finally:
            world.close()
            logging.disable(before)
            random.setstate(state)


class Simulation:
    """One seed.

    Parameters:
        seconds: of simulated time in which people act and things go wrong.
        troubled: whether anything goes wrong at all.
        plant: changes scripts: a bug.
    """

    def __init__(
        self,
        seed: int,
        url: str,
        *,
        seconds: float = 12.0,
        troubled: bool = True,
        plant: Callable[[Script], Script] | None = None,
    ) -> None:
        self.world = world = World(seed)
        namespace = f"s{seed}-{uuid4().hex[:8]}"
        self.network = Network(world, url, namespace)
        if plant is not None:
            self.network.plant = plant
        self.store = Store(namespace, placings=world.rng.choice([0, 8]))
        self.seconds = seconds
        self.troubled = troubled
        self.known: dict[str, Known] = {}
        self.arrays: dict[str, KnownArray] = {}
        ttl = world.rng.choice([1.0, 2.0, 3.0])
        names = [f"n{i}" for i in range(world.rng.choice([2, 3, 4]))]
        self.schedulers = [Scheduler(world, f"s{i}", namespace) for i in range(world.rng.choice([1, 2, 3]))]
        self.machines: dict[str, Machine] = {}
        self.judge = Judge(world, self.network, self.store, self.known, self.arrays, self.machines, self.schedulers)
        self.network.executed = self.judge.executed
        for name in names:
            total = Resources(world.rng.choice([2, 3, 4, 6]), world.rng.choice([700, 1000, 2000]))
            config = WorkerConfig("unix:///simulated", namespace, name, total, (), ttl=ttl, grace=1.0)
            machine = Machine(world, config, lambda task_id: self.known[task_id].behaviour, self.judge.ran)
            machine.died = self.judge.died
            machine.relabel = True
            self.machines[name] = machine
        self.people = [
            Person(world, self.store, f"p{i}", self.known, self.arrays, names, self.judge.schedules, self.judge.limits)
            for i in range(2)
        ]
        self.trouble = self.judge.trouble = Trouble(
            world,
            self.network,
            list(self.machines.values()),
            self.schedulers,
            self.people,
            self.judge,
            durable=world.chance(0.5),
        )

    def play(self) -> Played:
        """From the first submit to the last trace of it.

        Raises:
            Violated: an invariant doesn't hold; the notes say which seed, and what happened.
        """
        world = self.world
        try:
            no_files = mock.patch.object(Reporter, "note")  # in the home of whoever plays
            with simulated(world, self.network), no_files:
                self._play()
        except BaseException as error:
            error.add_note(f"seed {world.seed}; again: python -m tests.faults.sim --seed {world.seed} --verbose")
            error.add_note("\n".join(world.story[-60:]))
            raise
        finally:
            self._forget()
        return Played(
            world.seed, world.steps, self.network.calls, world.now - START, self.judge.looked, self.trouble.count
        )

    def _play(self) -> None:
        world = self.world
        self._set_limits(1)
        for scheduler_ in self.schedulers:
            scheduler_.start()
        for machine in self.machines.values():
            machine.start()
        for person in self.people:
            person.begin(world.rng.choice([6, 12, 20]))
        if self.troubled:
            self.trouble.begin(START + self.seconds, every=world.rng.choice([0.5, 1.0, 2.0]))
        world.run(START + self.seconds)
        for machine in self.machines.values():
            machine.relabel = False
        self.trouble.all_well()
        if not world.run(world.now + 30, lambda: all(person.done for person in self.people)):
            raise Violated("a person gets no answers")
        world.run(world.now + 1)  # what still was on its way
        self._let_go()
        self._check_processes()
        if not self._until(self.judge.all_final, PATIENCE):
            self.judge.audit("stuck")
        self._until(self._quiet, 3 * self.machines["n0"].config.ttl + 5)
        self._check_processes()
        self.judge.ends()
        self.judge.leftovers()

    def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        end = self.world.now + seconds
        while not done():
            self.world.run(min(end, self.world.now + 0.5))
            if self.world.now >= end or not self.world.processes:
                return done()
        return True

    def _set_limits(self, least: int) -> None:
        """There is enough of each for one task, at the end also for the one that asks for most."""
        for name in NAMES if self.judge.limits is not None else ():
            assert self.judge.limits is not None
            self.network.run_plainly(self.judge.limits.set(name, self.judge.limits.rng.choice([least, 2, 3])))

    def _let_go(self) -> None:
        """Nothing is held or drained any more; what no machine could hold, or never ends, is given up."""
        run = self.network.run_plainly
        if self.judge.schedules is not None:
            self.judge.schedules.let_go()
        self._set_limits(2)
        for task_id, info in self.judge.tasks().items():
            request = self.known[task_id].request
            need, require = Resources(request.cpu_needed, int(request.memory_needed)), set(request.require)
            nowhere = not any(
                need.fits(machine.total) and require <= set(machine.config.labels) for machine in self.machines.values()
            )
            if info is not None and (nowhere or self.known[task_id].behaviour.seconds == ENDLESS):
                self.known[task_id].to_end = True
                run(self.store.cancel(task_id, requeue=False))
            elif info is not None and info.state == "held":
                run(self.store.unhold(task_id))
        for array_id, state in zip(self.arrays, run(self.store.states([*self.arrays])), strict=True):
            if state == "held":
                run(self.store.unhold(array_id))
        for node in run(self.store.nodes()):
            run(self.store.node_undrain(node.node_id))

    def _quiet(self) -> bool:
        """Nothing is on any ledger, nobody is to be given back, nothing is reserved, all orders are acknowledged."""
        nodes = self.network.run_plainly(self.store.nodes())
        keys = self.network.keys
        (waits,) = self.network.plainly(("EXISTS", keys.lost, keys.reservation, keys.limits_kept))
        if waits or any(node.running for node in nodes):
            return False
        numbers = self.network.plainly(*(("HMGET", keys.node(node.node_id), "acked", "ordered") for node in nodes))
        return all(acked == ordered for acked, ordered in numbers)

    def _check_processes(self) -> None:
        if self.world.crashed:
            raise Violated(f"processes have failed: {self.world.crashed}")

    def _forget(self) -> None:
        names: list[Any] = self.network.plainly(("KEYS", self.network.keys.prefix + "*"))[0]
        if names:
            self.network.plainly(("UNLINK", *names))
        self.network.close()
