"""Arrays on a real worker: the elements' indexes, arguments, output, retries, and signatures."""

from __future__ import annotations

from pathlib import Path

import psutil

from rq_sched import Client
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.worker.kit import FUNCTIONS, Desk, Node

KEY = "a secret of the submitters and the workers"


def test_each_element_knows_its_index_and_has_its_own_result_and_output(desk: Desk, node: Node) -> None:
    array = desk.submit("element", array="8-12", task_id="a")
    info = desk.end(array)
    assert (info.state, info.elements) == (
        State.COMPLETED, {"waiting": 0, "active": 0, "completed": 5, "failed": 0, "cancelled": 0}
    )  # fmt: skip
    for index in range(8, 13):
        assert desk.info(f"a/{index}").result == [index, str(index), 0]
        assert desk.output(f"a/{index}") == f"element {index}\n"


def test_a_task_after_elements_in_the_same_process_has_no_index(desk: Desk) -> None:
    desk.node(cpu=1)
    desk.end(desk.submit("element", array="1-3"))
    assert desk.run("environment", "RQ_SCHED_ARRAY_INDEX", "RQ_SCHED_TASK_ID", task_id="t").result == [None, "t"]


def test_elements_share_long_arguments(desk: Desk, node: Node) -> None:
    desk.end(desk.submit("element", "x" * 3000, "y" * 70, array="1-4", task_id="a"))
    assert [desk.info(f"a/{index}").result[2] for index in range(1, 5)] == [3070] * 4
    assert desk.info("a/4").args == ["x" * 3000, "y" * 70]


def test_a_command_has_the_index_in_its_environment(desk: Desk, node: Node) -> None:
    desk.end(desk.submit("exec:sh", "-c", "echo $RQ_SCHED_ARRAY_INDEX of $RQ_SCHED_TASK_ID", array="0-3", task_id="a"))
    assert [desk.output(f"a/{index}") for index in range(4)] == [f"{index} of a/{index}\n" for index in range(4)]


def test_an_element_is_tried_again(desk: Desk, node: Node, tmp_path: Path) -> None:
    desk.submit("fail_once_at", 2, str(tmp_path / "mark"), array="1-3", retries=1, task_id="a")
    assert desk.end("a").state is State.COMPLETED
    assert [desk.info(f"a/{index}").attempt for index in (1, 2, 3)] == [1, 2, 1]
    assert [desk.info(f"a/{index}").result for index in (1, 2, 3)] == [1, 2, 3]


def test_running_elements_are_stopped_with_their_array(desk: Desk, node: Node) -> None:
    desk.submit("exec:sleep", "60", array="1-1000", task_id="a")
    desk.running("a/2")
    desk.link.run(desk.store.cancel("a", requeue=False))
    info = desk.end("a")
    assert (info.state, info.elements["cancelled"] if info.elements else 0) == (State.CANCELLED, 1000)


def test_signed_arrays(desk: Desk) -> None:
    """The signature is of the array's id and arguments: an element is run under it, another task isn't."""
    desk.node(signing_key=KEY)
    signed = Store(desk.store.keys.namespace, signing_key=KEY)
    other = Store(desk.store.keys.namespace, signing_key="another secret, as long")
    for store, name in ((signed, "short"), (other, "wrong"), (desk.store, "unsigned")):
        desk.link.run(store.submit([TaskRequest(f"{FUNCTIONS}:element", ["xy"], task_id=name, array="1-3").check()]))
    long = TaskRequest(f"{FUNCTIONS}:element", ["x" * 3000], task_id="long", array="1-3").check()
    desk.link.run(signed.submit([long]))
    for name, length in (("short", 2), ("long", 3000)):
        assert desk.end(name).state is State.COMPLETED
        assert [desk.info(f"{name}/{index}").result[2] for index in (1, 2, 3)] == [length] * 3
    for name in ("wrong", "unsigned"):
        assert (desk.end(name).state, desk.info(name).error) == (State.FAILED, "3 of 3 elements failed")
        assert desk.info(f"{name}/2").reason == "not_allowed"


def test_a_cancel_of_an_array_waits_for_the_processes_also_where_it_is_requeued(desk: Desk) -> None:
    node = desk.node(cpu=2)
    desk.submit("exec:sleep", "60", array="1-5", task_id="a")
    desk.running("a/1")
    desk.running("a/2")
    before = {process.pid for process in node.everything() if process.name() == "sleep"}
    assert len(before) == 2
    with Client(desk.url, desk.store.keys.namespace) as client:
        done = client.cancel("a")
    assert (done.outcome, done.elements) == ("requeued", {"a/1": 1, "a/2": 1})
    assert not before & {process.pid for process in psutil.process_iter() if process.is_running()}
    order = desk.link.run(desk.store.pending_in_order(5))
    assert {task_id for _, _, task_id, _ in order} <= {"a", "a/1", "a/2"}
    desk.link.run(desk.store.cancel("a", requeue=False))
    assert desk.end("a").state is State.CANCELLED
