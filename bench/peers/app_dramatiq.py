"""Dramatiq: 4 processes of 8 threads; no results (the default)."""

from __future__ import annotations

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers import noop

dramatiq.set_broker(RedisBroker(url=noop.URL))
f = dramatiq.actor(actor_name="f")(noop.f)
WORKERS = {"4 × 8": [["dramatiq", "bench.peers.app_dramatiq", "--processes", "4", "--threads", "8"]]}
COUNTS = {"4 × 8": 8000}


def submit(numbers: Sequence[int]) -> None:
    for n in numbers:
        f.send(n, "x")


def submit_one(number: int) -> None:
    f.send(number, "x")
