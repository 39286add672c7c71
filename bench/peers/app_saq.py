"""SAQ: two worker processes of 100 jobs each, no results kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from saq import Queue

from bench.peers import noop


async def f(ctx: Any, *, number: int, text: str) -> None:
    noop.f(number, text)


queue = Queue.from_url(noop.URL, name="bench")
settings = {"queue": queue, "functions": [f], "concurrency": 100}
WORKERS = {"2 × 100": [["saq", "bench.peers.app_saq.settings", "--workers", "2"]]}
COUNTS = {"2 × 100": 4000}


async def submit(numbers: Sequence[int]) -> None:
    for i in range(0, len(numbers), 50):
        await asyncio.gather(*(queue.enqueue("f", number=n, text="x", ttl=-1) for n in numbers[i : i + 50]))


async def submit_one(number: int) -> None:
    await submit([number])
