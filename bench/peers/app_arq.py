"""arq: two workers of 100 jobs each, no results kept, queues polled every 10 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from bench.peers import noop


async def f(ctx: dict[str, Any], number: int, text: str) -> None:
    noop.f(number, text)


class WorkerSettings:
    functions = [f]  # noqa: RUF012
    redis_settings = RedisSettings.from_dsn(noop.URL)
    max_jobs = 100
    poll_delay = 0.01
    keep_result = 0


WORKERS = {"2 × 100": [["arq", "bench.peers.app_arq.WorkerSettings"]] * 2}
COUNTS = {"2 × 100": 3000}
_pool: ArqRedis | None = None


async def submit(numbers: Sequence[int]) -> None:
    global _pool
    _pool = _pool or await create_pool(WorkerSettings.redis_settings)
    for i in range(0, len(numbers), 50):
        await asyncio.gather(*(_pool.enqueue_job("f", n, "x") for n in numbers[i : i + 50]))


async def submit_one(number: int) -> None:
    await submit([number])
