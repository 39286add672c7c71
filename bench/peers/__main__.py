"""rq-sched beside other task queues on Redis, and beside systems that know resources, in the same run.

``python -m bench.peers [--runs N] [--persistence everysec|always|off] [--only NAME…] [--parts PART…]
[--plot FILE.png] [--json]``

Each queue has an environment of its own under ``.cache/peers`` (made here, from the package index, the newest release).
The systems that know resources come with the extra ``peers`` into the environment that runs this. Each runs as its docs
recommend (``app_NAME.py``), and does what rq-sched does: the same task, one client, two cores; the queues use the same
server on a TCP port. A peer that isn't installed, and can't be, is said to be missing.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.common import ROOT, Results, circumstances, info, printed, server
from bench.peers.mixed import CPUS, GIGABYTES, bound, workload
from bench.peers.resources import STRUCK, TASKS
from bench.peers.table import OURS, notes, plot, ratios
from bench.throughput import PENDING, System, at_once, drain, latency, requests
from rq_sched.link import Link

CACHE = ROOT / ".cache" / "peers"
QUEUES: dict[str, tuple[list[str], list[str]]] = {  # packages, variants
    "dramatiq": (["dramatiq[redis]"], ["4 × 8"]),
    "huey": (["huey", "redis"], ["8 processes"]),
    "taskiq": (["taskiq", "taskiq-redis"], ["2 × 1000"]),
    "saq": (["saq[redis]", "typing_extensions"], ["2 × 100"]),
    "arq": (["arq"], ["2 × 100"]),
    "celery": (["celery[redis]"], ["prefork 2", "2 solo"]),
    "rq": (["rq"], ["no fork", "fork"]),
}
RESOURCES = {  # the package of the extra, variants
    "dask": ("distributed", ["2 × 1"]),
    "hyperqueue": ("hyperqueue", ["2 CPUs"]),
    "ray": ("ray", ["2 CPUs"]),
}
SLOTS = (8, 64)
TASKS_OF_OURS = 10_000
KILLED = {"worker": "the worker's process", "node": "all its processes"}
TITLES = {
    "rates": "no-op tasks with two small arguments; one client, one machine; medians ± half the range",
    "mixed": f"{TASKS:,} tasks of 50 ms with four kinds of needs on {CPUS} CPUs and {GIGABYTES} GB; "
    f"no schedule takes less than {bound(workload(TASKS)):.2f} s",
    "recovery": f"one of two nodes of {STRUCK} CPUs is killed while {STRUCK} tasks run",
}
Measurement = Callable[[str], dict[str, float]]
"""Takes the server's URL."""


