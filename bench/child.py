"""What one no-op task costs its child, without agent, Redis or schedulers; and how much memory many leave in it.

    python -m bench.child                 # CPU, this code
    python -m bench.child --against DIR   # in turn with another checkout
    python -m bench.child --memory        # 200,000 tasks

A real child serves one end of a socket pair; the other end sends it an order, waits for the answer, and so on. Rounds
alternate between the two checkouts; the median of their ratios is what counts, as the machine's speed varies.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import msgpack

WARM_UP = 2000


@contextmanager
def child_of(function: str) -> Iterator[tuple[int, Callable[[int], None]]]:
    """A child that has nothing to do: its process, and what lets it run so many tasks."""
    from rq_sched.worker import frames
    from rq_sched.worker.allow import Allow
    from rq_sched.worker.child import process as child
    from rq_sched.worker.frames import Word, pack

    ours, theirs = getattr(frames, "child_pair", socket.socketpair)()  # another checkout may have none
    _, into = os.pipe()
    held = ("",) if find_spec("rq_sched.model.held") else ()  # another checkout's orders don't say it
    arguments = msgpack.packb([[1, "x" * 20], {}])
    parent, numbers = os.getpid(), itertools.count()
    pid = os.fork()
    if pid == 0:
        ours.close()
        child.main(theirs, into, Allow(["*"]), os.getcwd(), parent)
    theirs.close()
    os.close(into)

    def run(tasks: int) -> None:
        for number in itertools.islice(numbers, tasks):
            order = (Word.RUN, f"k{number}", f"task-{number:012}", 1, function, arguments, 1, 256, 1, 256, None, *held)
            ours.sendall(pack(order))
            if not ours.recv(65536):
                raise SystemExit("the child has ended")

    try:
        run(WARM_UP)
        yield pid, run
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        ours.close()


def measure(tasks: int, function: str) -> float:
    """CPU microseconds that a child takes a task."""
    with child_of(function) as (pid, run):
        before = _cpu(pid)
        run(tasks)
        return (_cpu(pid) - before) / tasks * 1e6


def grown(tasks: int, function: str) -> int:
    """KB that a child has grown by after so many tasks."""
    with child_of(function) as (pid, run):
        before = _memory(pid)
        run(tasks)
        return _memory(pid) - before


def _memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def _cpu(pid: int) -> float:
    """Seconds of CPU so far, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _elsewhere(folder: Path, arguments: list[str]) -> float:
    script = Path(__file__).resolve()
    out = subprocess.run(
        [sys.executable, str(script), "--once", *arguments],
        env={**os.environ, "PYTHONPATH": str(folder)},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(out.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000, help="a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--function", default="bench.noop:f")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--memory", action="store_true", help="how much 200,000 tasks leave in a child")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(measure(options.tasks, options.function))
        return
    if options.memory:
        print(f"{grown(200_000, options.function)} KB more after 200,000 tasks")
        return
    arguments = ["--tasks", str(options.tasks), "--function", options.function]
    here, there = Path(__file__).resolve().parents[1], options.against
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(_elsewhere(here, arguments))
        if there is not None:
            theirs.append(_elsewhere(there.resolve(), arguments))
    print(f"{statistics.median(ours):.2f} µs of CPU a task in the child ({min(ours):.2f} to {max(ours):.2f})")
    if theirs:
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(f"{statistics.median(theirs):.2f} against {there} ({min(theirs):.2f} to {max(theirs):.2f})")
        print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
