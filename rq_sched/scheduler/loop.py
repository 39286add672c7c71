"""The one loop that all actors share: when each is due, what wakes it, signals, back-off, an orderly end.

An actor has ``run_once()``, the period ``every`` in seconds, ``on_bell``: whether a doorbell brings its turn forward,
and ``min_gap``: seconds that pass between two turns even so (a busy doorbell rings hundreds of times a second).
What a turn returns may say that there is ``more`` to do at once, or that something is ``due_in`` so many seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from typing import Any, Protocol

from rq_sched.errors import OtherSchema, RqSchedError
from rq_sched.link import Outage
from rq_sched.link.outage import worth_a_line
from rq_sched.process.backoff import backoff

log = logging.getLogger(__name__)

CLOCKS = 0.002
"""Seconds by which what is due must be past: its clock isn't ours."""


class Actor(Protocol):
    """Something that has a turn now and then. Actors never know of each other."""

    every: float
    on_bell: bool
    min_gap: float

    async def run_once(self) -> Any: ...


class Loop:
    """Runs actors until ``stop()``.

    Parameters:
        actors: each gets a coroutine of its own, so that a slow one delays nobody.
        outage: tells in the log that Redis is lost, so that no actor has to.
    """

    def __init__(self, actors: list[Actor], outage: Outage | None = None) -> None:
        self._actors = actors
        self.outage = outage
        self._stopping = asyncio.Event()
        self._bells = {id(actor): asyncio.Event() for actor in actors}
        self.done: dict[str, float] = {}
        """When (by the event loop's clock) each actor last did its work, or the loop began."""
        self._why: dict[str, str] = {}
        self._refused: OtherSchema | None = None

    def ring(self) -> None:
        """Bring forward the turn of every actor that listens for the doorbell."""
        for actor in self._actors:
            if actor.on_bell:
                self._bells[id(actor)].set()

    def stop(self) -> None:
        """End after the turns that are under way. Safe from a signal handler of the event loop."""
        self._stopping.set()
        for bell in self._bells.values():
            bell.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop_on_signals(self) -> None:
        """SIGTERM and SIGINT end the loop in order."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop)

    async def run(self, *listeners: Any) -> None:
        """Run until stopped. ``listeners`` are coroutines that ring; they are cancelled at the end.

        Raises:
            OtherSchema: the data were upgraded under it.
        """
        hearing = [asyncio.ensure_future(listener) for listener in listeners]
        try:
            async with asyncio.TaskGroup() as turns:
                for actor in self._actors:
                    turns.create_task(self._turns(actor))
        finally:
            for one in hearing:
                one.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
        if self._refused is not None:
            raise self._refused

    def overdue(self, late: float) -> str | None:
        """Who hasn't done his work for more than ``late`` seconds beyond his period, for how long, and why."""
        now = asyncio.get_running_loop().time()
        for actor in self._actors:
            name = type(actor).__name__.lower()
            quiet = now - self.done.get(name, now)
            if quiet > late + actor.every:
                why = self._why.get(name)
                return f"the {name} has done nothing for {quiet:.0f} s" + (f": {why}" if why else "")
        return None

    async def _turns(self, actor: Actor) -> None:
        bell = self._bells[id(actor)]
        name = type(actor).__name__.lower()
        failures = 0
        self.done[name] = asyncio.get_running_loop().time()
        while not self.stopping:
            bell.clear()
            began = asyncio.get_running_loop().time()
            try:
                result = await actor.run_once()
                wait = 0.0 if getattr(result, "more", False) else _until_next(actor, result)
                failures = 0
                self.done[name] = asyncio.get_running_loop().time()
                self._why.pop(name, None)
            except OtherSchema as error:  # there is nothing more to do for this code
                self._refused, wait = error, 0.0
                self.stop()
            except Exception as error:  # whatever it has read: the others go on, and so does it
                failures += 1
                wait = backoff(failures)
                self._why[name] = f"{type(error).__name__}: {error}"
                tell_failure(log, name, error, failures, self.outage)
            if not self.stopping:
                await _wait(bell, wait)
            if wait and not self.stopping and (early := began + actor.min_gap - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(early)


async def _wait(bell: asyncio.Event, seconds: float) -> None:
    """Until the bell rings, so long at most; others have a turn in any case."""
    await asyncio.sleep(0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await bell.wait()


def _until_next(actor: Actor, result: Any) -> float:
    wait = actor.every * random.uniform(0.8, 1.0)
    due_in = getattr(result, "due_in", None)
    return wait if due_in is None else min(wait, due_in + CLOCKS)


def tell_failure(log: logging.Logger, who: str, error: Exception, failures: int, outage: Outage | None) -> None:
    """A line for a failure that is tried again: with its traceback where it isn't one of ours."""
    if isinstance(error, RqSchedError):
        if worth_a_line(error, failures, outage):
            log.warning("%s: %s; trying again", who, error)
    elif failures & (failures - 1) == 0:  # the first one, the second, the fourth …
        log.error("%s failed, for the %d. time in a row; trying again", who, failures, exc_info=error)
