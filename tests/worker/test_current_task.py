"""``current_task()`` inside real tasks."""

from __future__ import annotations

from pathlib import Path

from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from tests.support import wait_for
from tests.worker.kit import Desk, Node, lines_of


def test_who_am_i(desk: Desk, node: Node) -> None:
    told = desk.run("about_me", task_id="me-1", cpu_needed=2, memory_needed=300).result
    assert told == ["me-1", 1, 2, 300]


def test_a_forked_process_is_not_the_task_though_it_asks_first(desk: Desk, node: Node) -> None:
    info = desk.run("ask_in_a_fork")
    assert info.result == "only the task's own process can do this, not one that it has started"
    assert info.progress is None


def test_whoever_asks_late_is_told_that_it_is_cancelled(desk: Desk, node: Node, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    desk.submit("ask_when_told_to_stop", str(path), task_id="t")
    desk.running("t")
    wait_for(lambda: lines_of(path), 10, lambda: node.log)
    desk.link.run(desk.store.cancel("t", requeue=False, grace=10.0))
    assert desk.end("t").state is State.CANCELLED
    assert lines_of(path) == ["begun", "cancelled: True"]


def test_giving_back_and_asking_for_more(desk: Desk, node: Node) -> None:
    info = desk.run("resize", task_id="t", cpu_needed=2, memory_needed=256, max_cpu_needed=4)
    assert info.state is State.COMPLETED, info.error
    assert info.result == [[2, 256], [1, 128, "1", "1"], [False, 1], [True, 3, "128"], [True, 3]]
    assert node.info is not None
    assert node.info.free == Resources(4, 4096)


def test_what_is_given_back_is_used_at_once(desk: Desk, node: Node, tmp_path: Path) -> None:
    """Without a scheduler's turn."""
    go = tmp_path / "go"
    desk.submit("release_and_wait", str(go), task_id="large", cpu_needed=4)
    desk.running("large")
    desk.submit("add", 1, 2, task_id="small")
    assert desk.end("small").result == 3
    go.touch()
    assert desk.end("large").state is State.COMPLETED


def test_progress(desk: Desk, node: Node, tmp_path: Path) -> None:
    go = tmp_path / "go"
    desk.submit("progress", str(go), task_id="t")
    wait_for(lambda: (desk.info("t").progress or 0) > 0.98, 10, lambda: (desk.info("t"), node.log))
    go.touch()
    assert desk.end("t").state is State.COMPLETED
