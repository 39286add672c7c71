"""Tasks that wait for others."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.errors import InvalidValue, TaskNeeded, WrongState
from rq_sched.model.orders import Start
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from tests.lua.cell import Cell


class Graph(Cell):
    """A cell with a node that has room for all. ``open``: what was placed there, and hasn't ended."""

    open: dict[str, Start]

    def run_to_end(self, task_id: str, outcome: str = "completed", **report: Any) -> None:
        self.place()
        while starts := self.starts("n"):
            self.open |= starts
        assert task_id in self.open, f"{task_id} is {self.state(task_id)}"
        _, starts = self.finish("n", self.open.pop(task_id), outcome, **report)
        self.open |= starts

    def fail(self, task_id: str) -> None:
        self.run_to_end(task_id, "failed", reason="error", error="boom")

    def goes_on(self, task_id: str) -> bool:
        """Whether it waits for others no more, and hasn't ended."""
        return self.state(task_id) in (State.PENDING, State.ASSIGNED)

    def tell(self) -> int:
        """What schedulers do until all have heard; how many calls it took."""
        calls = 0
        while self.run(self.store.place(limit=1)).releasing:
            calls += 1
            self.run(self.store.release())
        return calls


@pytest.fixture
def graph(cell: Cell) -> Graph:
    graph = Graph(cell.link, cell.store.keys.namespace)
    graph.open = {}
    graph.node("n", 64, 64 * 1024)
    return graph


def test_a_task_waits_for_another(graph: Graph) -> None:
    assert graph.submit("a") == ["new"]
    assert graph.submit("b", after=["a"]) == ["new"]
    assert (graph.state("b"), graph.info("b").awaited) == (State.WAITING, 1)
    assert graph.place() == 1
    (start,) = graph.starts("n").values()
    _, starts = graph.finish("n", start)
    assert list(starts) == ["b"]  # released, and placed, by the report of the end
    assert graph.state("b") == State.ASSIGNED


def test_it_waits_for_all(graph: Graph) -> None:
    graph.submit("a", "b")
    graph.submit("c", after=["a", "b"])
    graph.run_to_end("a")
    assert (graph.state("c"), graph.info("c").awaited) == (State.WAITING, 1)
    graph.run_to_end("b")
    assert graph.goes_on("c")


@pytest.mark.parametrize(
    ("kind", "outcome", "then"),
    [
        ("", "completed", "runs"), ("", "failed", "cancelled"),
        (":any", "completed", "runs"), (":any", "failed", "runs"),
        (":failed", "completed", "cancelled"), (":failed", "failed", "runs"),
    ],
)  # fmt: skip
def test_how_it_ends_decides(graph: Graph, kind: str, outcome: str, then: str) -> None:
    graph.submit("a")
    graph.submit("b", after=["a" + kind])
    graph.submit("c", after=["b:any"])
    report = {"reason": "error", "error": "boom"} if outcome == "failed" else {}
    graph.run_to_end("a", outcome, **report)
    graph.submit("late", after=["a" + kind])
    for task_id in ("b", "late"):
        info = graph.info(task_id)
        if then == "runs":
            assert info.state in (State.PENDING, State.ASSIGNED)
        else:
            assert (info.state, info.reason) == (State.CANCELLED, "dependency")
    assert graph.state("c") in ((State.WAITING,) if then == "runs" else (State.PENDING, State.ASSIGNED))


def test_a_branch_is_cancelled_down_to_its_end(graph: Graph) -> None:
    graph.submit("a")
    for i in range(100):  # more than one script may tell of
        graph.submit(f"t{i}", after=[f"t{i - 1}" if i else "a"])
    graph.submit("end", after=["t99:failed"])
    graph.fail("a")
    assert graph.state("t99") == State.WAITING
    graph.tell()
    assert graph.state("t99") == State.CANCELLED
    assert graph.goes_on("end")
    assert graph.run(graph.store.counts())["cancelled"] == 100


def test_a_wide_fan_is_released_in_batches(graph: Graph) -> None:
    graph.submit("a")
    graph.submit(*(f"t{i}" for i in range(300)), after=["a"], cpu=64)
    graph.run_to_end("a")
    assert graph.run(graph.store.info()).tasks["waiting"] > 200
    assert 2 < graph.tell() < 8
    assert graph.run(graph.store.info()).tasks["waiting"] == 0
    assert graph.run(graph.store.info()).tasks["pending"] + graph.run(graph.store.info()).tasks["assigned"] == 300


