"""What a task costs the server, counted instead of timed: instructions, commands, bytes of the append-only file.

``python -m bench.instructions [--tasks N] [--json]``

These figures don't depend on the day: the same code and the same server give the same counts, whatever else the machine
does. The server runs under valgrind's callgrind (Debian: ``valgrind``, ``redis-server``), which counts what it executes
outside the kernel. One driver plays a client and a node through ``Store``, one call at a time. Without valgrind,
``counted`` leaves the instructions out: a test holds the other counts.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.common import asked, info
from rq_sched.errors import RedisUnavailable
from rq_sched.link import Link
from rq_sched.model.orders import Order, Start
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from rq_sched.store.base import BATCH

SLOTS = 64
FULL = 28
"""Reports of one call when a node is busy: as many as an agent sends (``worker/agent/outbox.py``)."""
ALONE = 300
"""Tasks that are submitted, run and reported one by one."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one task cost in one phase. ``instructions``: in thousands; None: not counted."""

    phase: str
    commands: float
    bytes: float
    instructions: float | None


class Driver:
    """A client and a node with ``SLOTS`` slots, played by hand."""

    def __init__(self, link: Link, namespace: str = "counts") -> None:
        self.link, self.store = link, Store(namespace)
        self.acked = 0
        self.running: list[Start] = []
        link.run(self.store.node_register("n1", "i", Resources(SLOTS, 65_536), ttl=36_000))

    def submit(self, first: int, last: int, batch: int = BATCH) -> None:
        for start in range(first, last, batch):
            numbers = range(start, min(start + batch, last))
            self.link.run(self.store.submit([_request(n) for n in numbers]))

    def place(self) -> None:
        while self.link.run(self.store.place()).more:
            pass

    def poll(self) -> None:
        while orders := self.link.run(self.store.node_poll("n1", "i", acked=self.acked)):
            self._take(orders)

    def finish(self, most: int) -> int:
        ended, self.running = self.running[:most], self.running[most:]
        reports = [EndReport(one.token, one.task_id, "completed", ran=0.01, result=b"\xc0") for one in ended]
        self._take(self.link.run(self.store.task_finish("n1", "i", acked=self.acked, reports=reports)).orders)
        return len(ended)

    def _take(self, orders: Sequence[Order]) -> None:
        for order in orders:
            if order.number > self.acked:
                self.acked = order.number
                if isinstance(order, Start):
                    self.running.append(order)


def _request(number: int) -> TaskRequest:
    return TaskRequest("bench.noop:f", [number, "x"], task_id=f"t{number:010d}", memory_needed=1).check()


def counted(link: Link, tasks: int, meter: Callable[[], Callable[[], float | None]]) -> Iterator[Counts]:
    """The phases of a task's life, one after the other; ``tasks`` of each.

    Parameters:
        meter: begins to count instructions; what it gives ends that, and says how many there were.
    """
    driver = Driver(link)
    driver.submit(0, 4 * SLOTS)  # so that the scripts are loaded, and tables have grown
    driver.place()
    driver.poll()
    while driver.running:
        driver.finish(FULL)
    done = 10**6

    def phase(name: str, work: Callable[[], int]) -> Counts:
        commands, written, stop = _commands(link), _written(link), meter()
        number = work()
        instructions = stop()
        return Counts(
            name,
            (_commands(link) - commands) / number,
            (_written(link) - written) / number,
            None if instructions is None else instructions / number / 1000,
        )

    def submitted() -> int:
        driver.submit(done, done + 2 * tasks + 3 * SLOTS)
        return 2 * tasks + 3 * SLOTS

    def finished(most: int) -> Callable[[], int]:
        def work() -> int:
            number = 0
            while number < tasks:
                number += driver.finish(most)
            return number

        return work

    def alone() -> int:
        for number in range(ALONE):
            driver.submit(2 * done + number, 2 * done + number + 1)  # which places it, too
            driver.poll()
            driver.finish(1)
        return ALONE

    link.run(driver.store.node_drain("n1"))  # what is submitted waits
    driver.poll()
    yield phase(f"submit, {BATCH} a call", submitted)
    link.run(driver.store.node_undrain("n1"))
    driver.place()
    driver.poll()
    yield phase(f"finish and refill, {FULL} a call", finished(FULL))
    yield phase("finish and refill, 1 a call", finished(1))
    while driver.running:
        driver.finish(FULL)
    yield phase("a whole life alone", alone)


def _commands(link: Link) -> int:
    return sum(int(value.split("calls=")[1].split(",")[0]) for value in info(link, "commandstats").values())


def _written(link: Link) -> int:
    """Bytes of the append-only file: what is buffered is written before the server answers the next call."""
    return int(info(link, "persistence").get("aof_current_size", 0))


def not_counted() -> Callable[[], None]:
    """For ``counted``: no instructions."""
    return lambda: None


@contextmanager
def valgrind(folder: Path) -> Iterator[tuple[Link, Callable[[], Callable[[], float]]]]:
    """A server whose instructions are counted: a link to it, and a meter for ``counted``."""
    socket, out = folder / "redis.sock", folder / "out"
    command = [
        "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", _tool("redis-server"), "--port", "0",
        "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "yes",
        "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0",
        "--hz", "1", "--dynamic-hz", "no",  # what runs by the clock would run more often the slower the machine is
    ]  # fmt: skip
    with subprocess.Popen(
        [_tool(command[0]), *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            link = _connected(f"unix://{socket}")

            def meter() -> Callable[[], float]:
                _control("--zero", server.pid)
                return stop

            def stop() -> float:
                before = set(folder.glob("out*"))
                _control("--dump", server.pid)
                (dump,) = set(folder.glob("out*")) - before
                (line,) = (one for one in dump.read_text().splitlines() if one.startswith("totals:"))
                return float(line.split()[1])

            yield link, meter
            link.close()
        finally:
            server.kill()


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"{name} isn't installed: apt-get install valgrind redis-server")
    return found


def _control(option: str, pid: int) -> None:
    subprocess.run([_tool("callgrind_control"), option, str(pid)], check=True, capture_output=True, timeout=60)


def _connected(url: str) -> Link:
    link, until = Link(url, answer_seconds=60), time.monotonic() + 60
    while True:
        try:
            link.run(asked(("PING",)))
            return link
        except RedisUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000, help="of each phase")
    options = parser.parse_args()
    version = subprocess.run([_tool("redis-server"), "--version"], capture_output=True, text=True, check=True).stdout
    print(version.strip())
    print(f"{'of one task':<30} {'thousand instructions':>21} {'commands':>9} {'bytes appended':>15}")
    with tempfile.TemporaryDirectory(prefix="rqs-bench-") as folder, valgrind(Path(folder)) as (link, meter):
        for one in counted(link, options.tasks, meter):
            print(f"{one.phase:<30} {one.instructions:21,.1f} {one.commands:9.2f} {one.bytes:15,.0f}", flush=True)


if __name__ == "__main__":
    main()
