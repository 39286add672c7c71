"""The picture of ``rq-sched top`` for the front page: a real screen of a real cell, drawn by rich.

    python -m bench.picture docs/img/top.svg            # 100 columns; --columns and --lines make it another size

It runs ``rq-sched up`` with four nodes on a server of its own, submits tasks of a small made-up studio (they sleep),
waits until there is something to see, and writes what ``top`` shows then. It takes about half a minute. Run it again
when ``top`` looks different.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from rq_sched.cli import top, top_frame
from rq_sched.cli.options import Invocation

ROOT = Path(__file__).parents[1]
RUN = [sys.executable, str(ROOT / "cli.py")]
NAMESPACE = "studio"
NODES = """node_id,total_cpu,total_memory,labels
farm-1,8,16384,
farm-2,8,16384,
farm-3,8,16384,
gpu-1,4,32768,gpu
"""
STUDIO = """
import time
from rq_sched import current_task

def render(shot, seconds=60):
    task = current_task()
    for step in range(1, 101):
        task.progress(step / 100)
        time.sleep(seconds / 100)

def denoise(shot):
    time.sleep(60)

def preview(shot):
    time.sleep(0.2)

def check(shot):
    raise ValueError(f"{shot}: no frames")
"""


def tasks() -> Iterator[dict[str, Any]]:
    """Work of all kinds: what runs, what waits, an array, what fails."""
    for name, cpu, seconds in (("opening", 4, 40), ("harbour", 4, 70), ("bridge", 6, 50), ("storm", 6, 90)):
        yield {"task_id": f"render-{name}", "function": "studio:render", "args": [f"{name}.usd", seconds],
               "cpu_needed": cpu, "memory_needed": "6G", "priority": 10}  # fmt: skip
    yield {"task_id": "denoise-harbour", "function": "studio:denoise", "args": ["harbour.exr"], "cpu_needed": 2,
           "memory_needed": "12G", "require": ["gpu"], "priority": 20}  # fmt: skip
    yield {"task_id": "check-attic", "function": "studio:check", "args": ["attic.usd"]}
    yield {"task_id": "preview", "function": "studio:preview", "args": ["all.usd"], "memory_needed": 512,
           "array": "1-5000"}  # fmt: skip
    for name in ("finale", "credits"):
        yield {"task_id": f"render-{name}", "function": "studio:render", "args": [f"{name}.usd"], "cpu_needed": 8,
               "memory_needed": "12G", "priority": 5}  # fmt: skip


def ready(session: Invocation) -> bool:
    """Whether there is something to see."""
    told = session.run(session.store.info()).tasks
    return bool(told["running"] >= 5 and told["failed"] and told["completed"] >= 50)


def picture(session: Invocation, columns: int, lines: int) -> str:
    """What ``top`` shows, as SVG."""
    before = top_frame.look(session, None, lines)
    time.sleep(2)
    frame = top_frame.look(session, before, lines)
    console = Console(width=columns, height=lines, record=True, force_terminal=True, file=io.StringIO())
    console.print(top.screen(frame, columns, lines))
    return console.export_svg(title="rq-sched top")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the screen of `rq-sched top`.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--lines", type=int, default=28)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "nodes.csv").write_text(NODES)
        (home / "studio.py").write_text(STUDIO)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = ["up", "--data", str(home / "data"), "--nodes-file", "nodes.csv", "--grace", "0", "--json"]
        up = subprocess.Popen(
            [*RUN, *words, "--namespace", NAMESPACE], cwd=home, env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert up.stdout is not None
            url = json.loads(up.stdout.readline())["url"]
            session = Invocation()
            session.redis, session.namespace = url, NAMESPACE
            subprocess.run(
                [*RUN, "submit", "--from-file", "-", "-q", "--redis", url, "--namespace", NAMESPACE],
                input="\n".join(map(json.dumps, tasks())), text=True, stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip
            deadline = time.monotonic() + 60
            while not ready(session):
                if time.monotonic() > deadline:
                    sys.exit(f"nothing to see after 60 s: {session.run(session.store.info())}")
                time.sleep(0.2)
            given.file.write_text(picture(session, given.columns, given.lines))
            session.close()
        finally:
            up.terminate()
            up.wait(30)


if __name__ == "__main__":
    main()
