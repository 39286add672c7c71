"""Every screen of the command line on one rich cell: long ids, failures, faults, labels, arrays, large numbers."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rq_sched.cli import COMMANDS, main
from rq_sched.model.values import pack
from tests.cli.kit import HandCell

LONG = "nightly-build-of-everything." + "x" * 99 + "e"
"""An id of 128 characters."""
FAULT = "its folder /var/lib/rq-sched/work can't be written: No space left on device (28), 0 of 512000 MB are free"
TRACEBACK = """Traceback (most recent call last):
  File "/srv/app/releases/2026-11-24/site-packages/studio/pipeline/render.py", line 217, in render_all_of_the_frames
    raise ValueError(f"frame {number} of {shot} has {len(found)} layers, and {wanted} were wanted by the compositor")
ValueError: frame 12 of attic has 3 layers, and 4 were wanted by the compositor
"""
FAILED = "attic-shot-0217-lighting-pass-of-the-second-unit"
TOO_LARGE = "too-large-" + "y" * 60
NODES = ("gpu-1", "render-farm-node-with-a-long-name-0123456789", "faulty-1", "draining-1", "dead-1")
FILE = """{"function": "m:f", "cpu_needed": 1}
{"function": "m:f", "cpu_needed": 5000}
{"function": "m:f", "cpu_neded": 5000, "a_field_that_nobody_knows_of": [1, 2, 3]}
"""
WIDTHS = (60, 80, 100, 200)


def rich_cell(hand: HandCell) -> HandCell:
    """Nodes of all kinds and tasks in all states. An array has taken the largest node."""
    hand.node("gpu-1", cpu=8, memory=65536, ttl=600, labels=["gpu", "ssd", "rack-17", "driver-550.54.14"])
    result = pack({"frames": list(range(40)), "path": "/srv/" + "long/" * 20}, "")
    hand.submit("done")
    hand.run_one("done", "gpu-1", result=result, output=b"rendered 40 frames\n" + b"word " * 60 + b"\n")
    hand.submit(LONG, cpu=2, priority=5)
    hand.run_one(LONG, "gpu-1", outcome="failed", reason="error", error=TRACEBACK)
    hand.submit("timed-out", time_limit=3600)
    hand.run_one("timed-out", "gpu-1", outcome="failed", reason="timeout", error="killed after 1h 00m")
    hand.submit(FAILED, cpu=1)
    hand.run_one(FAILED, "gpu-1", outcome="failed", reason="error", error=TRACEBACK)
    hand.submit("running-1", cpu=4, memory=8192, priority=2_000_000_000)
    hand.begin("running-1", "gpu-1")
    hand.submit("ended", cpu=999)
    hand.run(hand.store.cancel("ended", requeue=False))
    hand.submit("later", "aside", delay=3600)
    hand.run(hand.store.hold("aside"))
    hand.node("render-farm-node-with-a-long-name-0123456789", cpu=64, memory=524288, ttl=600)
    hand.submit("sweep", cpu=64, array="1-10000000")
    hand.begin("sweep/1", "render-farm-node-with-a-long-name-0123456789")
    for node_id in ("faulty-1", "draining-1", "dead-1"):
        hand.node(node_id, cpu=2, memory=131072, ttl=600)
    hand.submit(TOO_LARGE, cpu=512, memory=1_000_000)
    hand.submit("waits", cpu=7, priority=7, require=["gpu", "ssd"])
    hand.run(hand.store.node_fault("faulty-1", "1", FAULT))
    hand.run(hand.store.node_drain("draining-1"))
    hand.run(hand.store.node_leave("dead-1", "1", crashed=True))
    return hand


@dataclass(frozen=True)
class Screen:
    """A command line at a terminal.

    Parameters:
        words: what is typed; ``FILE`` is a file of tasks.
        must: what stands on it at every width, whole.
        code: its exit code.
        raw: it prints what a task wrote or returned, as it is.
    """

    words: str
    must: tuple[str, ...]
    code: int = 0
    raw: bool = False


STATES = ("failed (error)", "failed (timeout)", "running", "pending (infeasible)", "completed", "held", "delayed")
IDS = (LONG, FAILED, TOO_LARGE, "running-1", "sweep", "sweep/1", "waits", "later", "aside", "ended", "done")
SCREENS = [
    Screen("nodes", (*NODES, "up", "faulty", "draining", "dead", "gpu", "No space left on device")),
    Screen("list", (*IDS, *STATES, "gpu-1", NODES[1])),
    Screen("list --state failed", (LONG, FAILED, "failed (error)", "failed (timeout)", "gpu-1")),
    Screen("list --node gpu-1", (LONG, FAILED, "running-1", "gpu-1")),
    Screen("list --array sweep", ("sweep/1", "running")),
    Screen("status " + LONG, (LONG, "failed (error)", "ValueError:", "gpu-1")),
    Screen(f"status running-1 sweep {FAILED} waits {TOO_LARGE}", (FAILED, TOO_LARGE, "running-1", "9,999,999 waiting")),
    Screen("status nobody", ("no task nobody",), code=3),
    Screen(f"explain {LONG}", (LONG, "It failed", "ValueError:")),
    Screen(f"explain {TOO_LARGE}", (TOO_LARGE, "infeasible", "No space left on device")),
    Screen("explain waits", ("no_fit_now", "CPU on", "`rq-sched")),
    Screen("explain running-1", ("gpu-1", "`rq-sched logs -f running-1`")),
    Screen("explain sweep", ("sweep", "9,999,999 waiting")),
    Screen("explain later", ("`rq-sched requeue later`",)),
    Screen("submit --dry-run --cpu 600 --memory 2T m:f", ("infeasible", "--dry-run")),
    Screen("submit --dry-run m:f " + "argument " * 20, ("assigned", "--dry-run")),
    Screen("submit --from-file FILE --dry-run", ("2 tasks", "line 3", "unknown field"), code=1),
    Screen("submit --from-file FILE", ("submitted 2 tasks", "line 3", "5000 CPU"), code=1),
    Screen("info", ("3 failed", "1 faulty", "1 dead", "No space left on device", "no scheduler")),
    Screen("events", ("failed", LONG, "faulty-1", "sweep")),
    Screen("events --task " + LONG, (LONG, "submitted", "failed")),
    Screen("logs done", ("rendered 40 frames",), raw=True),
    Screen("result done", ("frames",), raw=True),
    Screen("result " + LONG, (LONG, "ValueError:"), code=1),
    Screen("inspect", ("events", "groups", "finished:failed")),
    Screen("inspect done", ("task:done", "result:done")),
    Screen("inspect " + LONG, (LONG, "result:")),
    Screen("inspect gpu-1", ("node:gpu-1", "free_cpu")),
    Screen("inspect events", ("events", "--limit")),
    Screen("doctor", ("wrong", "scheduler", "faults", "No space left on device", "ok"), code=1),
    Screen("settings", ("reserve_after", "node_choice", "first_fit", "keep_seconds")),
    Screen("top -n 1", ("3 failed", "1 faulty", "1 dead", "no scheduler", "running-1", "gpu-1", "faulty-1")),
    Screen(f"wait done {FAILED}", ("1 completed", "1 failed"), code=1),
    Screen(f"wait --timeout 0.1 {TOO_LARGE}", ("timed out",), code=4),
    Screen("cancel waits later " + TOO_LARGE, ("`rq-sched cancel --no-requeue waits`", TOO_LARGE, "end it for good")),
    Screen("cancel --no-requeue " + LONG, (LONG, "already failed", "requeue"), code=1),
    Screen("priority --to 9 waits " + TOO_LARGE, ("waits has priority 9", TOO_LARGE)),
    Screen("requeue running-1", ("running-1", "running"), code=1),
    Screen("hold waits " + TOO_LARGE, ("`rq-sched unhold waits`", TOO_LARGE)),
    Screen("drain gpu-1", ("`rq-sched undrain gpu-1`",)),
    Screen("submit --id waits m:g", ("taken by another request", "`rq-sched status waits`"), code=2),
    Screen("submit --cpu 1000 --id big m:f", ("big", "no node could hold big")),
    Screen("list --stat failed", ("--stat",), code=2),
    Screen("--redis unix:///nowhere/at/all/there/is/no/such/folder/redis.sock info", ("/nowhere",), code=69),
    Screen("health --file /nowhere/at/all/there/is/no/such/folder/for/health/files/at-all", ("no process",), code=1),
]
HELPS = [Screen(f"{name} --help", ("Usage: rq-sched", "--json")) for name in ("", *COMMANDS)]


def shown(
    screen: Screen,
    width: int,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    colour: bool = False,
) -> tuple[str, int]:
    """What a terminal of that width shows of it (standard output, then standard error), and the exit code."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    capsys.readouterr()
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    code = main([str(file) if word == "FILE" else word for word in screen.words.split()])
    said = capsys.readouterr()
    text = said.out + said.err
    return (text if colour else re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)), code
