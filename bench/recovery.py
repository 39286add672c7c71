"""How soon the tasks of a dead node are pending again, and how long the scripts run that do it.

``python -m bench.recovery [--tasks N] [--persistence everysec|always|off]``

One node holds them all, started; its death is reported, then one scheduler gives back what it held, batch by batch, as
the reaper does.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass

from bench.common import metered, server
from bench.scripts import Drive
from rq_sched.link import Link
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskRequest

MARK_SECONDS = 2.0
MARK_SCRIPT = 5_000.0
"""µs that no script may run longer."""


@dataclass(frozen=True, slots=True)
class Requeued:
    """What giving back took: seconds in all, CPU seconds of the server, µs of the longest script call and of the 99th
    percentile."""

    tasks: int
    seconds: float
    cpu: float
    script_max: float
    script_p99: float


def requeue(link: Link, tasks: int) -> Requeued:
    """A node dies with so many started tasks on it."""
    drive = Drive(link, f"recovery-{tasks}")
    requests = [TaskRequest("bench.noop:f", task_id=f"t{n}", memory_needed=1).check() for n in range(tasks)]
    for at in range(0, tasks, 1000):
        link.run(drive.store.submit(requests[at : at + 1000]))
    drive.register(1, Resources(tasks, tasks))
    assert drive.place_all() + len(drive.running["n0"]) <= tasks
    drive.poll_all()
    tokens = [start.token for start in drive.running["n0"]]
    assert len(tokens) == tasks
    for at in range(0, tasks, 50):
        link.run(drive.store.task_start("n0", "i", tokens[at : at + 50]))
    link.run(drive.store.node_leave("n0", "i", crashed=True))
    with metered(link) as cost:
        (lost,) = link.run(drive.store.sweep())[1]
        reaped, left = 0, 1
        while left:
            batch, left = link.run(drive.store.reap(lost))
            reaped += batch
    assert reaped == tasks
    assert link.run(drive.store.counts())["pending"] == tasks
    return Requeued(tasks, cost.seconds, cost.cpu / 1e6, cost.script_max, cost.script_p99)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--persistence", default="everysec", choices=["everysec", "always", "off"])
    options = parser.parse_args()
    with server(options.persistence) as running:
        found = requeue(Link(running.url), options.tasks)
    print(f"{found.tasks:,} tasks of one dead node are pending again after {found.seconds:.2f} s")
    print(f"CPU of the server {found.cpu:.2f} s")
    print(f"longest script call {found.script_max / 1000:.2f} ms, p99 {found.script_p99 / 1000:.2f} ms")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    scaled = MARK_SECONDS * max(1.0, options.tasks / 100_000)
    return int(found.seconds > scaled or found.script_max > MARK_SCRIPT)


if __name__ == "__main__":
    sys.exit(main())
