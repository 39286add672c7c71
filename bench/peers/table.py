"""What is said about the figures: how ours compare, what isn't the same, and the picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

from bench.common import Results

HIGHER = ("bulk submit/s", "drain/s", "submit and run at once/s")
LOWER = ("latency p50, ms", "latency p99, ms", "bytes a queued task")
OURS = "rq-sched"

QUEUE = "The queue is in Redis. Tasks have no needs: a worker runs as many at once as it is told to."
NOTES = {
    OURS: "All state is in Redis. Needs are counted, memory is enforced. A killed node counts as dead after its time "
    "to live (10 s unless --ttl says otherwise); of a worker that is killed alone its agent tells at once.",
    "dask": "State is in the memory of scheduler and client: when one of them ends, its tasks are gone. Tasks are "
    "threads of one process. Needs are counted, not enforced. A closed connection tells that a worker is dead; one "
    "that falls silent counts as dead after 5 minutes.",
    "hyperqueue": "From its package for Python: no journal, and workers that declare CPUs alone, so that nothing holds "
    "the mixed workload to its memory (hq worker start --resource would). Each task is a program; the no-op is true. A "
    "closed connection tells that a worker is dead.",
    "ray": "State is in the memory of driver and head: when one of them ends, its tasks are gone. No priorities. Each "
    "task has a process to itself, which is used again. Needs are counted, not enforced. A closed connection tells "
    "that a node is dead.",
}


def notes(names: Iterable[str]) -> list[str]:
    """What isn't the same about these, a line each."""
    names = list(names)
    queues = [name for name in names if name not in NOTES]
    lines = [f"{', '.join(queues)}: {QUEUE}"] if queues else []
    return lines + [f"{name}: {NOTES[name]}" for name in NOTES if name in names]


def ratios(results: Results) -> list[str]:
    """How the better of ours compares with the best peer, by the medians."""
    medians = {row: {c: statistics.median(v) for c, v in columns.items()} for row, columns in results.rows.items()}
    mine = {row: figures for row, figures in medians.items() if row.startswith(OURS)}
    lines = []
    for column in (*HIGHER, *LOWER):
        pick = max if column in HIGHER else min
        peers = {row: figures[column] for row, figures in medians.items() if row not in mine and column in figures}
        if not peers or not mine:
            continue
        best = pick(figures[column] for figures in mine.values())
        who = pick(peers, key=lambda row: peers[row])
        lines.append(f"{column}: {best / peers[who]:.2f} × {who}")
        if prefork := next((row for row in peers if "prefork" in row), None):
            lines[-1] += f", {best / peers[prefork]:.2f} × {prefork}"
    return lines


def plot(results: Results, path: Path) -> None:
    """The three rates as bars, ours first."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rows = list(results.rows)
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 0.38 * len(rows) + 1.2), sharey=True)
    for axis, column in zip(axes, HIGHER, strict=True):
        values = [statistics.median(results.rows[row].get(column, [0.0])) for row in rows]
        bars = axis.barh(rows, values, color=["#c0392b" if row.startswith(OURS) else "#7f8c8d" for row in rows])
        axis.bar_label(bars, [f" {value:,.0f}" if value else "" for value in values], fontsize=8)
        axis.set_title(column, fontsize=10)
        axis.set_xlim(0, max(values) * 1.25 or 1)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0].invert_yaxis()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
