"""The short form of ``python -m bench.outage``: Redis is away for three times to live, with nodes at work."""

from __future__ import annotations

import asyncio

from bench.common import server
from bench.outage import survive


def test_nobody_is_taken_for_dead_and_nothing_is_lost() -> None:
    with server("everysec") as running:
        found = asyncio.run(survive(running, nodes=20, ttl=1.0, tasks=1500))
    assert (found.dead, found.completed) == (0, 1500)
    assert found.back < 5
