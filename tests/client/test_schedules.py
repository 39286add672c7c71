"""``client.every`` and the handles of schedules, blocking and awaiting, in virtual time."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import pytest

from rq_sched import State, TaskRequest, testing
from rq_sched.errors import InvalidValue, ScheduleExists, ScheduleNotFound, UsageError, WrongState


def test_a_schedule_runs() -> None:
    with testing.cluster() as client:
        hourly = client.every("hourly", math.hypot, 3, 4, cron="@hourly", memory="64M")
        assert client.every("hourly", math.hypot, 3, 4, cron="@hourly", memory="64M") == hourly
        for _ in range(3):
            client.advance("1h")
            client.run()
        info = hourly.info()
        assert (info.made, info.skipped, info.last_state, info.memory_needed) == (3, 0, State.COMPLETED, 64)
        assert client.handle(str(info.last_task_id)).result() == 5.0
        assert client.schedules() == [info]
        assert (client.info().schedules, client.info().next_due) == (1, info.next_due)
        with pytest.raises(ScheduleExists, match="the name hourly is taken by another schedule"):
            client.every("hourly", math.hypot, 3, 4, cron="@daily")


def test_paused_resumed_run_removed() -> None:
    with testing.cluster() as client:
        client.every("s", "math:sqrt", 4, interval=timedelta(minutes=5))
        schedule = client.schedule("s")
        assert schedule.pause()
        assert not schedule.pause()
        with pytest.raises(WrongState, match="paused"):
            schedule.run()
        assert schedule.resume()
        assert schedule.run().result() == 2.0
        schedule.remove()
        with pytest.raises(ScheduleNotFound, match="no schedule s"):
            schedule.info()


def test_awaiting() -> None:
    asyncio.run(awaiting())


async def awaiting() -> None:
    async with testing.async_cluster() as client:
        nightly = await client.every("nightly", "math:sqrt", 9, cron="0 3 * * *", tz="Europe/Zurich", overlap="queue")
        assert await (await nightly.run()).result() == 3.0
        (info,) = await client.schedules()
        assert (info.name, info.overlap, info.made) == ("nightly", "queue", 1)
        await nightly.remove()
        assert await client.schedules() == []


def test_a_request_says_everything() -> None:
    with testing.cluster() as client:
        request = TaskRequest("math:sqrt", [16], cpu=2)
        client.every("s", request, cron="@daily")
        client.every("s", request, cron="@daily")
        assert client.schedule("s").run().result() == 4.0


REFUSED: list[dict[str, Any]] = [
    {}, {"cron": "@daily", "task_id": "t"}, {"cron": "@daily", "array": "1-3"}, {"cron": "@daily", "overlap": "maybe"},
    {"cron": "@daily", "catch_up": "some"}, {"interval": 5, "catch_up": "all"}, {"cron": "@daily", "memroy": 5},
]  # fmt: skip


@pytest.mark.parametrize("keywords", REFUSED)
def test_what_is_refused(keywords: dict[str, Any]) -> None:
    with testing.cluster() as client:
        with pytest.raises(InvalidValue):
            client.every("s", "math:sqrt", 4, **keywords)
        with pytest.raises(UsageError):
            client.every("no name", "math:sqrt", 4, cron="@daily")
        assert client.schedules() == []


def report(tz: str) -> str:
    return tz


def test_a_parameter_of_the_same_name_is_told() -> None:
    with testing.cluster() as client:
        with pytest.raises(
            InvalidValue, match="tz is meant for the schedule, and the function has a parameter of that"
        ):
            client.every("s", report, cron="@daily", tz="Europe/Zurich")
        client.every("s", TaskRequest(f"{__name__}:report", [], {"tz": "CET"}), cron="@daily", tz="Europe/Zurich")
        assert client.schedule("s").info().kwargs == {"tz": "CET"}
