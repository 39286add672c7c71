"""What one no-op task costs its child: CPU of the child's process alone, without agent, Redis or schedulers.

    python -m bench.child                 # this code
    python -m bench.child --against DIR   # in turn with another checkout (its own .venv or this one's packages)

A real child serves one end of a socket pair; the other end sends it an order, waits for the answer, and so on. Both run
in turn on one core, so that nothing else disturbs the caches. Rounds alternate between the two; the median of their
ratios is what counts, as the machine's speed varies by the minute.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
from pathlib import Path

import msgpack

WARM_UP = 500


def measure(tasks: int, function: str) -> float:
    """CPU microseconds that a child takes a task."""
    from rq_sched.worker import child
    from rq_sched.worker.allow import Allow
    from rq_sched.worker.frames import Word, pack

    ours, theirs = socket.socketpair()
    _, into = os.pipe()
    arguments = msgpack.packb([[1, "x" * 20], {}])
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        child.main(theirs, into, Allow(["*"]), os.getcwd(), parent)
    theirs.close()
    os.close(into)

    def run(number: int) -> None:
        order = (Word.RUN, f"k{number}", f"task-{number:012}", 1, function, arguments, 1, 256, 1, 256, None)
        ours.sendall(pack(order))
        if not ours.recv(65536):
            raise SystemExit("the child has ended")

    try:
        for number in range(WARM_UP):
            run(number)
        before = _cpu(pid)
        for number in range(tasks):
            run(number)
        return (_cpu(pid) - before) / tasks * 1e6
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


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
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(measure(options.tasks, options.function))
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
