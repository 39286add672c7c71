"""Runs in a peer's own environment: measures it, and prints what it found as JSON.

``python -m bench.peers.drive NAME VARIANT`` with ``BENCH_URL``. Needs nothing but the peer.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.peers.noop import BACK, DONE, EVERY, line

PATIENCE = 120.0
LATENCIES = 100


class Peer:
    """One peer in one of its variants."""

    def __init__(self, name: str, variant: str) -> None:
        self.app: Any = importlib.import_module(f"bench.peers.app_{name}")
        self.commands = self.app.WORKERS[variant]
        self.count = self.app.COUNTS[variant]
        self._loop = asyncio.new_event_loop()

    def call(self, function: Callable[[Any], Any], argument: Any) -> None:
        """Call it, be it a coroutine function or not."""
        answer = function(argument)
        if inspect.isawaitable(answer):
            self._loop.run_until_complete(_await(answer))

    @contextmanager
    def working(self) -> Iterator[None]:
        """With its workers, each a process group of its own."""
        folder = Path(sys.executable).parent
        running = [
            subprocess.Popen(
                [str(folder / command[0]), *command[1:]],
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for command in self.commands
        ]
        try:
            yield
        finally:
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


async def _await(answer: Any) -> Any:
    return await answer


def until_done(count: int) -> float:
    """When so many tasks have run, by the clock; looked at every 2 ms."""
    deadline = time.perf_counter() + PATIENCE
    while int(line().get(DONE) or 0) * EVERY < count:
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{line().get(DONE)} × {EVERY} of {count} tasks ran within {PATIENCE:g} s")
        time.sleep(0.002)
    return time.perf_counter()


def answered(peer: Peer, number: int, patience: float) -> bool:
    """Submit one that answers, and wait for it."""
    peer.call(peer.app.submit_one, number)
    return line().blpop([BACK], timeout=patience) is not None


def measure(peer: Peer) -> dict[str, float]:
    """Bulk submit, drain, submit and run at once, latency, memory."""
    figures: dict[str, float] = {}
    count = peer.count
    line().flushall()
    peer.call(peer.app.submit, [1])  # connections, scripts
    before = line().info("memory")["used_memory"]
    start = time.perf_counter()
    peer.call(peer.app.submit, range(count))
    figures["bulk submit/s"] = count / (time.perf_counter() - start)
    figures["bytes a queued task"] = (line().info("memory")["used_memory"] - before) / count
    with peer.working():
        begun = until_done(count // 4)  # all its processes are there
        figures["drain/s"] = (count - count // 4) / (until_done(count) - begun)
        if not answered(peer, -1, PATIENCE):
            raise TimeoutError(f"no answer within {PATIENCE:g} s")
        line().delete(DONE, BACK)
        start = time.perf_counter()
        peer.call(peer.app.submit, range(count))
        figures["submit and run at once/s"] = count / (until_done(count) - start)
        line().delete(BACK)
        times = []
        for i in range(LATENCIES):
            start = time.perf_counter()
            if not answered(peer, -2 - i, PATIENCE):
                raise TimeoutError(f"no answer within {PATIENCE:g} s")
            times.append((time.perf_counter() - start) * 1000)
        figures["latency p50, ms"] = statistics.median(times)
        figures["latency p99, ms"] = statistics.quantiles(times, n=100)[98]
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(Peer(sys.argv[1], sys.argv[2]))))
