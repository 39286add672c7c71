"""A problem that chaos finds is told with all that is needed to understand it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.faults import chaos
from tests.support import wait_for


@pytest.mark.timeout(120)
def test_a_problem_tells_what_was_done_the_keys_the_decisions_and_the_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos, "GIVEN_BACK", 1.0)
    run = chaos.Chaos(tmp_path, 60, 1, nodes=1, schedulers=2)
    try:
        run.start()
        wait_for(lambda: (run.folder / "n0.ran").exists(), 30, lambda: (run.folder / "n0.log").read_text())
        frozen = run.schedulers["s0"]
        assert frozen is not None
        os.kill(frozen.pid, signal.SIGSTOP)  # who can't answer doesn't keep the story waiting
        run.story.act("worker_killed")
        run.worker_killed()  # its lease is longer than the second that is given
        (problem,) = run.problems
        (file,) = run.story.files
        story = file.read_text()
        assert story.startswith(problem)
        assert problem.startswith("I5: n0 was killed (worker)")
        _, *parts = story.split("\n-- ")
        by_title = {part.partition("\n")[0]: part for part in parts}
        assert "worker_killed" in next(part for title, part in by_title.items() if title.endswith("what was done"))
        keys = by_title["the keys"]
        assert "node:n0 hash" in keys
        assert ":tasks hash" in keys
        assert "joined n0" in by_title["the decision log"]
        assert "node joined" in by_title["n0.log"]
        stacks = by_title["s1.log"]
        assert "Stack for <Task" in stacks
        assert "in _turns" in stacks  # where each actor stands
        os.kill(frozen.pid, signal.SIGCONT)
    finally:
        run.close()
    assert (tmp_path / "problems" / "1.txt").exists()


@pytest.mark.timeout(120)
def test_a_run_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    """A worker that went on would find another run behind the port of its proxy, and serve there."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(chaos.ROOT)}
    run = subprocess.Popen([sys.executable, "-m", "tests.faults.chaos", "--seconds", "60"], env=environment)
    try:
        wait_for(lambda: list(tmp_path.glob("*/n0.ran")), 60)
        below = psutil.Process(run.pid).children(recursive=True)
        assert len(below) > 10
    finally:
        run.kill()
        run.wait()
    wait_for(lambda: not [one for one in below if one.is_running() and one.status() != psutil.STATUS_ZOMBIE], 30)