def installed(name: str) -> str:
    """The peer's version; makes its environment, if it has one of its own.

    Raises:
        RuntimeError: it isn't installed, or can't be: the last line of what pip said.
    """
    if name in RESOURCES:
        try:
            return version(RESOURCES[name][0])
        except PackageNotFoundError:
            raise RuntimeError("not installed: pip install -e '.[peers]'") from None
    packages, _ = QUEUES[name]
    python = python_of(name)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / name)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", "-q", "hiredis", *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    shown = subprocess.run([*pip, "show", packages[0].split("[")[0]], capture_output=True, text=True, check=True)
    return next(line.split(": ")[1] for line in shown.stdout.splitlines() if line.startswith("Version"))


def python_of(name: str) -> Path:
    """The interpreter of the environment that has this peer."""
    return CACHE / name / "bin" / "python" if name in QUEUES else Path(sys.executable)


def versions(names: list[str]) -> dict[str, str]:
    """Those that are there, with their versions. Who is missing is said and left out."""
    found = {}
    for name in names:
        try:
            found[name] = installed(name)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


def apart(name: str, module: str, arguments: Sequence[str], url: str) -> dict[str, float]:
    """One run of a peer, in a process of its own environment.

    Raises:
        RuntimeError: it failed; the last line of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="rqs-", ignore_cleanup_errors=True) as folder:
        places = {"PYTHONPATH": str(ROOT), "BENCH_URL": url, "BENCH_PORT": str(free_port()), "BENCH_FOLDER": folder}
        done = subprocess.run(
            [str(python_of(name)), "-m", module, *arguments],
            env={**os.environ, **places},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no word"])[-1])
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])  # Ray may have said something before
    return figures


def ours(slots: int, url: str) -> dict[str, float]:
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
        figures["drain/s"] = drain(system, TASKS_OF_OURS)["tasks/s"]
        figures["submit and run at once/s"] = at_once(system, TASKS_OF_OURS)["tasks/s"]
        waited = latency(system)
    figures["latency p50, ms"], figures["latency p99, ms"] = waited["p50_ms"], waited["p99_ms"]
    return figures


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def rates(found: Mapping[str, str]) -> Iterator[tuple[str, Measurement]]:
    """The rows of the first table, and what measures each."""
    for slots in SLOTS:
        yield f"{OURS}, {slots} slots", partial(ours, slots)
    for name, number in found.items():
        for variant in (QUEUES | RESOURCES)[name][1]:
            yield f"{name} {number} ({variant})", partial(apart, name, "bench.peers.drive", [name, variant])


def mixed(found: Mapping[str, str]) -> Iterator[tuple[str, Measurement]]:
    """Those of the second."""
    for row, name in systems(found):
        yield row, partial(apart, name, "bench.peers.resources", [name, "mixed"])


def recovery(found: Mapping[str, str]) -> Iterator[tuple[str, Measurement]]:
    """Those of the third."""
    for row, name in systems(found):
        for what, said in KILLED.items():
            yield f"{row}: {said}", partial(apart, name, "bench.peers.resources", [name, "recovery", what])


def systems(found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Those that know resources, ours first: how a row is called, and the name in ``app_NAME.py``."""
    yield OURS, "rq_sched"
    yield from ((f"{name} {number}", name) for name, number in found.items() if name in RESOURCES)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--persistence", choices=["everysec", "always", "off"], default="everysec")
    everybody = [*QUEUES, *RESOURCES]
    parser.add_argument("--only", nargs="*", default=everybody, choices=everybody, metavar="NAME")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="the rates as bars")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.plot and "rates" not in options.parts:
        parser.error("--plot draws the part rates")
    found = versions(options.only)
    results = {part: Results(TITLES[part]) for part in PARTS if part in options.parts}
    around: Mapping[str, str] = {}
    load = [f"{os.getloadavg()[0]:.1f}"]
    for run in range(options.runs):
        for part, table in results.items():
            for row, measure in PARTS[part](found):
                around = measured(table, row, measure, options.persistence) or around
        load.append(f"{os.getloadavg()[0]:.1f}")
        print(f"run {run + 1} of {options.runs} done", file=sys.stderr)
    around = {**around, "load average": " ".join(load)}
    printed(list(results.values()), around, options.json, notes([OURS, *found]))
    if "rates" in results:
        print("\n".join(("", *ratios(results["rates"]))), file=sys.stderr if options.json else sys.stdout)
    if options.plot:
        plot(results["rates"], options.plot)


def measured(table: Results, row: str, measure: Measurement, persistence: str) -> dict[str, str] | None:
    """One more run of a row, on a fresh server; what its figures depend on. One that fails is said and left out."""
    port = free_port()
    with server(persistence, port) as running:
        link = Link(running.url)
        around = circumstances(link, persistence)
        link.close()
        try:
            figures = measure(f"redis://127.0.0.1:{port}/0")
        except RuntimeError as error:
            print(f"{row} failed: {error}", file=sys.stderr)
            return None
    table.add(row, figures)
    print(row, {column: round(value, 2) for column, value in figures.items()}, file=sys.stderr)
    return around


PARTS = {"rates": rates, "mixed": mixed, "recovery": recovery}

if __name__ == "__main__":
    main()
