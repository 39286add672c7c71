"""What the benches share: a server of their own, its own account of what it did, medians in a table."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from rq_sched.link import Link, Op, Request
from rq_sched.process.embedded import EmbeddedServer

ROOT = Path(__file__).parents[1]


def asked(*requests: Request) -> Op[list[Any]]:
    """An operation that only asks."""
    return (yield list(requests))


def info(link: Link, section: str) -> dict[str, str]:
    """A section of INFO."""
    (reply,) = link.run(asked(("INFO", section)))
    lines = (line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
    return dict(lines)


@contextmanager
def server(persistence: str, port: int = 0) -> Iterator[EmbeddedServer]:
    """A fresh embedded server. ``persistence``: ``everysec`` (the default of rq-sched), ``always`` or ``off``.
    ``port``: a TCP port besides its socket."""
    settings = {"latency-tracking-info-percentiles": "50 99 100", "port": str(port)}
    settings |= {"appendonly": "no"} if persistence == "off" else {"appendfsync": persistence}
    with tempfile.TemporaryDirectory(prefix="rqs-bench-") as folder:
        with EmbeddedServer(Path(folder), settings=settings) as running:
            yield running


@contextmanager
def process(*command: str) -> Iterator[int]:
    """A process of the command line (``worker``, ``scheduler``), as long as the block lasts; its id."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "rq_sched.cli", *command], env=environment, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as running:
        try:
            yield running.pid
        finally:
            running.send_signal(signal.SIGTERM)


@dataclass(slots=True)
class Cost:
    """What a stretch of work cost the server. Microseconds; ``script_*`` are single script calls, by its own clock."""

    seconds: float = 0.0
    cpu: float = 0.0  # of the whole server process, append-only file included
    commands: int = 0  # commands that were carried out, those inside scripts included
    scripts: int = 0  # script calls
    script_total: float = 0.0
    script_p50: float = 0.0
    script_p99: float = 0.0
    script_max: float = 0.0

    def per(self, tasks: int) -> dict[str, float]:
        """The figures that go into a table, for so many tasks."""
        return {
            "redis_cpu_us": self.cpu / tasks,
            "script_us": self.script_total / tasks,
            "calls": self.scripts / tasks,
            "commands": self.commands / tasks,
            "call_p50_us": self.script_p50,
            "call_p99_us": self.script_p99,
            "call_max_us": self.script_max,
        }


@contextmanager
def metered(link: Link) -> Iterator[Cost]:
    """Fills in a ``Cost`` at the end of the block. Nothing else may use the server meanwhile."""
    cost = Cost()
    link.run(asked(("CONFIG", "RESETSTAT")))
    cpu, start = cpu_seconds(link), time.perf_counter()
    yield cost
    cost.seconds = time.perf_counter() - start
    cost.cpu = (cpu_seconds(link) - cpu) * 1e6
    stats = {name.removeprefix("cmdstat_"): _numbers(value) for name, value in info(link, "commandstats").items()}
    cost.commands = int(sum(numbers["calls"] for numbers in stats.values()))
    script = stats.get("fcall", {})
    cost.scripts = int(script.get("calls", 0))
    cost.script_total = script.get("usec", 0.0)
    percentiles = _numbers(info(link, "latencystats").get("latency_percentiles_usec_fcall", ""))
    cost.script_p50, cost.script_p99 = percentiles.get("p50", 0.0), percentiles.get("p99", 0.0)
    cost.script_max = percentiles.get("p100", 0.0)


def cpu_seconds(link: Link) -> float:
    """CPU that the server process has used."""
    used = info(link, "cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def cpu_by_kind(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds used so far by these processes and all below them, summed by kind: those of a worker are its
    ``agent``, its ``children`` (both by the names that they give themselves) and the ``worker`` process above them."""
    used: dict[str, float] = {}
    for kind, pid in pids.items():
        try:
            top = psutil.Process(pid)
            for one in (top, *top.children(recursive=True)):
                times = one.cpu_times()
                name = {"rqs-agent": "agent", "rqs-child": "children"}.get(one.name(), kind)
                used[name] = used.get(name, 0.0) + times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return used


def _numbers(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"([\w.]+)=([\d.]+)", text)}


def circumstances(link: Link, persistence: str) -> dict[str, str]:
    """What the figures depend on."""
    running = info(link, "server")
    name = "valkey" if "valkey_version" in running else "redis"
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "driver": f"redis-py {version('redis')}, hiredis {version('hiredis')}",
        "server": f"{name} {running.get('valkey_version', running['redis_version'])}",
        "persistence": "none" if persistence == "off" else f"append-only, {persistence}",
    }


@dataclass(slots=True)
class Results:
    """Figures by row and column, a list of runs each."""

    title: str
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, figures: Mapping[str, float]) -> None:
        for column, value in figures.items():
            self.rows.setdefault(row, {}).setdefault(column, []).append(value)

    def show(self) -> str:
        """Medians, and behind ± half the distance from the lowest to the highest run."""
        columns = list(dict.fromkeys(column for row in self.rows.values() for column in row))
        table = [["", *columns]]
        table += [[name, *(_cell(row.get(column, [])) for column in columns)] for name, row in self.rows.items()]
        widths = [max(len(line[i]) for line in table) for i in range(len(columns) + 1)]
        lines = [
            "  ".join(
                text.ljust(width) if i == 0 else text.rjust(width)
                for i, (text, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in table
        ]
        return "\n".join([self.title, *lines])

    def to_json(self) -> dict[str, Any]:
        """Medians and all runs."""
        return {
            name: {column: {"median": statistics.median(runs), "runs": runs} for column, runs in row.items()}
            for name, row in self.rows.items()
        }


def _cell(runs: Sequence[float]) -> str:
    if not runs:
        return ""
    spread = (max(runs) - min(runs)) / 2
    return _short(statistics.median(runs)) + (f" ±{_short(spread)}" if len(runs) > 1 else "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def printed(results: Sequence[Results], around: Mapping[str, str], as_json: bool, notes: Sequence[str] = ()) -> None:
    """Writes everything to standard output. ``notes``: what else must be known to read the tables."""
    if as_json:
        told = {"circumstances": around, **{r.title: r.to_json() for r in results}}
        print(json.dumps(told | ({"notes": list(notes)} if notes else {}), indent=2))
        return
    print("\n".join(f"{name}: {value}" for name, value in around.items()))
    for one in results:
        print(f"\n{one.show()}")
    for note in notes:
        print(f"\n{note}")
