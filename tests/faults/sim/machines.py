"""Machines: the real agent over a parent and children that are played here. What really ran is written down."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from rq_sched.model.resources import Resources
from rq_sched.worker.agent import process as agent_module
from rq_sched.worker.config import Assignment, WorkerConfig
from rq_sched.worker.frames import Word
from tests.faults.sim.clockwork import Process, World

FOLDER_GONE, NO_PROCESSES = "tasks run in a folder that is gone", "no process can be started"
HUNG = 0.8
"""Of the time to live: how long the parent lets its agent be silent (``parent.HUNG_TICKS`` ticks)."""


@dataclass(slots=True)
class Behaviour:
    """What a task does when it runs. ``kind``: ok, error, dies (its process), poison (the whole machine)."""

    kind: str
    seconds: float
    heeds_term: bool = True
    resizes: bool = False


@dataclass(slots=True)
class Run:
    """One run of a task, as seen on the spot."""

    task_id: str
    token: str
    attempt: int
    machine: Machine
    incarnation: str
    begun: float
    ended: float | None = None
    how: str = ""  # done, error, died (its process), killed, lost (all processes of its node at once)


class SimChild:
    """A child process."""

    def __init__(self, machine: Machine, pool: SimPool, number: int) -> None:
        self.machine = machine
        self.pool = pool
        self.number = number
        self.pid = 10**8 + number
        self.attempt: Any = None
        self.rested = 0.0
        self.alive = True
        self.gone = self.unread = False
        self.tasks_left = 10**9
        self.run: Run | None = None
        self.channel = self

    def send(self, frame: tuple[Any, ...]) -> bool:
        if self.alive and frame[0] == Word.LOOK:
            self.pool.tell(self.pool.listener.said, self, [Word.LOOKED, "", self.machine.fault])
        elif self.alive and frame[0] == Word.RUN and self.machine.fault:
            self.pool.tell(self.pool.listener.said, self, [Word.NOT_BEGUN, frame[1], self.machine.fault])
        elif self.alive and frame[0] == Word.RUN:
            self.machine.run_task(self, frame[1], frame[2], frame[3])
        return self.alive

    def drain(self) -> None: ...

    def drain_before(self) -> None: ...

    def alone(self) -> bool:
        return True

    def close(self) -> None: ...

    def die(self, how: str, status: int) -> None:
        """All processes of the child are gone."""
        if not self.alive:
            return
        self.alive = False
        self.machine.children.remove(self)
        if self.run is not None:
            self.machine.ended(self.run, how)
        self.pool.tell(self.pool.gone, self, status)


class SimPool:
    """``Pool``, without processes."""

    def __init__(self, loop: Process, *_: Any) -> None:
        self._process = loop
        self._machine: Machine = loop.owner
        self._idle: list[SimChild] = []
        self._numbers = 0
        self.children: dict[int, SimChild] = {}
        self.starting = 0
        self.listener: Any = None

    def tell(self, act: Callable[..., None], *arguments: Any) -> None:
        """The agent hears something, if it still lives."""
        if self._process.alive:
            self._process.call_soon(act, *arguments)

    def take(self) -> SimChild | None:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
        return None

    def rest(self, child: SimChild) -> None:
        self._idle.append(child)

    def end(self, child: SimChild) -> None:
        if child in self._idle:
            self._idle.remove(child)
        self.signal(child, signal.SIGKILL)

    def grow(self) -> int:
        self._numbers += 1
        self.starting += 1
        number = self._numbers
        self._machine.later(self._machine.world.rng.uniform(0.001, 0.02), lambda: self.tell(self._forked, number))
        return number

    def _forked(self, number: int) -> None:
        self.starting -= 1
        if self._machine.fault == NO_PROCESSES:
            self.listener.fork_failed(number, NO_PROCESSES)
            return
        child = SimChild(self._machine, self, number)
        self._machine.children.append(child)
        self.children[number] = child
        self.listener.ready(child)

    def gone(self, child: SimChild, status: int) -> None:
        self.children.pop(child.number, None)
        self.listener.gone(child, status)

    def signal(self, child: SimChild, signum: int) -> None:
        run = child.run
        if signum == signal.SIGTERM and run is not None and not self._machine.behaviour(run.task_id).heeds_term:
            return
        self._machine.later(self._machine.world.rng.uniform(0.001, 0.03), lambda: child.die("killed", signum))

    def retire(self, child: SimChild) -> None:
        child.die("retired", 0)

    def trim(self) -> None: ...

    def make_spare(self) -> None: ...

    def renew(self) -> None: ...


class SimWatchdog:
    """``Watchdog``, where nothing can be measured."""

    def __init__(self, *_: Any) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class SimParentChannel:
    """The parent, as the agent sees it."""

    def __init__(self, loop: Process, *_: Any) -> None:
        self._machine: Machine = loop.owner
        self.descriptors: list[int] = []

    def send(self, frame: tuple[Any, ...]) -> bool:
        self._machine.heard(frame)
        return True


class Machine:
    """A machine with a worker on it.

    Parameters:
        behaviour: what a task does.
        ran: gets every run.
    """

    def __init__(
        self,
        world: World,
        config: WorkerConfig,
        behaviour: Callable[[str], Behaviour],
        ran: Callable[[Run], None],
    ) -> None:
        self.world = world
        self.config = config
        self.node_id = config.node_id
        self.total: Resources = config.total
        self.behaviour = behaviour
        self.children: list[SimChild] = []
        self.process: Process | None = None
        self.agent: Any = None
        self.incarnation = ""
        self.previous = ""  # the one whose agent had died when the present agent started
        self.on = False
        self.frozen = False
        self.partitioned = False
        self.trouble = world.now
        """When something last happened to it that may cost it its heartbeat."""
        self.hindered = world.now
        """When something last happened to the machine, not only to its agent."""
        self.befallen: set[str] = set()
        """Incarnations that died, or that others may take for dead: frozen, cut off, or gone without a goodbye."""
        self.froze: float | None = None
        self.thawed = 0.0
        self.fault = ""
        """What keeps tasks from beginning there; empty: nothing does."""
        self.faults: list[tuple[float, float]] = []
        """When it had one: from, to."""
        self.relabel = False
        """Whether it carries other labels each time that its worker is started."""
        self.died: Callable[[Machine, str, bool], None] = lambda *_: None
        """Hears of an agent's death: the incarnation, and whether the parent has seen it."""
        self._ran = ran
        self._postponed: list[Callable[[], None]] = []
        self._deaths = 0

    @property
    def cut_off(self) -> bool:
        return self.partitioned

    # -- power, parent ------------------------------------------------------------------------------

    def start(self, *, remembers: bool = True) -> None:
        """The worker is started; ``remembers``: the file that the one before left is still there."""
        self.on = True
        if not remembers:
            self.incarnation = ""
        self._start_agent(0.0, patient=False)

    def _start_agent(self, delay: float, *, patient: bool) -> None:
        self.touch()
        if self.relabel and self.world.labels:
            self.config = replace(
                self.config, labels=self.world.labels.choice([(), ("gpu",), ("gpu", "ssd"), ("ssd",)])
            )
        process = self.process = Process(self.world, f"agent-{self.node_id}")
        process.owner = self
        process.frozen = self.frozen
        assignment = Assignment(self.incarnation or None, delay, False, patient)
        self.previous = self.incarnation
        agent = self.agent = agent_module.Agent(self.config, None, assignment)  # type: ignore[arg-type]
        self.world.tell(f"{self.node_id}: agent starts, previous {self.incarnation or 'none'}")

        async def main() -> int:
            return int(await agent.run())

        process.begin(main(), lambda task: self._main_ended(process, task))

    def _main_ended(self, process: Process, task: Any) -> None:
        if not process.alive or task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, SystemExit):
            self.world.crashed.append(f"{process.name}: {error!r}")
        process.kill()
        if error is None and task.result() == 0:
            self.world.tell(f"{self.node_id}: the worker ended in order")
            self.befall()  # if Redis was told, there is no incarnation any more
            self._lose_children()
            self.on = False
        else:
            self.agent_ended(process)

    def agent_ended(self, process: Process) -> None:
        """It exited by itself: it was refused, or failed."""
        if process is not self.process or not self.on:
            return
        self.touch()
        self.befall()
        self._lose_children()
        self._deaths += 1
        self.world.at(self.world.rng.uniform(0.3, 1.5), lambda: self._again(process))

    def _again(self, process: Process) -> None:
        if self.on and self.process is process:
            self._start_agent(0.0, patient=False)

    def heard(self, frame: tuple[Any, ...]) -> None:
        """The agent tells its parent something."""
        if frame[0] == Word.INCARNATION:
            self.incarnation = frame[1]
            if self.partitioned:
                self.befall()

    def breaks(self, fault: str) -> None:
        """From now on tasks can't begin there; what runs goes on."""
        if not self.fault:
            self.world.tell(f"{self.node_id}: {fault}")
            self.fault = fault
            self.faults.append((self.world.now, math.inf))

    def mend(self) -> None:
        if self.fault:
            self.world.tell(f"{self.node_id}: mended")
            self.fault = ""
            self.faults[-1] = (self.faults[-1][0], self.world.now)

    def touch(self) -> None:
        self.trouble = self.world.now

    def hinder(self) -> None:
        self.trouble = self.hindered = self.world.now

    def befall(self) -> None:
        """Something happens to the present incarnation for which others may give back its tasks."""
        self.befallen.add(self.incarnation)

    # -- what happens to it -------------------------------------------------------------------------

    def kill_agent(self) -> None:
        """kill -9 of the agent alone: the parent cleans up, and starts another one."""
        process = self.process
        if not self.on or process is None or not process.alive:
            return
        self.world.tell(f"{self.node_id}: agent killed, incarnation {self.incarnation}")
        process.kill()
        self.befall()
        self._lose_children()
        self.died(self, self.incarnation, not self.frozen)
        self._deaths += 1
        self.later(self.world.rng.uniform(0.005, 0.05), lambda: self._follow(process))

    def _follow(self, process: Process) -> None:
        if self.on and self.process is process:
            self._start_agent(min(1.0, 0.2 * self._deaths), patient=True)

    def lose(self) -> None:
        """The whole worker is gone at once."""
        if not self.on:
            return
        self.world.tell(f"{self.node_id}: lost with everything on it, incarnation {self.incarnation}")
        self.on = False
        self.hinder()
        if self.process is not None:
            self.process.kill()
        self.befall()
        self._lose_children()
        self.died(self, self.incarnation, False)
        if self.frozen:
            self.thaw()

    def partition(self) -> None:
        """It is cut off."""
        self.hinder()
        self.befall()
        self.partitioned = True
        self.world.tell(f"{self.node_id}: cut off")

    def terminate(self) -> None:
        """SIGTERM."""
        process = self.process
        if self.on and process is not None and process.alive and self.agent is not None and not self.frozen:
            self.world.tell(f"{self.node_id}: told to stop")
            self.hinder()
            process.call_soon(self.agent._received, [Word.CLOSE, False])

    def freeze(self, *, agent_only: bool = False) -> None:
        process = self.process
        if not self.on or self.frozen or process is None:
            return
        self.hinder()
        self.befall()
        self.world.tell(f"{self.node_id}: {'agent' if agent_only else 'machine'} freezes")
        process.frozen = True
        if agent_only:
            limit = HUNG * self.config.ttl
            self.world.at(limit, lambda: self._hung(process))
        else:
            self.frozen, self.froze = True, self.world.now

    def _hung(self, process: Process) -> None:
        if self.process is process and process.alive and process.frozen and not self.frozen:
            self.kill_agent()

    def thaw(self) -> None:
        process = self.process
        if process is not None and process.frozen:
            self.hinder()
            process.frozen = False
            self.world.tell(f"{self.node_id}: thaws")
        self.frozen, self.froze, self.thawed = False, None, self.world.now
        postponed, self._postponed = self._postponed, []
        for act in postponed:
            self.world.at(self.world.rng.uniform(0, 0.01), act)

    # -- children -----------------------------------------------------------------------------------

    def later(self, delay: float, act: Callable[[], object]) -> None:
        """Something happens on this machine, unless it is frozen then: after it has thawed."""

        def now() -> None:
            if self.frozen:
                self._postponed.append(now)
            else:
                act()

        self.world.at(delay, now)

    def run_task(self, child: SimChild, token: str, task_id: str, attempt: int) -> None:
        run = child.run = Run(task_id, token, attempt, self, self.incarnation, self.world.now)
        self.world.tell(f"{self.node_id}: runs {task_id} as {token}")
        self._ran(run)
        behaviour = self.behaviour(task_id)
        if behaviour.resizes:
            self.later(behaviour.seconds / 2, lambda: self._resize(child, run))
        self.later(behaviour.seconds, lambda: self._ends(child, run, behaviour))

    def _resize(self, child: SimChild, run: Run) -> None:
        if child.alive and child.run is run:
            cpu = self.world.rng.choice([None, 1, 2, 3])
            child.pool.tell(
                child.pool.listener.said, child, [Word.RESIZE, run.token, cpu, self.world.rng.choice([None, 50, 300])]
            )

    def _ends(self, child: SimChild, run: Run, behaviour: Behaviour) -> None:
        if not child.alive or child.run is not run:
            return
        if behaviour.kind == "dies":
            child.die("died", signal.SIGSEGV)
        elif behaviour.kind == "poison":
            self.ended(run, "died")
            if self.world.chance(0.5):
                self.kill_agent()
            else:
                self.lose()
                self.world.at(self.world.rng.choice([0.2, 1.0]), lambda: None if self.on else self.start())
        else:
            child.run = None
            ok = behaviour.kind == "ok"
            self.ended(run, "done" if ok else "error")
            frame = (
                [Word.DONE, run.token, None, msgpack.packb(run.token), None, None, "", 0]
                if ok
                else [Word.DONE, run.token, "error", None, "boom", None, "", 0]
            )
            child.pool.tell(child.pool.listener.said, child, frame)

    def ended(self, run: Run, how: str) -> None:
        if run.ended is None:
            run.ended, run.how = self.world.now, how
            self.world.tell(f"{self.node_id}: {run.task_id} as {run.token} {how}")

    def _lose_children(self) -> None:
        for child in list(self.children):
            child.die("lost", signal.SIGKILL)
