"""rq-sched beside other task queues on Redis, in the same run.

``python -m bench.peers [--runs N] [--persistence everysec|off] [--only NAME…] [--plot FILE.png] [--json]``

Each peer has an environment of its own under ``.cache/peers`` (made here, from the package index, the newest release),
runs as its docs recommend for throughput (``app_NAME.py``), and does what rq-sched does: the same task, one client, the
same server on a TCP port, two cores. A peer that can't be installed is said to be missing.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.common import ROOT, Results, circumstances, info, printed, server
from bench.throughput import PENDING, System, at_once, drain, latency, requests
from rq_sched.link import Link

CACHE = ROOT / ".cache" / "peers"
PEERS: dict[str, tuple[list[str], list[str]]] = {  # packages, variants
    "dramatiq": (["dramatiq[redis]"], ["4 × 8"]),
    "huey": (["huey", "redis"], ["8 processes"]),
    "taskiq": (["taskiq", "taskiq-redis"], ["2 × 1000"]),
    "saq": (["saq[redis]", "typing_extensions"], ["2 × 100"]),
    "arq": (["arq"], ["2 × 100"]),
    "celery": (["celery[redis]"], ["prefork 2", "2 solo"]),
    "rq": (["rq"], ["no fork", "fork"]),
}
SLOTS = (8, 64)
TASKS = 10_000
HIGHER = ("bulk submit/s", "drain/s", "submit and run at once/s")
LOWER = ("latency p50, ms", "latency p99, ms", "bytes a queued task")


def installed(name: str) -> str:
    """Makes the peer's environment, if need be; its version.

    Raises:
        RuntimeError: it can't be installed; the last line of what pip said.
    """
    python = CACHE / name / "bin" / "python"
    packages, _ = PEERS[name]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / name)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", "-q", "hiredis", *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    shown = subprocess.run([*pip, "show", packages[0].split("[")[0]], capture_output=True, text=True, check=True)
    return next(line.split(": ")[1] for line in shown.stdout.splitlines() if line.startswith("Version"))


def peer(name: str, variant: str, url: str) -> dict[str, float]:
    """One run of a peer.

    Raises:
        RuntimeError: it failed; the last line of what it said.
    """
    done = subprocess.run(
        [str(CACHE / name / "bin" / "python"), "-m", "bench.peers.drive", name, variant],
        env={**os.environ, "PYTHONPATH": str(ROOT), "BENCH_URL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no word"])[-1])
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def ours(url: str, slots: int) -> dict[str, float]:
    """One run of rq-sched, on a node of so many slots."""
    figures: dict[str, float] = {}
    bulk = System(url, f"bulk{slots}")
    before = int(info(bulk.link, "memory")["used_memory"])
    start = time.perf_counter()
    bulk.client.submit_many(requests(PENDING // 2, "b-"))
    figures["bulk submit/s"] = PENDING // 2 / (time.perf_counter() - start)
    figures["bytes a queued task"] = (int(info(bulk.link, "memory")["used_memory"]) - before) / (PENDING // 2)
    system = System(url, f"ours{slots}")
    with system.running(slots):
        figures["drain/s"] = drain(system, TASKS)["tasks/s"]
        figures["submit and run at once/s"] = at_once(system, TASKS)["tasks/s"]
        waited = latency(system)
    figures["latency p50, ms"], figures["latency p99, ms"] = waited["p50_ms"], waited["p99_ms"]
    return figures


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def contenders(names: list[str]) -> Iterator[tuple[str, str, str]]:
    """Row, name and variant of each; name is empty for ours. Who can't be installed is said and left out."""
    for slots in SLOTS:
        yield f"rq-sched, {slots} slots", "", str(slots)
    for name in names:
        try:
            found = installed(name)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{name} can't be installed: {error}", file=sys.stderr)
            continue
        for variant in PEERS[name][1]:
            yield f"{name} {found} ({variant})", name, variant


def ratios(results: Results) -> list[str]:
    """How the better of ours compares with the best peer, by the medians."""
    medians = {row: {c: statistics.median(v) for c, v in columns.items()} for row, columns in results.rows.items()}
    mine = {row: figures for row, figures in medians.items() if row.startswith("rq-sched")}
    peers = {row: figures for row, figures in medians.items() if row not in mine}
    lines = []
    for column in (*HIGHER, *LOWER) if peers else ():
        pick = max if column in HIGHER else min
        best = pick(figures[column] for figures in mine.values())
        who = pick(peers, key=lambda row: peers[row][column])
        lines.append(f"{column}: {best / peers[who][column]:.2f} × {who}")
        if prefork := next((row for row in peers if "prefork" in row), None):
            lines[-1] += f", {best / peers[prefork][column]:.2f} × {prefork}"
    return lines


def plot(results: Results, path: Path) -> None:
    """The three rates as bars, ours first."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rows = list(results.rows)
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 0.38 * len(rows) + 1.2), sharey=True)
    for axis, column in zip(axes, HIGHER, strict=True):
        values = [statistics.median(results.rows[row][column]) for row in rows]
        bars = axis.barh(rows, values, color=["#c0392b" if row.startswith("rq-sched") else "#7f8c8d" for row in rows])
        axis.bar_label(bars, [f" {value:,.0f}" for value in values], fontsize=8)
        axis.set_title(column, fontsize=10)
        axis.set_xlim(0, max(values) * 1.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0].invert_yaxis()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--persistence", choices=["everysec", "always", "off"], default="everysec")
    parser.add_argument("--only", nargs="*", default=list(PEERS), choices=list(PEERS), metavar="NAME")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = Results("no-op tasks with two small arguments; one client, one machine; medians ± half the range")
    around: Mapping[str, str] = {}
    rows = list(contenders(options.only))
    load = [f"{os.getloadavg()[0]:.1f}"]
    for run in range(options.runs):
        for row, name, variant in rows:
            port = free_port()
            with server(options.persistence, port) as running:
                url = f"redis://127.0.0.1:{port}/0"
                link = Link(running.url)
                around = circumstances(link, options.persistence)
                link.close()
                try:
                    figures = peer(name, variant, url) if name else ours(url, int(variant))
                    results.add(row, figures)
                    print(row, {column: round(value, 2) for column, value in figures.items()}, file=sys.stderr)
                except RuntimeError as error:
                    print(f"{row} failed: {error}", file=sys.stderr)
        load.append(f"{os.getloadavg()[0]:.1f}")
        print(f"run {run + 1} of {options.runs} done", file=sys.stderr)
    printed([results], {**around, "load average": " ".join(load)}, options.json)
    print("\n".join(("", *ratios(results))), file=sys.stderr if options.json else sys.stdout)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
