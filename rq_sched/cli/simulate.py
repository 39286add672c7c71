"""``rq-sched simulate``: what would these nodes make of this workload?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rq_sched.cli import show
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.failure import print_error
from rq_sched.cli.options import Invocation, command
from rq_sched.cli.table import Column, table
from rq_sched.errors import InvalidValue
from rq_sched.model.settings import SETTINGS

if TYPE_CHECKING:
    from rq_sched.simulate import Replayed, Report

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, writable=True, path_type=Path)


@command("simulate")
@click.option(
    "--nodes", "nodes_file", type=FILE, required=True, help="The nodes: CSV with node_id,total_cpu,total_memory."
)
@click.option("--tasks", "tasks_file", type=FILE, required=True, help="The tasks: CSV, see docs/simulate.md.")
@click.option(
    "--policy", "policies", metavar="KEY=VALUE", multiple=True, help="A setting to try, such as reserve_after=off."
)
@click.option(
    "--limit", "limits", metavar="NAME=NUMBER", multiple=True, help="How much of a limit there is. May be given often."
)
@click.option("--known-durations", is_flag=True, help="Durations are given as time limits; node_choice is aligned.")
@click.option(
    "--elastic",
    type=click.Choice(["off", "cpu", "all"]),
    default="off",
    help="What is released by measurement, where the file says what tasks used.",
)
@click.option(
    "--usage",
    type=click.Choice(["even", "jump"]),
    default="even",
    help="How tasks come to what they used: evenly in the first half, or half at once and the rest at some moment.",
)
@click.option("--dump", type=OUTPUT, help="Write who ran where and when: JSON Lines.")
@click.option("--plot", type=OUTPUT, metavar="FILE.png", help="Draw utilisation and waits over time.")
@click.pass_obj
def simulate_command(
    session: Invocation,
    nodes_file: Path,
    tasks_file: Path,
    policies: Sequence[str],
    limits: Sequence[str],
    known_durations: bool,
    elastic: str,
    usage: str,
    dump: Path | None,
    plot: Path | None,
) -> int:
    """Replay a workload in virtual time: how long it takes, how long tasks wait, how full the nodes are.

    The real scripts decide, on a server of its own; days of work take seconds. Nothing of it touches your Redis.
    """
    from rq_sched.model.asked import parse_limits
    from rq_sched.simulate import simulate
    from rq_sched.simulate.plot import check_plot, write_plot
    from rq_sched.simulate.records import write_dump
    from rq_sched.simulate.workload import Workload, read_nodes, read_tasks

    policy = [_setting(text) for text in policies]
    if plot is not None:
        check_plot()
    aging = next((float(value) for name, value in reversed(policy) if name == "aging"), 0.0)
    workload = Workload(
        read_nodes(nodes_file),
        read_tasks(tasks_file),
        aging,
        {name: int(most) for name, most in parse_limits(limits, "--limit").items()},
    )
    with progress_bar("simulating", workload.tasks) as update:
        outcome = simulate(
            workload,
            known_durations=known_durations,
            policy=policy,
            elastic=elastic,
            usage=usage,
            progress=lambda done, seconds: update(done, f"at {show.duration(seconds)}"),
        )
    if dump is not None:
        write_dump(dump, workload, outcome.records)
    if plot is not None:
        write_plot(
            plot, workload, outcome.records, f"{show.count(workload.tasks, 'task')} on {len(workload.nodes)} nodes"
        )
    if session.json:
        show.json_line(outcome.report.to_dict())
    else:
        _print(outcome.report)
    return _verdict(session, outcome)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or name not in SETTINGS:
        raise InvalidValue(f"--policy must be KEY=VALUE with KEY one of {', '.join(SETTINGS)}, not {text!r}")
    try:
        return name, SETTINGS[name].parse(value)
    except InvalidValue as error:
        raise InvalidValue(f"--policy {name} {error}") from None


def _verdict(session: Invocation, outcome: Replayed) -> int:
    """The exit code: 1 if a promise was broken, which is then told."""
    for text in outcome.verdict.described:
        print_error("promise_broken", text, as_json=session.json)
    return 1 if outcome.verdict.over_allocations or outcome.verdict.inversions else 0


def _print(r: Report) -> None:
    """The report for people."""
    short = r.makespan / r.lower_bound if r.lower_bound else 1.0
    expired = f", {r.expired:,} expired" if r.expired else ""
    show.pairs(
        [
            ("tasks", f"{r.tasks:,}: {r.completed:,} completed, {r.infeasible:,} fit no node{expired}"),
            ("makespan", f"{show.duration(r.makespan)} ({r.makespan:,.1f} s), {short:.3f} × the lower bound"),
            ("lower bound", f"{show.duration(r.lower_bound)} ({r.lower_bound:,.1f} s)"),
            ("wait", f"mean {r.mean_wait:,.1f} s, 95 % within {r.p95_wait:,.1f} s, longest {r.longest_wait:,.1f} s"),
            ("bounded slowdown", f"mean {r.mean_slowdown:,.2f}"),
            (
                f"the {r.widest:,} widest",
                f"wait {r.wait_widest:,.1f} s, longest {r.longest_wait_widest:,.1f} s",
            ),
            ("in use", _in_use(r)),
            ("running", f"{r.mean_running:,.1f} tasks at once on average, {r.peak_running:,} at most"),
            ("gap-filled starts", f"{r.gap_filled:,}"),
            ("reservations", f"{r.reservations:,}"),
            ("preemptions", f"{r.preemptions:,}"),
            ("hurt by release", f"{r.hurt:,} tasks killed and run again"),
            (
                "promises",
                f"{r.over_allocations} over-allocations, {r.inversions} inversions in {r.inversions_checked:,} starts",
            ),
            (
                "cost",
                f"{r.redis_us_per_decision:.0f} µs of Redis a decision ({r.decisions:,}), longest script "
                f"{r.max_script_ms:.2f} ms, {r.redis_memory_mb:,.0f} MB, {r.wall_seconds:.1f} s in all",
            ),
        ]
    )
    if len(r.wait_by_priority) > 1:
        show.line()
        columns = [
            Column("PRIORITY", right=True),
            Column("MEAN WAIT", right=True),
            Column("SLOWDOWN", right=True),
        ]
        table(
            columns,
            (
                (priority, f"{wait:,.1f} s", f"{r.slowdown_by_priority[priority]:,.2f}")
                for priority, wait in r.wait_by_priority.items()
            ),
        )


def _in_use(report: Report) -> str:
    shares = {"CPU": report.cpu_utilisation, "memory": report.memory_utilisation, **report.resource_utilisation}
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
