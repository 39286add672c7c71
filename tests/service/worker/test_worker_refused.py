"""Ends that a real Redis refuses, while it takes all others."""

from __future__ import annotations

from pathlib import Path

import pytest

from rq_sched.task import State
from tests.service.cli_kit import ask
from tests.service.worker.kit import Desk, Node
from tests.support import wait_for


def test_output_that_can_t_be_kept_costs_the_result_and_no_more(desk: Desk, node: Node) -> None:
    key = desk.store.keys.log("t")
    desk.link.run(ask("RPUSH", key, "not ours"))
    info = desk.run("speak", task_id="t")
    assert (info.state, info.reason) == (State.FAILED, "error")
    assert info.error is not None
    assert info.error.startswith("it completed; Redis refused the report of this: Redis at")
    assert desk.run("add", 1, 2).result == 3
    desk.link.run(ask("DEL", key))


@pytest.mark.no_audit(reason="a record is destroyed")
def test_an_end_whose_record_was_destroyed_keeps_nobody_else(desk: Desk, node: Node, tmp_path: Path) -> None:
    go, key = tmp_path / "go", desk.store.keys.task("t")
    desk.running(desk.submit("wait_for_file", str(go), task_id="t"))
    desk.link.run(ask("RENAME", key, key + "-kept"))
    desk.link.run(ask("SET", key, "not ours"))
    go.touch()
    assert desk.run("add", 1, 2).result == 3
    wait_for(lambda: "an end can't be told" in node.log, 20, lambda: node.log)
    desk.link.run(ask("RENAME", key + "-kept", key))
    assert node.info is not None
    assert node.info.running == 1
    desk.link.run(desk.store.cancel("t", requeue=False, grace=0))
    assert desk.end("t").state is State.CANCELLED
    assert node.info.running == 0
