"""What a task may use of the cores: real processes on real cores."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from rq_sched.model.states import State
from tests.support import wait_for
from tests.worker.kit import Desk, lines_of

USES = "tests.worker.consumers"
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="needs Linux and two cores")


def test_a_task_runs_on_as_many_cores_as_it_has(desk: Desk) -> None:
    desk.node(cpu=2)
    assert len(desk.run(f"{USES}:mask").result) == 1
    assert len(desk.run(f"{USES}:mask", cpu_needed=2).result) == 2
    assert len(desk.run(f"{USES}:mask").result) == 1
    assert desk.run(f"{USES}:mask_of_command").result == "1"
    info = desk.run("exec:sh", "-c", 'test "$(nproc)" = 1 && test "$OMP_NUM_THREADS" = 1', task_id="command")
    assert info.state is State.COMPLETED, info.error


def test_two_tasks_share_no_core(desk: Desk, tmp_path: Path) -> None:
    desk.node(cpu=2)
    go = tmp_path / "go"
    for name in ("a", "b"):
        desk.submit(f"{USES}:follow", str(tmp_path / name), str(go), task_id=name)
    for name in ("a", "b"):
        desk.running(name)
    masks = [os.sched_getaffinity(pid) for pid in desk.nodes[0].children]
    assert [len(mask) for mask in masks] == [1, 1]
    assert masks[0] != masks[1]
    go.touch()
    assert desk.end("a").state is State.COMPLETED
    assert desk.end("b").state is State.COMPLETED


@pytest.mark.parametrize("thread", [False, True])
def test_what_a_task_did_to_its_mask_is_not_the_next_ones(desk: Desk, thread: bool) -> None:
    desk.node(cpu=2)
    pid = desk.run(f"{USES}:widen", thread).result
    assert (pid in desk.nodes[0].children) is not thread  # with a thread left behind it isn't used again
    masks = desk.run(f"{USES}:masks_of_threads").result
    assert [len(mask) for mask in masks] == [1]


def test_a_task_has_both_cores_when_alone_and_one_when_another_comes(desk: Desk, tmp_path: Path) -> None:
    desk.node(cpu=2)
    seen, go = tmp_path / "seen", tmp_path / "go"
    desk.submit(f"{USES}:follow", str(seen), str(go), task_id="elastic", max_cpu_needed=2)
    wait_for(lambda: lines_of(seen)[-1:] == ["2 2 2"], 20, lambda: (lines_of(seen), desk.nodes[0].log))
    assert desk.info("elastic").cpu_allocated == 2
    begun = time.monotonic()
    other = desk.submit(f"{USES}:mask")
    wait_for(lambda: lines_of(seen)[-1:] == ["1 1 1"], 20, lambda: (lines_of(seen), desk.nodes[0].log))
    took = time.monotonic() - begun
    assert desk.end(other).state is State.COMPLETED
    wait_for(lambda: lines_of(seen)[-1:] == ["2 2 2"], 20, lambda: (lines_of(seen), desk.nodes[0].log))
    go.touch()
    assert desk.end("elastic").result == [2, 256]
    assert took < 1.0, "within a second of another's arrival"


def test_a_task_that_is_not_elastic_keeps_what_it_asked_for(desk: Desk, tmp_path: Path) -> None:
    desk.node(cpu=2)
    seen, go = tmp_path / "seen", tmp_path / "go"
    desk.submit(f"{USES}:follow", str(seen), str(go), task_id="fixed", max_cpu_needed=2, elastic="off")
    desk.running("fixed")
    twin, twin_go = tmp_path / "twin", tmp_path / "twin-go"
    desk.submit(f"{USES}:follow", str(twin), str(twin_go), task_id="twin")
    desk.running("twin")
    twin_go.touch()
    desk.end("twin")
    go.touch()
    assert desk.end("fixed").result == [1, 256]
    assert lines_of(seen) == ["1 1 1"]


def test_cores_that_are_not_real_are_not_pinned(desk: Desk) -> None:
    node = desk.node(cpu=len(CORES) + 1)
    assert len(desk.run(f"{USES}:mask").result) == len(CORES)
    assert f"it offers {len(CORES) + 1} cores and may run on {len(CORES)}" in node.log


def test_two_workers_on_a_machine_do_not_pin_to_the_same_cores(desk: Desk) -> None:
    desk.node(cpu=len(CORES), node_id="first")
    second = desk.node(cpu=1, node_id="second")
    wait_for(lambda: "belong to another worker" in second.log, 10, lambda: second.log)
    third = desk.node(cpu=1, node_id="third", affinity="off")
    wait_for(lambda: "switched off" in third.log, 10, lambda: third.log)


def test_a_signal_from_outside_to_an_idle_child_harms_no_task(desk: Desk) -> None:
    node = desk.node(cpu=2)
    pid = desk.run("number_of_process").result
    os.kill(pid, signal.SIGTERM)
    info = desk.run("number_of_process")
    assert (info.state, info.attempt) == (State.COMPLETED, 1), info.error
    assert info.result != pid
    wait_for(lambda: pid not in node.children, 10, lambda: node.log)
