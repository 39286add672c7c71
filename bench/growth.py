"""Whether any process of a worker grows: 200,000 no-op tasks through one, its memory after each tenth.

    python -m bench.growth [--tasks N] [--slots N]

What counts is what a process can't give back: anonymous and shared pages; of the children the largest. The first tenth
is the warm-up. The result says by how many MB each kind of process is above what it had then; exit code 1 where one has
grown by more than 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import psutil

from bench.common import server
from bench.throughput import System, requests

TENTHS = 10
FLAT = 2.0
"""MB that a process may be above what it had after the warm-up."""
KINDS = {"rqs-agent": "agent", "rqs-child": "child", "rqs-subreaper": "subreaper"}


def held(pid: int) -> float:
    """MB that a process keeps from others."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1024


def sizes(worker: int) -> dict[str, float]:
    """MB by kind of process."""
    top = psutil.Process(worker)
    found = {"parent": held(worker)}
    for one in top.children(recursive=True):
        try:
            kind = KINDS.get(one.name(), one.name())
            found[kind] = max(found.get(kind, 0.0), held(one.pid))
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth")
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--slots", type=int, default=8)
    options = parser.parse_args()
    part = options.tasks // TENTHS
    with server("everysec") as running:
        system = System(running.url, "growth")
        with system.running(options.slots):
            seen: list[dict[str, float]] = []
            for tenth in range(TENTHS):
                before = system.completed()
                system.client.submit_many(requests(part, f"g{tenth}-"))
                system.until_completed(before + part)
                seen.append(sizes(system.pids["worker"]))
                told = "  ".join(f"{kind} {size:.1f}" for kind, size in seen[-1].items())
                print(f"{(tenth + 1) * part:>9,} tasks  MB: {told}", flush=True)
    grown = {kind: max(one.get(kind, 0.0) for one in seen) - size for kind, size in seen[0].items()}
    print("above the warm-up, MB: " + "  ".join(f"{kind} {size:.2f}" for kind, size in grown.items()))
    return int(any(size > FLAT for size in grown.values()))


if __name__ == "__main__":
    sys.exit(main())
