"""taskiq: a stream, two processes of 1,000 coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskiq_redis import RedisStreamBroker

from bench.peers import noop

broker = RedisStreamBroker(url=noop.URL)


@broker.task(task_name="f")
async def f(number: int, text: str) -> None:
    noop.f(number, text)


WORKERS = {
    "2 × 1000": [["taskiq", "worker", "bench.peers.app_taskiq:broker", "--workers", "2", "--max-async-tasks", "1000"]]
}
COUNTS = {"2 × 1000": 5000}
_started = False


async def submit(numbers: Sequence[int]) -> None:
    global _started
    if not _started:
        await broker.startup()
        _started = True
    for i in range(0, len(numbers), 50):
        await asyncio.gather(*(f.kiq(n, "x") for n in numbers[i : i + 50]))


async def submit_one(number: int) -> None:
    await submit([number])
