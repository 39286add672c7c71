"""Huey: 8 worker processes, results off."""

from __future__ import annotations

from collections.abc import Sequence

from huey import RedisHuey

from bench.peers import noop

huey = RedisHuey("bench", url=noop.URL, results=False)
f = huey.task()(noop.f)
WORKERS = {"8 processes": [["huey_consumer", "bench.peers.app_huey.huey", "-w", "8", "-k", "process", "-q"]]}
COUNTS = {"8 processes": 8000}


def submit(numbers: Sequence[int]) -> None:
    for n in numbers:
        f(n, "x")


def submit_one(number: int) -> None:
    f(number, "x")
