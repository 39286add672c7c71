"""Ends of tasks beside which something else stands in Redis than rq-sched wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from rq_sched.audit.mend import repair
from rq_sched.model.states import State
from tests.cli.kit import ask
from tests.support import wait_for
from tests.worker.kit import Desk, Node


def test_what_stands_where_output_is_kept_costs_no_result(desk: Desk, node: Node) -> None:
    desk.link.run(ask("RPUSH", desk.store.keys.log("t"), "not ours"))
    info = desk.run("speak", task_id="t")
    assert info.state is State.COMPLETED
    assert "not ours" not in desk.output("t")
    assert desk.run("add", 1, 2).result == 3


@pytest.mark.no_audit(reason="a record is destroyed")
@pytest.mark.parametrize("part", ["request", "attempt"])
def test_an_end_counts_whatever_part_of_its_record_was_destroyed(
    desk: Desk, node: Node, tmp_path: Path, part: str
) -> None:
    """The attempt says all that a usual end needs; where it is gone, the ledger says whose the attempt is."""
    go, keys = tmp_path / "go", desk.store.keys
    desk.running(desk.submit("wait_for_file", str(go), task_id="t"))
    key = keys.task("t")
    if part == "request":
        desk.link.run(ask("RENAME", key, key + "-kept"))
        desk.link.run(ask("SADD", key, "not ours"))
    else:
        desk.link.run(ask("HDEL", keys.placed, "t"))
    go.touch()
    assert desk.run("add", 1, 2).result == 3
    wait_for(lambda: node.info is not None and node.info.running == 0, 20, lambda: node.log)
    assert node.info is not None
    assert (node.info.free_cpu, node.info.free_memory) == (4, 4096)
    if part == "request":
        desk.link.run(ask("RENAME", key + "-kept", key))  # from a backup
    assert desk.end("t").state is State.COMPLETED


@pytest.mark.no_audit(reason="a record is destroyed")
def test_an_end_whose_record_was_destroyed_holds_up_nobody_and_gives_its_room_back(
    desk: Desk, node: Node, tmp_path: Path
) -> None:
    """There is nothing that could say how it ended; that it doesn't run any more is true all the same."""
    go, key = tmp_path / "go", desk.store.keys.task("t")
    desk.running(desk.submit("wait_for_file", str(go), task_id="t"))
    desk.link.run(ask("RENAME", key, key + "-kept"))
    desk.link.run(ask("HDEL", desk.store.keys.placed, "t"))
    go.touch()
    assert desk.run("add", 1, 2).result == 3
    wait_for(lambda: "an end came too late" in node.log, 20, lambda: node.log)
    assert node.info is not None
    assert (node.info.running, node.info.free_cpu, node.info.free_memory) == (0, 4, 4096)
    desk.link.run(ask("RENAME", key + "-kept", key))  # from a backup: it waits
    desk.link.run(repair(desk.store.keys.namespace))
    assert desk.end("t").state is State.COMPLETED
