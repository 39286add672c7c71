"""How good the schedules are: workloads replayed with several settings, beside a reference. ``make quality``.

    python -m bench.quality [--folder FOLDER] [--only NAME,…] [--huge]

FOLDER (default: the variable TRACES, else ``examples/workloads``) has a folder for each workload. If its README.md has
a table with the columns ``folder | node choice | makespan s | mean wait s``, the best of each row is the reference.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rq_sched.model.settings import OFF, SETTINGS
from rq_sched.simulate import Report, simulate
from rq_sched.simulate.workload import Workload, read_nodes, read_tasks

SHIPPED = Path(__file__).parents[1] / "examples" / "workloads"
HUGE = 500_000
"""Workloads of more tasks take minutes: only with --huge."""


class Variant(NamedTuple):
    """Settings to replay with."""

    name: str
    policy: tuple[tuple[str, Any], ...] = ()
    known: bool = False


def variants() -> list[Variant]:
    """The marks of the project: without reservation, as it comes, with known durations."""
    off = (("reserve_after", OFF), ("preempt_after", OFF))
    return [Variant("off", off), Variant("default"), Variant("known", known=True)]


def references(folder: Path) -> dict[str, tuple[float, float]]:
    """Best makespan and best mean wait of each workload, from the table in the folder's README."""
    readme = folder / "README.md"
    found: dict[str, tuple[float, float]] = {}
    for line in readme.read_text().splitlines() if readme.exists() else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) >= 4 and (folder / cells[0]).is_dir():
            makespan, wait = (_numbers(re.sub(r"\(.*?\)|;.*", "", cell)) for cell in cells[2:4])
            if makespan and wait:
                found[cells[0]] = min(makespan), min(wait)
    return found


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def workloads(folder: Path, only: Sequence[str]) -> Iterator[tuple[str, Workload]]:
    for nodes in sorted(folder.glob("*/nodes.csv")):
        if not only or nodes.parent.name in only:
            yield nodes.parent.name, Workload(read_nodes(nodes), read_tasks(nodes.with_name("tasks.csv")))


def line(name: str, variant: str, r: Report, reference: tuple[float, float] | None) -> str:
    ratios = "            -            -"
    if reference:
        ratios = f"{r.makespan / reference[0] - 1:+13.2%}{r.mean_wait / reference[1] - 1:+13.2%}"
    return (
        f"{name:15} {variant:8}{r.makespan:13,.1f}{r.mean_wait:12,.1f}{ratios}{r.mean_slowdown:9.2f}"
        f"{r.wait_widest:12,.1f}{r.longest_wait_widest:12,.1f}{r.reservations:8,}"
        f"{r.over_allocations:5}{r.inversions:5}{r.redis_us_per_decision:8.0f}{r.max_script_ms:8.2f}{r.replay_seconds:8.1f}"
    )


HEADING = (
    f"{'workload':15} {'setting':8}{'makespan s':>13}{'wait s':>12}{'makespan/ref':>13}{'wait/ref':>13}{'slowdown':>9}"
    f"{'widest s':>12}{'longest s':>12}{'reserved':>8}{'over':>5}{'inv':>5}{'µs/dec':>8}{'max ms':>8}{'wall s':>8}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("TRACES") or SHIPPED))
    parser.add_argument("--only", default="", help="names of workloads, with commas between")
    parser.add_argument("--huge", action="store_true", help="the huge ones too")
    parser.add_argument("--policy", action="append", default=[], metavar="KEY=VALUE", help="for all of them")
    options = parser.parse_args()
    pairs = (text.partition("=")[::2] for text in options.policy)
    extra = tuple((key, SETTINGS[key].parse(value)) for key, value in pairs)
    known = references(options.folder)
    print(HEADING)
    for name, workload in workloads(options.folder, [word for word in options.only.split(",") if word]):
        if workload.tasks > HUGE and not options.huge:
            print(f"{name:15} {workload.tasks:,} tasks: only with --huge")
            continue
        for variant in variants():
            report = simulate(workload, known_durations=variant.known, policy=(*variant.policy, *extra)).report
            print(line(name, variant.name, report, known.get(name)), flush=True)


if __name__ == "__main__":
    main()