def test_many_are_waited_for(graph: Graph) -> None:
    names = [f"t{i}" for i in range(60)]
    graph.submit(*names)
    graph.submit("sum", after=names)
    assert graph.info("sum").awaited == 60
    graph.submit("sum", after=names)  # again: nothing changes
    for name in names:
        assert graph.state("sum") == State.WAITING
        graph.run_to_end(name)
    assert graph.goes_on("sum")


def test_of_many_one_is_not_there(graph: Graph) -> None:
    """Also beyond those that the first call names: it isn't submitted, and can be later."""
    names = [f"t{i}" for i in range(300)]
    requests = [TaskRequest("m:f", task_id=name).check() for name in names[:-1]]
    wide = TaskRequest("m:f", task_id="sum", after=names).check()
    then = TaskRequest("m:f", task_id="then", after=["sum"]).check()
    assert graph.run(graph.store.submit([*requests, wide, then]))[-2:] == ["orphan t299", "orphan sum"]
    bad = TaskRequest("m:f", task_id="t299", after=["no"]).check()
    assert graph.run(graph.store.submit([wide, bad])) == ["orphan t299", "orphan no"]
    assert graph.submit("t299") == ["new"]
    assert graph.run(graph.store.submit([wide, then])) == ["new", "new"]
    assert graph.info("sum").awaited == 300
    assert graph.run(graph.store.submit([wide])) == ["same"]


def test_ids_in_any_order_and_no_cycles(graph: Graph) -> None:
    def request(task_id: str, *after: str) -> TaskRequest:
        return TaskRequest("m:f", task_id=task_id, after=after).check()

    submit = graph.store.submit
    mixed = [request("c", "b"), request("b", "a"), request("a"), request("x", "no"), request("y", "x")]
    assert graph.run(submit(mixed)) == [
        "new", "new", "new", "orphan no", "orphan x",
    ]  # fmt: skip
    assert graph.state("c") == State.WAITING
    assert graph.run(graph.store.states(["x", "y"])) == [None, None]
    with pytest.raises(InvalidValue, match="wait for each other: p -> q -> r -> p"):
        graph.run(submit([request("p", "q"), request("q", "r"), request("r", "p")]))
    with pytest.raises(InvalidValue, match="s -> s"):
        graph.run(submit([request("s", "s")]))


def test_the_same_request_again(graph: Graph) -> None:
    graph.submit("a")
    assert graph.submit("b", after=["a"]) == ["new"]
    assert graph.submit("b", after=["a"]) == ["same"]
    assert graph.submit("b", after=["a:any"]) == ["conflict"]
    assert graph.submit("b") == ["conflict"]
    graph.run_to_end("a")
    assert graph.submit("b", after=["a"]) == ["same"]


def test_what_waits_is_held_cancelled_and_prioritized(graph: Graph) -> None:
    graph.submit("a")
    graph.submit("b", "c", after=["a"])
    graph.submit("d", after=["c:any"])
    assert graph.run(graph.store.hold("b")) == State.HELD
    assert graph.run(graph.store.unhold("b")) == State.WAITING
    assert graph.run(graph.store.hold("b")) == State.HELD
    assert graph.run(graph.store.prioritize("b", 5)) == State.HELD
    assert graph.run(graph.store.cancel("c")).outcome == "unchanged"
    with pytest.raises(WrongState):
        graph.run(graph.store.requeue("c"))
    assert graph.run(graph.store.cancel("c", requeue=False)).outcome == "cancelled"
    assert graph.goes_on("d")
    graph.run_to_end("a")
    assert (graph.state("b"), graph.info("b").awaited) == (State.HELD, 0)
    assert graph.run(graph.store.unhold("b")) == State.PENDING
    assert graph.state("c") == State.CANCELLED


def test_a_delay_counts_beside_the_waiting(graph: Graph) -> None:
    graph.submit("a")
    graph.submit("b", after=["a"], delay=100)
    graph.run_to_end("a")
    assert graph.state("b") == State.DELAYED
    graph.now += 100_000
    graph.run(graph.store.promote())
    assert graph.goes_on("b")


def test_a_requeue_is_no_end(graph: Graph) -> None:
    graph.submit("a", retries=1)
    graph.submit("b", after=["a"])
    graph.run_to_end("a", "returned")
    assert graph.state("b") == State.WAITING
    graph.fail("a")
    assert (graph.state("a"), graph.state("b")) == (State.DELAYED, State.WAITING)


def test_an_end_counts_once(graph: Graph) -> None:
    """One that has ended and is requeued ends again: who had heard of it waits on for the others."""
    graph.submit("a", "x")
    graph.submit("b", after=["a", "x"])
    graph.run_to_end("a")
    graph.run(graph.store.requeue("a"))
    graph.run_to_end("a")
    assert (graph.state("b"), graph.info("b").awaited) == (State.WAITING, 1)


