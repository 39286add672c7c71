"""The demo: see the package's docstring. Exit code 0: all checks hold."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console

from examples.census import checks, report
from examples.census.cluster import NODES, SCHEDULERS, Cluster, ClusterError, running
from examples.census.watch import Watch
from examples.census.workload import LIMIT, request, sources
from rq_sched import Client
from rq_sched.errors import RqSchedError

TIMEOUT = 150.0
"""Seconds that the work may take: it ends by itself, whatever happens."""


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.census", description="A census of the standard library.")
    parser.add_argument("--files", type=int, default=LIMIT, metavar="N", help=f"at most so many files ({LIMIT})")
    files = parser.parse_args().files
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    try:
        with running() as cluster:
            bad = _census(console, cluster, files)
    except (ClusterError, RqSchedError) as error:
        console.print(f"it broke off: {error}", style="red")
        return 1
    left = [f"{process.pid} {process.name()}" for process in cluster.left_over]
    left += [str(cluster.folder)] if cluster.folder.exists() else []
    report.check(console, "nothing is left: no process, no file", left)
    bad = bad or bool(left)
    console.print()
    console.print("SOMETHING IS WRONG" if bad else "all checks hold", style="red" if bad else "green")
    return 1 if bad else 0


def _census(console: Console, cluster: Cluster, limit: int) -> bool:
    """Submit, wait, report, check; whether something is wrong."""
    files = {f"file-{number:04d}": source for number, source in enumerate(sources(limit))}
    console.print(f"running: {SCHEDULERS} schedulers, {len(NODES)} nodes; {len(files):,} source files to count")
    watch = Watch(cluster.url)
    watch.start()
    begun = time.monotonic()
    with Client(cluster.url) as client:
        client.submit_many(request(number, source, cluster.folder) for number, source in enumerate(files.values()))
        with report.progress(console, len(files)) as advance:
            try:
                for done, _ in enumerate(client.as_completed(files, TIMEOUT), 1):
                    advance(done)
            finally:
                seconds = time.monotonic() - begun
                seen = watch.stop()
        outcome = checks.gather(client, files, seen, cluster.folder, seconds)
    console.print()
    report.census(console, outcome)
    report.nodes(console, outcome)
    console.print("checks (each file is counted again in this process, to compare: a moment)")
    bad = False
    for words, wrong in checks.failures(outcome):
        report.check(console, words, wrong)
        bad = bad or bool(wrong)
    return bad


if __name__ == "__main__":
    sys.exit(main())
