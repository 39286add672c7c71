"""The demo, and whether its checks would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.census import checks
from examples.census.tasks import TALLY, count_file, leave_note
from examples.census.watch import Seen
from examples.census.workload import Source
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.states import State
from rq_sched.store.records import decode

ROOT = Path(__file__).parents[2]


def test_the_demo_checks_itself_and_leaves_nothing(tmp_path: Path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "examples.census", "--files", "60"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks hold" in done.stdout
    assert done.stdout.count("\nok  ") == 7
    assert list(tmp_path.iterdir()) == []
    assert done.stderr == ""


def outcome(tmp_path: Path) -> checks.Outcome:
    """A run of two files in which all is right."""
    files = {f"file-{n}": tmp_path / f"m{n}.py" for n in range(2)}
    for file in files.values():
        file.write_text("def f(): pass\n")
        leave_note(tmp_path / TALLY, str(file))
    tasks = {}
    for task_id, file in files.items():
        info = decode(task_id, {b"class": b"1:64", b"state": b"completed", b"attempt": b"1"})
        info.result = count_file(str(file))
        tasks[task_id] = info
    sources = {task_id: Source(file.name, file, file.stat().st_size) for task_id, file in files.items()}
    node = NodeInfo("n1", NodeState.UP, 2, 64, 2, 64, 0, "1", None, [])
    seen = Seen(samples=1, audits=1)
    return checks.Outcome(sources, tasks, [node], Counter(files.keys()), seen, tmp_path, 1.0)


def lose(run: checks.Outcome) -> None:
    run.tasks["file-0"].state = State.FAILED


def run_twice(run: checks.Outcome) -> None:
    leave_note(run.folder / TALLY, str(run.sources["file-1"].path))


def end_twice(run: checks.Outcome) -> None:
    run.completed_events["file-1"] += 1


def miscount(run: checks.Outcome) -> None:
    run.tasks["file-1"].result["functions"] += 1


def give_too_much(run: checks.Outcome) -> None:
    run.seen.wrong.append("n1 had 3 CPU of 2")


def see_nothing(run: checks.Outcome) -> None:
    run.seen.samples = 0


def keep(run: checks.Outcome) -> None:
    run.nodes[0].free_cpu = 1


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (lose, checks.all_completed), (run_twice, checks.exactly_once), (end_twice, checks.exactly_once),
        (miscount, checks.same_counts), (give_too_much, checks.never_too_much), (see_nothing, checks.never_too_much),
        (keep, checks.all_given_back),
    ],
)  # fmt: skip
def test_the_demo_would_notice(tmp_path: Path, damage: Callable[[checks.Outcome], None], check):
    run = outcome(tmp_path)
    assert [wrong for _, found in checks.failures(run) for wrong in found] == []
    damage(run)
    assert list(check(run)) != []
