"""What a task may use of the memory: real processes that use it."""

from __future__ import annotations

import time
from pathlib import Path

from rq_sched.model.states import Reason, State
from tests.support import wait_for
from tests.worker.kit import Desk, Node

USES = "tests.worker.consumers"


def test_a_slow_leak_is_stopped_and_its_neighbour_is_not(desk: Desk, node: Node, tmp_path: Path) -> None:
    go, size = tmp_path / "go", tmp_path / "size"
    desk.submit(f"{USES}:hold", 60, str(go), task_id="neighbour", memory_needed=100)
    desk.running("neighbour")
    info = desk.run(f"{USES}:leak", str(size), 2, 0.02, 1000, task_id="leak", memory_needed=100)
    assert (info.state, info.reason) == (State.FAILED, Reason.OOM), info.error
    assert 90 <= int(size.read_text()) <= 112, "no sooner than at its limit, at most 10 % and a sample beyond"
    assert "was allowed 100 MB: ask for more with memory= (--memory)" in (info.error or "")
    go.touch()
    assert desk.end("neighbour").result == 60
    assert desk.run("add", 1, 2).result == 3


def test_where_the_memory_limit_is_off_nobody_is_stopped(desk: Desk, tmp_path: Path) -> None:
    desk.node(enforce_memory=False)
    info = desk.run(f"{USES}:leak", str(tmp_path / "size"), 4, 0.02, 300, memory_needed=100)
    assert (info.state, info.result) == (State.COMPLETED, 300), info.error


def test_two_gigabytes_in_a_blink(desk: Desk, node: Node) -> None:
    begun = time.monotonic()
    info = desk.run(f"{USES}:blink", 2000, memory_needed=200)
    assert (info.state, info.reason) == (State.FAILED, Reason.OOM), info.error
    used = int((info.error or "it used -1").split()[2])
    assert 200 <= used < 1500, (used, time.monotonic() - begun)


def test_processes_of_a_task_count_together(desk: Desk, node: Node, tmp_path: Path) -> None:
    there, go = tmp_path / "there", tmp_path / "go"
    call = (f"{USES}:fork_and_hold", str(there), 3, 60, str(go))
    info = desk.run(*call, memory_needed=150)
    assert (info.state, info.reason) == (State.FAILED, Reason.OOM), info.error
    there.unlink(missing_ok=True)
    enough = desk.submit(*call, memory_needed=400)
    wait_for(lambda: there.exists() and there.read_text() == "...", 20, lambda: desk.info(enough))
    go.touch()
    assert desk.end(enough).state is State.COMPLETED


def test_memory_that_processes_share_counts_once(desk: Desk, node: Node, tmp_path: Path) -> None:
    """Six processes see 80 MB and a large file; what they would free is 80 MB."""
    go = tmp_path / "go"
    task = desk.submit(f"{USES}:share", 80, 6, str(go), memory_needed=200)
    desk.running(task)
    end = time.monotonic() + 2.5  # long enough for many looks
    wait_for(lambda: time.monotonic() > end or desk.info(task).state.final, 5)
    go.touch()
    info = desk.end(task)
    assert info.state is State.COMPLETED, info.error


def test_it_grows_to_its_maximum_first(desk: Desk, node: Node, tmp_path: Path) -> None:
    size = tmp_path / "size"
    info = desk.run(f"{USES}:leak", str(size), 2, 0.01, 180, memory_needed=100, max_memory_needed=250)
    assert info.state is State.COMPLETED, info.error
    assert "an allocation changed" in node.log
    info = desk.run(f"{USES}:leak", str(size), 2, 0.01, 1000, memory_needed=100, max_memory_needed=250, retries=0)
    assert (info.state, info.reason) == (State.FAILED, Reason.OOM)
    assert int(size.read_text()) >= 200


def test_growth_that_is_not_free_is_not_had(desk: Desk, tmp_path: Path) -> None:
    node = desk.node(memory=220)
    go, size = tmp_path / "go", tmp_path / "size"
    desk.submit(f"{USES}:hold", 10, str(go), task_id="neighbour", memory_needed=100)
    desk.running("neighbour")
    task = desk.submit(f"{USES}:leak", str(size), 2, 0.01, 1000, memory_needed=100, max_memory_needed=220)
    wait_for(lambda: "used too much memory" in node.log, 20, lambda: (node.log, desk.info(task)))
    assert int(size.read_text()) <= 135
    go.touch()
    assert desk.end("neighbour").result == 10
    assert desk.end(task, 40).reason == Reason.OOM


def test_unused_memory_lets_a_waiting_task_in(desk: Desk, tmp_path: Path) -> None:
    """A task with 500 MB uses 50; with ``all`` it lends the rest."""
    node = desk.node(memory=600)
    go = tmp_path / "go"
    desk.submit(f"{USES}:hold", 50, str(go), task_id="first", memory_needed=500, elastic="all")
    desk.running("first")
    desk.submit(f"{USES}:hold", 50, str(go), task_id="second", memory_needed=500)
    wait_for(lambda: desk.info("second").state is State.RUNNING, 30, lambda: (node.log, desk.info("first")))
    assert 50 <= (desk.info("first").memory_allocated or 0) <= 100
    go.touch()
    assert desk.end("first").result == 50
    assert desk.end("second").result == 50


def test_what_was_lent_is_asked_for_again(desk: Desk, tmp_path: Path) -> None:
    node = desk.node(memory=600)
    go, size = tmp_path / "go", tmp_path / "size"
    task = desk.submit(f"{USES}:hold_then_leak", str(go), str(size), 5, 0.1, 480, memory_needed=500, elastic="all")
    wait_for(lambda: 0 < (desk.info(task).memory_allocated or 0) < 400, 30, lambda: node.log)
    go.touch()
    info = desk.end(task, 60)
    assert info.state is State.COMPLETED, (info.error, node.log)


def test_unused_cores_let_a_waiting_task_in(desk: Desk, tmp_path: Path) -> None:
    """Without being asked: ``cpu`` is the default."""
    node = desk.node(cpu=4)
    go = tmp_path / "go"
    desk.submit("wait_for_file", str(go), task_id="idle", cpu_needed=4)
    desk.running("idle")
    waits = desk.submit("add", 1, 2, cpu_needed=3)
    assert desk.end(waits, 40).result == 3
    go.touch()
    assert desk.end("idle").state is State.COMPLETED
    assert "an allocation changed" in node.log


def test_a_child_that_keeps_much_is_not_used_again(desk: Desk, node: Node) -> None:
    fat = desk.run(f"{USES}:keep_forever", 200, memory_needed=300).result
    assert desk.run(f"{USES}:linger", 0.2).result != fat
    lean = desk.run(f"{USES}:linger", 0.2).result
    assert desk.run(f"{USES}:linger", 0.2).result == lean
