"""The scheduler process: placer, promoter, timer, reserver, reaper and janitor in one loop. It keeps no state, so any
number may run, and any of them may be killed at any time."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass

from rq_sched.errors import RedisNotReady
from rq_sched.link import AsyncLink, Outage, scripts
from rq_sched.link.address import parse
from rq_sched.process import logs
from rq_sched.process.backoff import backoff
from rq_sched.process.health import EVERY, LATE, Mood, Reporter, Systemd
from rq_sched.scheduler.janitor import Janitor
from rq_sched.scheduler.loop import Loop, tell_failure
from rq_sched.scheduler.placer import Placer
from rq_sched.scheduler.promoter import Promoter
from rq_sched.scheduler.reaper import Reaper
from rq_sched.scheduler.rescue import Rescuer
from rq_sched.scheduler.reserver import Reserver
from rq_sched.scheduler.timer import Timer
from rq_sched.store import Store

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
"""Seconds until a silent line counts as dead: recovery of others' tasks waits for it."""
PATIENCE = 5.0
"""Seconds until a call that was tried again and again counts as failed."""
RESCUE_EVERY = 0.5
"""Seconds between two looks whether a script blocks Redis, while it can't be used."""
POP_TIMEOUT = 1.0
"""Seconds that one wait for the doorbell lasts."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """What a scheduler process needs to know. ``log_format``: ``text`` or ``json``.
    ``health_file``: where it notes how it is (``health.py``)."""

    url: str
    namespace: str = "default"
    log_level: str = "info"
    log_format: str = "text"
    health_file: str | None = None


def run(config: SchedulerConfig) -> int:
    """Schedule until SIGTERM or SIGINT; the exit code."""
    logs.setup(config.log_level, config.log_format)
    asyncio.run(serve(config))
    return 0


async def serve(config: SchedulerConfig, ready: asyncio.Event | None = None) -> None:
    """The same inside an event loop.

    Raises:
        RqSchedError: Redis can't be used at the start (later outages are waited out).
        OtherSchema: also later, where the data have been upgraded meanwhile.
    """
    store = Store(config.namespace)
    outage = Outage()
    link = AsyncLink(
        config.url,
        outage=outage,
        answer_seconds=ANSWER_SECONDS,
        patience=PATIENCE,
        for_all=True,
        greeting=store.check_schema,
    )
    await _first_call(link, store)
    await link.load(scripts.names())
    name = str(os.getpid())
    reaper = Reaper(link, store, f"{os.uname().nodename}:{name}")
    await reaper.run_once()  # it is there from now on, before it does anything else
    loop = Loop(
        [
            Placer(link, store),
            Promoter(link, store),
            Timer(link, store),
            Reserver(link, store),
            reaper,
            Janitor(link, store),
        ],
        outage,
    )
    loop.stop_on_signals()
    reporter = Reporter("scheduler", name, config.health_file, url=config.url, namespace=config.namespace)
    log.info("scheduler ready", extra={"namespace": config.namespace})
    if ready is not None:
        ready.set()
    try:
        await loop.run(
            _doorbell(loop, link, store),
            _expiries(loop, link, store, config.url),
            _health(loop, outage, reporter),
            _rescue(loop, outage, link),
        )
    finally:
        await link.close()
        log.info("scheduler stopped", extra={"namespace": config.namespace})


async def _first_call(link: AsyncLink, store: Store) -> None:
    """A wrong address or password is told now, not for ever in the log. A server that a script blocks is freed."""
    rescuer, stopped = Rescuer(link), False
    until = time.monotonic() + PATIENCE
    while True:
        try:
            await link.run(store.counts())
            return
        except RedisNotReady:
            stopped = await rescuer.run_once() or stopped
            if not stopped or time.monotonic() > until:
                raise
        await asyncio.sleep(0.1)  # it ends a moment after it was stopped


async def _rescue(loop: Loop, outage: Outage, link: AsyncLink) -> None:
    """While Redis can't be used: stop the script that blocks it, if there is one."""
    rescuer = Rescuer(link)
    failures = 0
    while not loop.stopping:
        await asyncio.sleep(RESCUE_EVERY)
        if outage.since is None:
            rescuer.forget()
            continue
        try:
            await rescuer.run_once()
            failures = 0
        except Exception as error:
            failures += 1
            tell_failure(log, "rescuer", error, failures, outage)


async def _health(loop: Loop, outage: Outage, reporter: Reporter) -> None:
    """Tell how we are, until cancelled."""
    systemd = Systemd()
    failures = 0
    try:
        while True:
            try:
                if outage.since is not None:
                    mood, message = Mood.WAITING, outage.error
                else:
                    overdue = loop.overdue(LATE)
                    mood, message = (Mood.STUCK, overdue) if overdue else (Mood.OK, "")
                reporter.note(mood, message)
                systemd.tell(mood, message)
                failures = 0
            except Exception as error:
                failures += 1
                tell_failure(log, "the report of health", error, failures, outage)
            await asyncio.sleep(EVERY)
    finally:
        systemd.stopping()
        reporter.remove()


async def _doorbell(loop: Loop, link: AsyncLink, store: Store) -> None:
    """One element in ``wake`` wakes one scheduler."""
    failures = 0
    while not loop.stopping:
        try:
            if await link.pop(store.keys.wake, POP_TIMEOUT):
                loop.ring()
            failures = 0
        except Exception as error:  # a doorbell that can't be read is one that doesn't ring: the actors look anyway
            failures += 1
            tell_failure(log, "the doorbell", error, failures, loop.outage)
            await asyncio.sleep(backoff(failures))


async def _expiries(loop: Loop, link: AsyncLink, store: Store, url: str) -> None:
    """Expired heartbeat keys: hints only, the sweep finds what is missed."""
    channel = f"__keyevent@{parse(url).database}__:expired"
    prefix = store.keys.prefix.encode()
    failures = 0
    while not loop.stopping:
        try:
            async with link.listen(channel) as ears:
                failures = 0
                while True:
                    heard = await ears.get(timeout=60)
                    if heard and heard[1].startswith(prefix) and heard[1].endswith(b":alive"):
                        key = heard[1].decode("utf-8", "backslashreplace")
                        log.info("heartbeat expired", extra={"key": key, "at": time.time()})
                        loop.ring()
        except Exception as error:
            failures += 1
            tell_failure(log, "hearing of expired heartbeats", error, failures, loop.outage)
            await asyncio.sleep(backoff(failures))
