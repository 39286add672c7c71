"""Trouble: what happens to machines, schedulers, the network and Redis, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rq_sched.scheduler import process as scheduler_module
from rq_sched.scheduler.process import SchedulerConfig
from tests.faults.lost_writes import Snapshot
from tests.faults.sim.clockwork import Process, World
from tests.faults.sim.machines import FOLDER_GONE, NO_PROCESSES, Machine
from tests.faults.sim.network import Network
from tests.faults.sim.people import Person

if TYPE_CHECKING:
    from tests.faults.sim.judge import Judge
AGAIN = 0.3
"""How often Redis, hardly back, is away again: perhaps a single call was heard between the two."""
IN_A_ROW = 3
"""So often at most: as many as are promised not to be held against the nodes (``lua/node_sweep.lua``)."""


class Scheduler:
    """A scheduler process, started again when it has died."""

    def __init__(self, world: World, name: str, namespace: str) -> None:
        self.world = world
        self.name = name
        self.cut_off = False
        self.since = world.now
        """Since when it has been well."""
        self._config = SchedulerConfig("unix:///simulated", namespace)
        self.process: Process | None = None

    @property
    def well(self) -> bool:
        return self.process is not None and self.process.alive and not self.process.frozen and not self.cut_off

    def agent_ended(self, process: Process) -> None: ...

    def start(self) -> None:
        if self.process is not None and self.process.alive:
            return
        process = self.process = Process(self.world, self.name)
        process.owner = self
        self.since = self.world.now

        def ended(task: asyncio.Task[Any]) -> None:
            if process.alive:  # at its start Redis may be away; whoever runs it starts it again
                process.kill()
                self.world.at(0.5, self.start)

        process.begin(scheduler_module.serve(self._config), ended)

    def kill(self) -> None:
        if self.process is not None:
            self.world.tell(f"{self.name}: killed")
            self.process.kill()

    def freeze(self, frozen: bool) -> None:
        if self.process is not None:
            self.process.frozen = frozen
            self.since = self.world.now


class Trouble:
    """Everything that goes wrong. ``count`` says how often what did.

    Parameters:
        durable: whether Redis keeps what it has acknowledged; else a failover may lose the last writes.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        machines: list[Machine],
        schedulers: list[Scheduler],
        people: list[Person],
        judge: Judge,
        durable: bool,
    ) -> None:
        self.world = world
        self.network = network
        self.machines = machines
        self.schedulers = schedulers
        self.people = people
        self.judge = judge
        self.count: Counter[str] = Counter()
        self.redis_trouble = world.now
        """When Redis, its clock or its data last had trouble."""
        self.lost = -1e9
        """When Redis last came back without its last writes."""
        self.over = False
        self._kinds: list[tuple[int, Callable[[], None]]] = [
            (5, self.agent_killed),
            (5, self.machine_lost),
            (4, self.machine_frozen),
            (2, self.agent_frozen),
            (4, self.partition),
            (2, self.worker_stopped),
            (4, self.machine_broken),
            (5, self.scheduler_killed),
            (3, self.scheduler_frozen),
            (2, self.scheduler_cut_off),
            (2, self.person_cut_off),
            (3, self.redis_away),
            (2, self.connections_cut),
            (2, self.scripts_flushed),
            (3, self.clock_jumps),
        ]
        if not durable:
            self._kinds.append((6, self.writes_lost))

    def prefer(self, kind: Callable[[], None]) -> None:
        """Every second trouble is this one."""
        self._kinds.append((sum(weight for weight, _ in self._kinds), kind))

    def begin(self, until: float, every: float) -> None:
        """Something goes wrong every so many seconds, until then."""

        def next_one() -> None:
            if self.world.now < until and not self.over:
                weights = [weight for weight, _ in self._kinds]
                kind = self.world.rng.choices([act for _, act in self._kinds], weights)[0]
                kind()
                self.count[kind.__name__] += 1
                self.judge.audit(kind.__name__)
                self.world.at(self.world.rng.expovariate(1 / every), next_one)

        self.world.at(self.world.rng.expovariate(1 / every), next_one)

    def _machine(self) -> Machine:
        return self.world.rng.choice(self.machines)

    def _ttl(self) -> float:
        return self.machines[0].config.ttl

    # -- machines -----------------------------------------------------------------------------------

    def agent_killed(self) -> None:
        self._machine().kill_agent()

    def machine_lost(self) -> None:
        machine = self._machine()
        machine.lose()
        remembers = self.world.chance(0.5)
        delay = self.world.rng.choice([0.1, 1.0, 2.5 * self._ttl()])
        self.world.at(delay, lambda: None if machine.on else machine.start(remembers=remembers))

    def machine_frozen(self) -> None:
        machine = self._machine()
        machine.freeze()
        self.world.at(self._ttl() * self.world.rng.choice([0.5, 1.0, 1.5, 3.0]), machine.thaw)

    def agent_frozen(self) -> None:
        machine = self._machine()
        process = machine.process
        machine.freeze(agent_only=True)

        def on() -> None:
            if process is machine.process and not machine.frozen:
                machine.thaw()

        self.world.at(self._ttl() * self.world.rng.choice([0.3, 0.7, 2.0]), on)

    def partition(self) -> None:
        machine = self._machine()
        machine.partition()

        def heal() -> None:
            machine.hinder()
            machine.partitioned = False
            self.network.release()
            self.world.tell(f"{machine.node_id}: connected again")

        self.world.at(self._ttl() * self.world.rng.choice([0.3, 0.9, 1.2, 3.0]), heal)

    def worker_stopped(self) -> None:
        machine = self._machine()
        machine.terminate()

        process = machine.process

        def again() -> None:
            if not machine.on:
                machine.start()
            elif machine.process is process:  # it still drains
                self.world.at(0.5, again)

        self.world.at(self.world.rng.uniform(1.0, 4.0), again)

    def machine_broken(self) -> None:
        machine = self._machine()
        machine.breaks(self.world.rng.choice([FOLDER_GONE, NO_PROCESSES]))
        self.world.at(self.world.rng.choice([0.2, 1.0, 4.0, 10.0]), machine.mend)

    # -- schedulers, people -------------------------------------------------------------------------

    def scheduler_killed(self) -> None:
        scheduler = self.world.rng.choice(self.schedulers)
        scheduler.kill()
        self.world.at(self.world.rng.choice([0.1, 1.0, 5.0]), scheduler.start)

    def scheduler_frozen(self) -> None:
        scheduler = self.world.rng.choice(self.schedulers)
        scheduler.freeze(True)
        self.world.at(self.world.rng.choice([0.5, 3.0, 8.0]), lambda: scheduler.freeze(False))

    def scheduler_cut_off(self) -> None:
        self._cut_off(self.world.rng.choice(self.schedulers))

    def person_cut_off(self) -> None:
        self._cut_off(self.world.rng.choice(self.people))

    def _cut_off(self, who: Any) -> None:
        who.cut_off = True

        def heal() -> None:
            who.cut_off = False
            who.since = self.world.now
            self.network.release()

        self.world.at(self.world.rng.choice([0.5, 3.0, 8.0]), heal)

    # -- Redis --------------------------------------------------------------------------------------

    def redis_away(self, row: int = 1) -> None:
        if self.network.down:
            return
        seconds = self.world.rng.choice([0.2, 1.0, self._ttl(), 3 * self._ttl()])
        self.world.tell(f"Redis is away for {seconds:g} s")
        self.network.down = True
        self.network.hang_up()
        self.redis_trouble = self.world.now

        def back() -> None:
            self.world.tell("Redis is back")
            self.network.down = False
            self.redis_trouble = self.world.now
            self.network.plainly(("FUNCTION", "FLUSH"))
            self.network.release()
            if not self.over and row < IN_A_ROW and self.world.rng.random() < AGAIN:
                self.world.at(self.world.rng.choice([0.005, 0.05, 0.3]), lambda: self.redis_away(row + 1))

        self.world.at(seconds, back)

    def writes_lost(self) -> None:
        """A replica is promoted that lags behind."""
        if self.network.down:
            return
        snapshot, remembered = Snapshot.take(self.network.plainly, self.network.keys.prefix), self.judge.remember()
        lag, seconds = self.world.rng.choice([0.05, 0.3, 1.0]), self.world.rng.choice([0.05, 0.5, self._ttl()])
        taken = self.world.now

        def fail_over() -> None:
            if self.network.down or self.over:
                return
            self.world.tell(f"Redis fails over, the last {lag:g} s are lost; it is away for {seconds:g} s")
            self.network.down = True
            self.network.hang_up()
            self.network.lose_writes(snapshot)
            self.redis_trouble = self.lost = self.world.now  # it may be back before its time: when all is made well
            self.judge.forget_since(remembered)
            self.world.at(seconds, back)

        def back() -> None:
            self.world.tell("Redis is back")
            self.network.down = False
            self.redis_trouble = self.lost = self.world.now
            for machine in self.machines:  # that they could be heard again was lost, too
                if machine.trouble > taken:
                    machine.trouble = self.world.now
            self.count["failovers that lost writes"] += 1
            self.network.release()

        self.world.at(lag, fail_over)

    def connections_cut(self) -> None:
        self.network.hang_up()

    def scripts_flushed(self) -> None:
        self.network.plainly(("FUNCTION", "FLUSH"))

    def clock_jumps(self) -> None:
        jump = self.world.rng.choice([-60_000, -3000, -500, 500, 1000, 3000, 60_000, 7_200_000])
        self.world.tell(f"Redis' clock jumps by {jump} ms")
        self.network.offset_ms += jump
        self.redis_trouble = self.world.now

    # -- the end ------------------------------------------------------------------------------------

    def all_well(self) -> None:
        """No more trouble; what was broken works again."""
        self.over = True
        for machine in self.machines:
            machine.partitioned = False
            machine.thaw()
            machine.mend()
            machine.hinder()
            if not machine.on:
                machine.start()
        who: Any
        for who in [*self.schedulers, *self.people]:
            who.cut_off = False
        for scheduler in self.schedulers:
            scheduler.freeze(False)
            scheduler.start()
        self.network.down = False
        self.network.faults.never_arrives = self.network.faults.reply_lost = self.network.faults.cut_short = 0
        self.network.release()
