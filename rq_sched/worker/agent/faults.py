"""The faults of this machine: while there is one, the node begins no tasks.

A fault is what keeps any task from beginning, or from working: the folder where tasks run is gone, a disk is full, no
process can be started, children die before they begin. No task is charged for it: what hasn't begun goes back to its
old place at once. What runs goes on. Redis is told, so that nothing more is placed here (``node_fault.lua``), and all
can see why. Then we look again, at growing intervals: a new child is asked for, as for a task, and told to look whether
one could begin (``able.py``). When it could, the node takes tasks again.

Redis hears of a fault before anything is given back: else it would come again at once. It is told anew when an order
comes all the same, or a heartbeat's answer says that it believes something else: after a failover, or when the node has
joined anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import TYPE_CHECKING, Protocol

from rq_sched.errors import RqSchedError
from rq_sched.model.node import NodeState
from rq_sched.process.backoff import backoff
from rq_sched.store import Store
from rq_sched.worker import system
from rq_sched.worker.agent.session import Session, Superseded
from rq_sched.worker.frames import Word

if TYPE_CHECKING:
    from rq_sched.worker.agent.attempt import Child
    from rq_sched.worker.agent.pool import Pool

log = logging.getLogger("rq_sched.worker")

RECHECK = 0.5
MAX_RECHECK = 15.0
"""Seconds until the next check: twice as long each time."""
STOPPED = 2
"""Looks in a row, one a second, that find the parent stopped: then it isn't a matter of a moment."""
EARLY_DEATHS = 3
"""Children in a row that died, we don't know of what, before they began a task: then it is the machine."""


class Beginning(Protocol):
    """What a fault keeps from beginning: the attempts."""

    paused: bool

    def go_on(self) -> None: ...
    def ready(self, child: Child) -> None: ...
    def give_back(self) -> None: ...


class Faults:
    """What keeps this node from beginning tasks.

    Parameters:
        attempts: they are paused while there is a fault.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, attempts: Beginning, pool: Pool) -> None:
        self._loop = loop
        self._attempts = attempts
        self._pool = pool
        self._work = asyncio.Event()
        self._delay = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._checking: int | None = None  # the number of the child that checks
        self._early_deaths = 0
        self._stopped = 0
        self.text = ""
        """What the fault is; empty: there is none."""

    def found(self, why: str) -> None:
        """A task couldn't begin here."""
        if not self.text:
            log.error("this node begins no more tasks: %s", why)
            self._attempts.paused = True
            self._delay = RECHECK
        self.text = why
        self._work.set()
        if self._timer is None and self._checking is None:
            self._timer = self._loop.call_later(self._delay * random.uniform(0.75, 1.0), self._check)
            self._delay = min(2 * self._delay, MAX_RECHECK)

    def check_parent(self) -> None:
        """A parent that is stopped starts no process and ends none. Once it goes on, the child comes that was asked for
        to look."""
        parent = os.getppid()
        self._stopped = self._stopped + 1 if system.is_stopped(parent) else 0
        if self._stopped >= STOPPED:
            why = f"the worker's first process is stopped: `fg` in its terminal or `kill -CONT {parent}` lets it go on"
            if self.text != why:
                self.found(why)

    def died_early(self, why: str) -> None:
        """A child died before it began a task. By itself that may be chance."""
        self._early_deaths += 1
        if self._early_deaths >= EARLY_DEATHS:
            self.found(why)

    def all_is_well(self) -> None:
        """A task has been done."""
        self._early_deaths = 0

    def tell(self) -> None:
        """Redis doesn't seem to know."""
        self._work.set()

    def on_state(self, state: NodeState) -> None:
        """What a heartbeat's answer says of the node."""
        if state is (NodeState.UP if self.text else NodeState.FAULTY):
            self._work.set()

    # -- looking again ----------------------------------------------------------------------------

    def _check(self) -> None:
        self._timer = None
        self._checking = self._pool.grow()

    def takes(self, child: Child) -> bool:
        """A child is ready; whether it is the one that was asked for to look."""
        if child.number != self._checking:
            return False
        child.channel.send((Word.LOOK,))
        return True

    def checked(self, child: Child, why: str) -> None:
        """What a child has seen that was told to look."""
        if child.number != self._checking:
            return
        self._checking = None
        if why:
            self._pool.retire(child)
            self.found(why)
            return
        log.warning("this node begins tasks again", extra={"was": self.text})
        self.text = ""
        self._early_deaths = 0
        self._work.set()
        self._attempts.go_on()
        self._attempts.ready(child)

    def gone(self, number: int, why: str) -> None:
        """A child has died idle, or never came to be."""
        if number == self._checking:
            self._checking = None
            self.found(why)

    # -- telling ----------------------------------------------------------------------------------

    async def run(self, session: Session, store: Store) -> None:
        """Tell Redis, and give back what hasn't begun, until cancelled."""
        failures = 0
        while True:
            await self._work.wait()
            self._work.clear()
            text = self.text
            try:
                await session.ask(
                    lambda node, incarnation: store.node_fault(node, incarnation, text)  # noqa: B023
                )
                failures = 0
            except Superseded:
                self._work.set()
            except RqSchedError:
                failures += 1
                self._work.set()
                await asyncio.sleep(backoff(failures))
            else:
                if self.text:
                    self._attempts.give_back()
