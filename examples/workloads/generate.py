"""Writes the made-up workloads in this folder, the same every time: ``python -m examples.workloads.generate``.

- ``office``: a day on three machines. Small jobs all day, more of them towards noon; now and then one that wants half a
  machine, or a whole one; one in ten is urgent. Measured use is given: most ask for far more memory than they use.
- ``burst``: everything at once: 3,000 tasks on 20 unequal machines, in groups of alike ones, a few that fit nowhere.
- ``cards``: a working day of a small group: four machines, two of them with four graphics cards each. Training takes
  one to four whole cards, looking at results a share of one, preparing data none.
- ``uneven``: half of the tasks want many cores and little memory, the other half the reverse.
- ``pipeline``: 40 samples in four steps each, and a report of all: each step waits for the one before.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
NODES = ("node_id", "total_cpu", "total_memory")
TASKS = (
    "task_id", "priority", "cpu_needed", "memory_needed", "max_cpu_needed", "max_memory_needed",
    "submit_at", "duration", "count", "cpu_used", "memory_used",
)  # fmt: skip


def write(
    folder: Path,
    nodes: Iterable[tuple[object, ...]],
    tasks: Iterable[tuple[object, ...]],
    more: tuple[str, ...] = (),
    resources: tuple[str, ...] = (),
) -> None:
    """``more``: further columns of the tasks; ``resources``: of both files."""
    folder.mkdir(exist_ok=True)
    headings = ("nodes.csv", NODES + resources, nodes), ("tasks.csv", TASKS + more + resources, tasks)
    for name, heading, rows in headings:
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(heading)
            writer.writerows(rows)


def office(r: random.Random) -> Iterable[tuple[object, ...]]:
    for i in range(1500):
        at = round(r.triangular(0, 8 * 3600, 4 * 3600), 1)
        cpu = r.choice((1, 1, 1, 1, 2, 2, 4, 8) if i % 50 else (16,))
        memory = r.choice((512, 1024, 2048, 4096)) * cpu
        duration = round(r.lognormvariate(5.1, 1.0), 1)
        used_cpu, used_memory = round(cpu * r.uniform(0.3, 1.0), 2), round(memory * r.uniform(0.05, 0.7))
        priority = 10 if r.random() < 0.1 else 0
        yield f"job{i}", priority, cpu, memory, cpu, memory, at, duration, "", used_cpu, used_memory


def burst(r: random.Random) -> Iterable[tuple[object, ...]]:
    left, i = 3000, 0
    while left > 0:
        count = min(left, r.randint(1, 60))
        cpu, memory = r.choice((1, 1, 2, 3, 4, 6, 8)), r.randint(2, 60) * 256
        duration = round(r.uniform(5, 90), 1)
        yield f"group{i}", r.choice((0, 0, 5)), cpu, memory, cpu, memory, 0, duration, count, "", ""
        left, i = left - count, i + 1
    yield "huge", 5, 1000, 1024, 1000, 1024, 0, 10, 3, "", ""


def uneven(r: random.Random) -> Iterable[tuple[object, ...]]:
    for i in range(1500):
        if r.random() < 0.5:
            cpu, memory = r.randint(3, 14), r.randint(500, 6000)
        else:
            cpu, memory = r.randint(1, 2), r.randint(12_000, 56_000)
        yield f"t{i}", 0, cpu, memory, cpu, memory, round(r.uniform(0, 60), 2), round(r.uniform(1, 20), 2), "", "", ""


def pipeline(r: random.Random) -> Iterable[tuple[object, ...]]:
    steps = (("fetch", 1, 512, 60), ("align", 8, 16_384, 900), ("call", 4, 8_192, 600), ("check", 1, 1_024, 120))
    for i in range(40):
        before = ""
        for step, cpu, memory, mean in steps:
            duration = round(mean * r.lognormvariate(0, 0.4), 1)
            yield f"{step}{i}", 0, cpu, memory, cpu, memory, i * 30, duration, "", "", "", before
            before = f"{step}{i}"
    yield "report", 0, 2, 4_096, 2, 4_096, 1200, 300, "", "", "", "+".join(f"check{i}" for i in range(40))


def cards(r: random.Random) -> Iterable[tuple[object, ...]]:
    for i in range(400):
        at = round(r.triangular(0, 8 * 3600, 3 * 3600), 1)
        kind = r.random()
        if kind < 0.3:
            number, minutes = r.choice((1, 1, 1, 2, 2, 4)), r.lognormvariate(2.7, 0.8)
            card, cpu, priority = str(number), 4 * number, 0
        elif kind < 0.6:
            card, minutes, cpu, priority = r.choice(("0.25", "0.5")), r.lognormvariate(1.5, 0.8), 1, 5
        else:
            card, minutes, cpu, priority = "", r.lognormvariate(2.5, 1.0), r.choice((1, 2, 4, 8)), 0
        memory, duration = 4096 * cpu, round(60 * minutes, 1)
        yield f"c{i}", priority, cpu, memory, cpu, memory, at, duration, "", "", "", card


def main() -> None:
    write(HERE / "office", [(f"pc{i}", 16, 65_536) for i in range(3)], office(random.Random(1)))
    sizes = [(8, 32_768), (16, 65_536), (32, 65_536), (64, 262_144)]
    write(HERE / "burst", [(f"b{i:02}", *sizes[i % 4]) for i in range(20)], burst(random.Random(2)))
    machines = [(f"m{i}", 32, 131_072, 4 if i < 2 else "") for i in range(4)]
    write(HERE / "cards", machines, cards(random.Random(4)), resources=("resource_gpu",))
    write(HERE / "uneven", [(f"u{i}", 32, 131_072) for i in range(8)], uneven(random.Random(3)))
    write(HERE / "pipeline", [(f"p{i}", 32, 131_072) for i in range(2)], pipeline(random.Random(4)), ("after",))


if __name__ == "__main__":
    main()
