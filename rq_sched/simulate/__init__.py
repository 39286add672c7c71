"""Replays a workload through the real scripts, on a server of its own, in virtual time, and judges what came out.

``workload`` reads what is to be replayed; ``replay`` plays the world around the scripts: it says what happens when,
``cell`` asks the scripts and keeps raw ``records``, ``sampling`` measures what runs and gives back what isn't used;
``judge`` proves from these, and from nothing else, that no node held more than it has and nobody was overtaken wrongly;
``measures`` says what the schedule is worth, ``plot`` draws it. There is no second scheduler here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rq_sched.simulate.judge import Verdict, judge
from rq_sched.simulate.measures import Measures, measure
from rq_sched.simulate.records import Records
from rq_sched.simulate.replay import Progress, Replay
from rq_sched.simulate.server import ServerMeter, own_server
from rq_sched.simulate.workload import Workload

LOOK_EVERY = 1.0
"""Seconds between two looks at the server's log of slow scripts."""


@dataclass(slots=True)
class Report:
    """What a replay gave: the fields of ``rq-sched simulate --json``. Times in seconds, memory in MB.

    ``gap_filled``: starts while an earlier task, which some node could hold, had to wait on. ``decisions``: attempts
    placed. ``redis_us_per_decision``: CPU time of the server's main thread, everything included. ``hurt``: tasks that
    were killed because what had been taken from them was needed after all, and ran again.
    """

    tasks: int
    completed: int
    infeasible: int
    expired: int
    makespan: float
    lower_bound: float
    mean_wait: float
    p95_wait: float
    longest_wait: float
    mean_slowdown: float
    wait_by_priority: dict[str, float]
    slowdown_by_priority: dict[str, float]
    widest: int
    wait_widest: float
    longest_wait_widest: float
    cpu_utilisation: float
    memory_utilisation: float
    resource_utilisation: dict[str, float]
    mean_running: float
    peak_running: int
    over_allocations: int
    inversions: int
    inversions_checked: int
    gap_filled: int
    reservations: int
    preemptions: int
    hurt: int
    decisions: int
    redis_us_per_decision: float
    redis_memory_mb: float
    max_script_ms: float
    replay_seconds: float
    wall_seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Replayed:
    """A report, and what it rests on."""

    report: Report
    records: Records
    verdict: Verdict


def simulate(
    workload: Workload,
    *,
    known_durations: bool = False,
    policy: Sequence[tuple[str, Any]] = (),
    elastic: str = "off",
    usage: str = "even",
    progress: Progress | None = None,
) -> Replayed:
    """Replay a workload and judge it.

    Parameters:
        workload: see ``workload.read_nodes`` and ``read_tasks``.
        known_durations: the durations are given as time limits, so that the scheduler knows them; ``node_choice`` is
            ``aligned`` then, unless the policy says otherwise.
        policy: settings (``settings.SETTINGS``) and their values.
        elastic: what is released by measurement: ``off``, ``cpu`` or ``all`` (for tasks whose use is known).
        usage: how a task comes to what it used: ``even`` or ``jump`` (see ``simulate.elastic``).
        progress: told now and then how many tasks are done, and the virtual time.

    Raises:
        RedisUnavailable: there is no server to start.
        Stuck: the scripts left tasks waiting that could run.
    """
    began = time.monotonic()
    if known_durations:
        policy = [("node_choice", "aligned"), *policy]
    with own_server() as link:
        meter = ServerMeter(link)
        looked = time.monotonic()

        def watch(done: int, seconds: float) -> None:
            nonlocal looked
            if time.monotonic() - looked > LOOK_EVERY:
                looked = time.monotonic()
                meter.look()
            if progress is not None:
                progress(done, seconds)

        replay = Replay(
            link,
            workload,
            known_durations=known_durations,
            policy=policy,
            elastic=elastic,
            usage=usage,
            progress=watch,
        )
        replay.run()
        replayed = time.monotonic() - began
        meter.look()
        server = _server(meter, replay.cell.decisions)
    verdict = judge(workload, replay.records)
    found = _found(workload, replay, verdict)
    report = Report(**found, **server, replay_seconds=replayed, wall_seconds=time.monotonic() - began)
    return Replayed(report, replay.records, verdict)


def _server(meter: ServerMeter, decisions: int) -> dict[str, Any]:
    """What the replay took of the server."""
    return {
        "redis_us_per_decision": meter.cpu_seconds() / max(1, decisions) * 1e6,
        "redis_memory_mb": meter.peak_memory() / 2**20,
        "max_script_ms": meter.longest_ms,
    }


def _found(workload: Workload, replay: Replay, verdict: Verdict) -> dict[str, Any]:
    """What the schedule is worth."""
    cell = replay.cell
    return {
        "tasks": workload.tasks,
        "completed": cell.completed,
        "infeasible": replay.infeasible,
        "expired": cell.expired,
        **_measured(measure(workload, replay.records)),
        "over_allocations": verdict.over_allocations,
        "inversions": verdict.inversions,
        "inversions_checked": verdict.starts,
        "gap_filled": verdict.gap_filled,
        "reservations": len(replay.records.reserved),
        "preemptions": cell.preemptions,
        "hurt": replay.sampling.hurt,
        "decisions": cell.decisions,
    }


def _measured(m: Measures) -> dict[str, Any]:
    return {
        "makespan": m.makespan,
        "lower_bound": m.lower_bound,
        "mean_wait": m.all.mean,
        "p95_wait": m.all.percentile(0.95),
        "longest_wait": m.all.longest,
        "mean_slowdown": m.all.mean_slowdown,
        "wait_by_priority": {str(priority): waits.mean for priority, waits in m.by_priority.items()},
        "slowdown_by_priority": {str(priority): waits.mean_slowdown for priority, waits in m.by_priority.items()},
        "widest": len(m.widest.waits),
        "wait_widest": m.widest.mean,
        "longest_wait_widest": m.widest.longest,
        "cpu_utilisation": m.cpu_utilisation,
        "memory_utilisation": m.memory_utilisation,
        "resource_utilisation": m.resource_utilisation,
        "mean_running": m.concurrency,
        "peak_running": m.peak_concurrency,
    }