def test_an_id_that_is_given_anew_waits_anew(graph: Graph) -> None:
    graph.submit("a", "x")
    graph.submit("b", after=["a", "x"])
    graph.run(graph.store.cancel("b", requeue=False))
    graph.run(graph.store.forget_ids(["b"]))
    graph.submit("b", after=["a", "x"])
    graph.run_to_end("a")
    assert (graph.state("b"), graph.info("b").awaited) == (State.WAITING, 1)


def test_on_failure_keep(graph: Graph) -> None:
    graph.submit("a")
    graph.submit("b", after=["a"], on_failure="keep")
    graph.fail("a")
    assert graph.state("b") == State.WAITING
    with pytest.raises(TaskNeeded, match="b waits for it"):
        graph.run(graph.store.forget_ids(["a"]))
    assert graph.run(graph.store.forget()) == 0
    assert graph.submit("late", after=["a"], on_failure="keep") == ["new"]
    assert graph.state("late") == State.WAITING
    graph.run(graph.store.requeue("a"))
    graph.run_to_end("a")
    assert {graph.state("b"), graph.state("late")} <= {State.PENDING, State.ASSIGNED}


def test_nothing_is_kept_that_nobody_needs(graph: Graph) -> None:
    graph.submit("a")
    graph.submit("b", after=["a"])
    graph.run_to_end("a")
    assert graph.run(graph.store.forget_ids(["a"])) == 1
    graph.run_to_end("b")
    assert graph.run(graph.store.forget()) == 1


def test_a_result_that_is_used_is_kept(graph: Graph) -> None:
    graph.submit("a")
    graph.submit("b", after=["a:result"])
    graph.run_to_end("a")
    with pytest.raises(TaskNeeded, match="b uses its result"):
        graph.run(graph.store.forget_ids(["a"]))
    assert graph.run(graph.store.forget()) == 0
    graph.run_to_end("b")
    assert graph.run(graph.store.forget_ids(["a"])) == 1


def test_a_reaped_task_releases(graph: Graph) -> None:
    graph.node("m", 1, 100, ttl=1.0)
    graph.submit("a", crash_limit=1, require=[])
    graph.submit("b", after=["a:failed"])
    graph.submit("c", after=["a"])
    starts: dict[str, Start] = {}
    while not starts:
        graph.place()
        starts = graph.starts("m") or graph.starts("n")
    node = "m" if starts["a"].token and graph.info("a").node_id == "m" else "n"
    graph.started(node, starts["a"])
    graph.run(graph.store.node_leave(node, "1", crashed=True))
    (lost,) = graph.run(graph.store.sweep())[1]
    graph.run(graph.store.reap(lost))
    assert graph.info("a").reason == "poison"
    assert graph.goes_on("b")
    assert graph.state("c") == State.CANCELLED


def test_arrays_wait_and_are_waited_for(graph: Graph) -> None:
    graph.submit("a")
    graph.submit("sweep", after=["a"], array="1-3")
    graph.submit("sum", after=["sweep"])
    assert graph.state("sweep") == State.WAITING
    assert graph.state("sweep/2") == State.WAITING
    assert graph.run(graph.store.info()).tasks["waiting"] == 4
    with pytest.raises(WrongState, match="waits with its array"):
        graph.run(graph.store.hold("sweep/2"))
    assert graph.submit("three", after=["sweep/2"]) == ["orphan sweep/2"]
    assert graph.run(graph.store.cancel("sweep/2", requeue=False)).outcome == "cancelled"
    graph.run_to_end("a")
    assert graph.state("sweep") == State.RUNNING  # all of it was placed
    graph.run_to_end("sweep/1")
    assert graph.state("sum") == State.WAITING
    graph.run_to_end("sweep/3")
    assert graph.state("sum") == State.CANCELLED  # one of its elements was


def test_elements_are_waited_for(graph: Graph) -> None:
    graph.submit("sweep", array="1-100")
    graph.submit("b", after=["sweep/50"])
    graph.run_to_end("sweep/50")
    assert graph.goes_on("b")
    graph.submit("other", array="1-9", cpu=64)
    graph.submit("c", after=["other/6", "other:any"])
    graph.run(graph.store.cancel("other", requeue=False))
    assert graph.state("c") == State.CANCELLED


def test_an_array_whose_branch_is_cancelled(graph: Graph) -> None:
    graph.submit("a")
    graph.submit("sweep", after=["a"], array="1-3")
    graph.submit("b", after=["sweep:failed"])
    graph.fail("a")
    assert (graph.state("sweep"), graph.state("sweep/2")) == (State.CANCELLED, State.CANCELLED)
    assert graph.goes_on("b")
