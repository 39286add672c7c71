"""What an agent does beside its tasks: nothing of it ends the agent."""

from __future__ import annotations

import asyncio

import pytest

from rq_sched.worker.agent.background import FAILURES, Background


def test_a_service_is_begun_anew_when_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[int] = []

    async def scene() -> None:
        done = asyncio.Event()

        async def service() -> None:
            begun.append(len(begun))
            if len(begun) < 3:
                raise ValueError("what it has read")
            done.set()

        background = Background(asyncio.get_running_loop())
        background.serve(service)
        await asyncio.wait_for(done.wait(), 10)
        assert background.failing() is None
        await background.close()

    asyncio.run(scene())
    assert begun == [0, 1, 2]
    assert all(record.exc_info for record in caplog.records)
    assert len(caplog.records) == 2


def test_what_fails_for_ever_shows_in_health() -> None:
    async def scene() -> str | None:
        loop = asyncio.get_running_loop()
        background = Background(loop)

        def callback() -> None:
            raise KeyError("frame")

        for _ in range(FAILURES - 1):
            loop.call_soon(callback)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert background.failing() is None
        loop.call_soon(callback)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return background.failing()

    assert asyncio.run(scene()) == f"failed {FAILURES} times, at last with KeyError: its log has the traceback"
