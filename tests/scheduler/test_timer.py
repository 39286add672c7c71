"""The timer: who has no schedules pays nothing for them; who has some gets their tasks in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from rq_sched.link import AsyncLink, Link, Op
from rq_sched.model.due import parse_times
from rq_sched.model.schedule import Schedule
from rq_sched.model.task import TaskRequest
from rq_sched.scheduler.reaper import Reaper
from rq_sched.scheduler.timer import NONE, Timer
from rq_sched.store import Store

Opened = Callable[[], AbstractAsyncContextManager[AsyncLink]]
SWEEP = 12
"""Commands of a sweep where there is nothing: FCALL, and what the script calls, one of it to look for schedules."""


def commands(link: Link) -> int:
    def asked() -> Op[Any]:
        return (yield [("INFO", "stats")])[0]

    return int(link.run(asked()).decode().partition("total_commands_processed:")[2].split()[0])


def test_without_schedules_no_command_is_sent_for_them(link: Link, alink: Opened, store: Store) -> None:
    async def rounds() -> tuple[int, int]:
        async with alink() as line:
            reaper, timer = Reaper(line, store, "s:1"), Timer(line, store)
            await reaper.run_once()
            before = commands(link)
            assert await timer.run_once() == NONE
            between = commands(link)
            await reaper.run_once()
            return between - before - 1, commands(link) - between - 1

    assert asyncio.run(rounds()) == (0, SWEEP)


def test_it_hears_of_the_first_schedule_from_a_sweep(link: Link, alink: Opened, store: Store, namespace: str) -> None:
    async def rounds() -> tuple[Any, ...]:
        async with alink() as line:
            reaper, timer = Reaper(line, store, "s:1"), Timer(line, store)
            await reaper.run_once()
            every = Schedule("s", parse_times(None, 3600, None), TaskRequest("m:f").check())
            link.run(Store(namespace).schedule_add(every))
            first = await timer.run_once()
            await reaper.run_once()
            return first, await timer.run_once()

    first, second = asyncio.run(rounds())
    assert first == NONE
    assert 3590 < second.due_in <= 3600
    assert not second.more
