"""Runs in a peer's own environment: measures its rates and its latency, and prints what it found as JSON.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from bench.peers.noop import BACK, DONE, EVERY, line

PATIENCE = 120.0
LATENCIES = 100


@contextmanager
def running(commands: Sequence[Sequence[str]]) -> Iterator[list[int]]:
    """With these commands of the peer's environment, each a process group of its own; the ids of the groups."""
    folder = Path(sys.executable).parent
    started = [
        subprocess.Popen(
            [str(folder / command[0]), *command[1:]],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # the measurement has killed it
                pass
            process.wait()


class Peer:
    """One peer in one of its variants. ``server``: what must run besides Redis, if anything does."""

    def __init__(self, name: str, variant: str) -> None:
        self.app: Any = importlib.import_module(f"bench.peers.app_{name}")
        self.workers = self.app.WORKERS[variant]
        self.server = getattr(self.app, "SERVER", [])
        self.count = self.app.COUNTS[variant]
        self._loop = asyncio.new_event_loop()

    def call(self, function: Callable[[Any], Any], argument: Any) -> None:
        """Call it, be it a coroutine function or not."""
        answer = function(argument)
        if inspect.isawaitable(answer):
            self._loop.run_until_complete(_await(answer))


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


def bulk(peer: Peer) -> dict[str, float]:
    """Submits them all with nobody to take them. No figures for a peer that has a server of its own: Dask and Ray may
    have sent none of them yet."""
    line().flushall()
    peer.call(peer.app.submit, [1])  # connections, scripts
    before = line().info("memory")["used_memory"]
    start = time.perf_counter()
    peer.call(peer.app.submit, range(peer.count))
    seconds = time.perf_counter() - start
    if peer.server:
        return {}
    used = line().info("memory")["used_memory"] - before
    return {"bulk submit/s": peer.count / seconds, "bytes a queued task": used / peer.count}


def rates(peer: Peer) -> dict[str, float]:
    """The backlog worked off, then the same number submitted and run at once."""
    figures, count = {}, peer.count
    begun = until_done(count // 4)  # all its processes are there
    figures["drain/s"] = (count - count // 4) / (until_done(count) - begun)
    if not answered(peer, -1, PATIENCE):
        raise TimeoutError(f"no answer within {PATIENCE:g} s")
    line().delete(DONE, BACK)
    start = time.perf_counter()
    peer.call(peer.app.submit, range(count))
    figures["submit and run at once/s"] = count / (until_done(count) - start)
    return figures


def latency(peer: Peer) -> dict[str, float]:
    """One task after the other, from before its submit to its answer."""
    line().delete(BACK)
    times = []
    for i in range(LATENCIES):
        start = time.perf_counter()
        if not answered(peer, -2 - i, PATIENCE):
            raise TimeoutError(f"no answer within {PATIENCE:g} s")
        times.append((time.perf_counter() - start) * 1000)
    return {
        "latency p50, ms": statistics.median(times),
        "latency p99, ms": statistics.quantiles(times, n=100)[98],
    }


def measure(peer: Peer) -> dict[str, float]:
    """Bulk submit, drain, submit and run at once, latency, memory."""
    with running(peer.server):
        figures = bulk(peer)
        with running(peer.workers):
            return figures | rates(peer) | latency(peer)


def tell(measured: Callable[[], dict[str, float]]) -> NoReturn:
    """Print what is measured as JSON, or in one line on standard error why it can't be. Then end at once: a client
    whose server has been killed would try for a while to reach it again."""
    try:
        print(json.dumps(measured()), flush=True)
        os._exit(0)
    except Exception as error:
        said = (str(error).strip() or repr(error)).splitlines()[0]
        print(f"{type(error).__name__}: {said}", file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == "__main__":
    tell(lambda: measure(Peer(sys.argv[1], sys.argv[2])))
