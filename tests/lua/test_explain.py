"""Why a task waits: counted exactly, in bounded steps, and without a write."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pytest

from rq_sched.errors import TaskExists, TaskNotFound
from rq_sched.link import Op, Request
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.fit import Place
from rq_sched.model.resources import Resources
from rq_sched.model.states import Reason
from rq_sched.model.task import TaskRequest
from rq_sched.store import position
from rq_sched.store.parts import of_lines
from tests.lua.cell import ON_A_SERVER, Cell

T = TypeVar("T")


def plain(*commands: Sequence[Any]) -> Op[list[Any]]:
    return (yield [tuple(command) for command in commands])


def sizes_of(op: Op[T], steps: list[int]) -> Op[T]:
    """The same op; ``steps`` gets the number of requests of each step."""
    replies: list[Any] | None = None
    while True:
        try:
            requests: Sequence[Request] = next(op) if replies is None else op.send(replies)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        steps.append(len(requests))
        replies = yield requests


def why(cell: Cell, task_id: str) -> dict[str, Any]:
    return cell.run(cell.store.explain(task_id)).to_dict()


def everything(cell: Cell) -> Iterator[tuple[bytes, bytes]]:
    """All keys of the server with what they hold."""
    for key in sorted(cell.run(plain(("KEYS", cell.store.keys.prefix + "*")))[0]):
        yield key, cell.run(plain(("DUMP", key)))[0]


# -- what fits ------------------------------------------------------------------------------------


def test_counts_of_nodes(cell: Cell) -> None:
    cell.submit("t1", cpu=4, memory=1000)
    assert why(cell, "t1")["reason"] == Reason.NO_NODES
    for name, cpu, memory in (("a", 2, 4000), ("b", 8, 500), ("c", 8, 4000), ("d", 2, 500)):
        cell.node(name, cpu, memory)
    cell.submit("filler", cpu=6, memory=3500, priority=5)
    cell.place()
    assert cell.info("filler").node_id == "c"
    found = why(cell, "t1")
    counts = {"fits_now": 0, "nodes": 4, "short_cpu": 3, "short_memory": 3, "fits_empty": 1, "largest_cpu": 8,
              "largest_memory": 4000, "reason": "no_fit_now", "ahead": 0, "ahead_at_least": False}  # fmt: skip
    assert {name: found[name] for name in counts} == counts
    assert cell.info("t1").reason == Reason.NO_FIT_NOW


def test_draining_nodes_do_not_count(cell: Cell) -> None:
    cell.node("a")
    cell.run(cell.store.node_drain("a"))
    cell.submit("t1")
    assert why(cell, "t1")["reason"] == Reason.NO_NODES


def test_too_large_for_any_node(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t1", cpu=5)
    found = why(cell, "t1")
    assert (found["reason"], found["fits_empty"], found["largest_cpu"]) == (Reason.INFEASIBLE, 0, 4)


def test_fits_and_is_behind(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t1")
    assert (why(cell, "t1")["reason"], why(cell, "t1")["fits_now"]) == (Reason.BEHIND, 1)


def test_more_nodes_than_one_call_reads(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rq_sched.store.reads.ROOMS_BATCH", 7)
    for number in range(30):
        cell.node(f"n{number}", cpu=1 + number % 3)
    assert {room.node_id for room in cell.run(cell.store.rooms())} == {f"n{number}" for number in range(30)}
    cell.submit("t1", cpu=3)
    assert (why(cell, "t1")["nodes"], why(cell, "t1")["fits_now"]) == (30, 10)


# -- what is ahead --------------------------------------------------------------------------------


@ON_A_SERVER
def test_what_is_ahead_is_counted_exactly(cell: Cell) -> None:
    rng = random.Random(5)
    ids = [f"t{number}" for number in range(400)]
    for task_id in ids:
        cell.submit(task_id, cpu=rng.randint(1, 9), memory=rng.randint(1, 40), priority=rng.randint(-2, 2))
    order = [task_id for _, _, task_id, _ in cell.run(cell.store.pending_in_order(len(ids)))]
    assert sorted(order) == sorted(ids)
    for rank in (0, 1, 57, 200, 399):
        assert (why(cell, order[rank])["ahead"], why(cell, order[rank])["ahead_at_least"]) == (rank, False)


def test_equals_in_one_long_queue(cell: Cell) -> None:
    ids = [f"t{number}" for number in range(150)]
    cell.submit(*ids)
    assert [why(cell, ids[rank])["ahead"] for rank in (0, 1, 2, 75, 148, 149)] == [0, 1, 2, 75, 148, 149]


def test_priorities_that_are_not_whole_with_aging(cell: Cell) -> None:
    cell.run(cell.store.set_setting("aging", 3))
    for number in range(40):
        cell.now += 1234
        cell.submit(f"t{number}", memory=1 + number % 5)
    order = [task_id for _, _, task_id, _ in cell.run(cell.store.pending_in_order(40))]
    assert [why(cell, task_id)["ahead"] for task_id in order] == list(range(40))


@ON_A_SERVER
def test_many_classes_cost_few_commands_and_a_bound_is_told(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [
        TaskRequest("m:f", task_id=f"t{i}", cpu_needed=1 + i % 40, memory_needed=1 + i // 40).check()
        for i in range(2_000)
    ]
    cell.run(cell.store.submit(requests))
    steps: list[int] = []
    (place,) = cell.run(cell.store.places(["t1999"]))
    assert place is not None
    assert cell.run(sizes_of(position.ahead(cell.store, place), steps)) == (1999, True)
    assert steps[-1] == -(-2_000 // position.AHEAD_BATCH)  # 32 classes a call
    assert max(steps) < 150
    monkeypatch.setattr(position, "AHEAD_CLASSES", 500)
    found = why(cell, "t1999")
    assert found["ahead_at_least"] is True
    assert found["ahead"] == 500  # each of these classes holds one task
    assert cell.run(position.ahead(cell.store, Place(-9.0, ""))) == (0, True)


# -- what is reserved, surplus --------------------------------------------------------------------


def plant(cell: Cell, **fields: Any) -> None:
    """A reservation as the script `reserve` makes it: for `big` on node a."""
    request = cell.run(plain(("GET", cell.store.keys.task("big"))))[0]
    sequence = of_lines(request)[b"turn"].decode().zfill(SEQUENCE)
    given = {"first": "big", "since": cell.now} | fields
    if "node" in fields:
        given |= {"task": "big", "class": "4:100", "score": 0, "sequence": sequence}
    cell.run(plain(("HSET", cell.store.keys.reservation, *(x for pair in given.items() for x in pair))))


@pytest.fixture
def kept(cell: Cell) -> Iterator[Cell]:
    """Node a (4 cores, 2 free) is kept for `big`; a planted reservation, gone before the checker comes."""
    cell.node("a", 4, 4000)
    cell.submit("runs", cpu=2, priority=9)
    cell.place()
    cell.submit("big", cpu=4)
    cell.place()
    cell.submit("early", cpu=2, priority=1)
    cell.submit("late", "later", cpu=2)
    cell.submit("short", cpu=2, time_limit=10)
    plant(cell, node="a", incarnation="1", at=cell.now, until=cell.now + 20_000, spare_cpu=0, spare_memory=3000)
    yield cell
    cell.run(plain(("DEL", cell.store.keys.reservation)))


def test_what_is_reserved_for_whom(kept: Cell) -> None:
    late = why(kept, "late")
    assert (late["reason"], late["fits_now"], late["fits_reserved"]) == (Reason.RESERVED, 0, 1)
    assert (late["reserved_node"], late["reserved_task"]) == ("a", "big")
    assert late["reserved_until"] == "1970-01-01T00:17:00.000Z"
    assert kept.info("late").reason == Reason.RESERVED
    states = {info.task_id: info.reason for info in kept.run(kept.store.list_tasks(state="pending")).tasks}
    assert states == {"big": Reason.NO_FIT_NOW, "early": Reason.BEHIND, "late": Reason.RESERVED,
                      "later": Reason.RESERVED, "short": Reason.BEHIND}  # fmt: skip
    assert why(kept, "early")["fits_now"] == 1  # a reservation holds only against later ones
    assert why(kept, "short")["fits_now"] == 1  # it ends before the reserved one is expected to start
    kept.run(plain(("HSET", kept.store.keys.reservation, "spare_cpu", 2)))
    assert why(kept, "late")["reason"] == Reason.BEHIND  # it uses only what is spare


def test_the_first_blocked_task_is_told_what_follows_when(cell: Cell) -> None:
    cell.node("a", 4, 4000)
    cell.submit("big", cpu=4, priority=3)
    plant(cell)
    found = why(cell, "big")
    assert found["blocked_since"] == "1970-01-01T00:16:40.000Z"
    assert "reserved_node" not in found
    assert found["preemptible"] == 0
    keys = cell.store.keys
    cell.run(plain(("ZADD", keys.preemptible, 1, "k1 a", 2, "k2 a", 3, "k3 a", 4, "k4 a")))
    assert why(cell, "big")["preemptible"] == 2  # only lower priorities
    cell.run(plain(("DEL", keys.reservation, keys.preemptible)))
    assert "blocked_since" not in why(cell, "big")


def test_surplus_cores_count_as_free(cell: Cell) -> None:
    cell.node("a", 4, 4000)
    cell.node("b", 1, 4000)
    cell.submit("grown", cpu=3)
    cell.place()
    cell.submit("t1", cpu=2)
    assert (why(cell, "t1")["fits_now"], why(cell, "t1")["short_cpu"]) == (0, 2)
    node = cell.store.keys.node("a")
    cell.run(plain(("HSET", node, "surplus", 2)))  # planted, as no elastic task has grown here
    found = why(cell, "t1")
    assert (found["fits_now"], found["fits_surplus"], found["short_cpu"], found["reason"]) == (1, 1, 1, "behind")
    cell.run(plain(("HDEL", node, "surplus")))


# -- a dry run ------------------------------------------------------------------------------------


def request(task_id: str = "new", **fields: Any) -> TaskRequest:
    return TaskRequest("m:f", ["x" * 100], task_id=task_id, **fields).check()


def test_a_dry_run_writes_nothing_and_says_the_same(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("other", priority=1)
    before = list(everything(cell))
    said = cell.run(cell.store.dry_run(request(cpu_needed=5))).to_dict()
    waiting = cell.run(cell.store.dry_run(request(cpu_needed=1, delay=60)))
    placed = cell.run(cell.store.dry_run(request(cpu_needed=1)))
    assert list(everything(cell)) == before
    assert (said["state"], said["reason"], said["ahead"], said["dry_run"]) == ("pending", "infeasible", 1, True)
    assert (placed.state, placed.reason, placed.fits_now) == ("assigned", None, 1)
    assert (waiting.state, waiting.due) == ("delayed", "1970-01-01T00:17:40.000Z")
    cell.run(cell.store.submit([request(cpu_needed=5)]))
    then = why(cell, "new")
    same = set(said) - {"dry_run", "exists"}
    assert {name: said[name] for name in same} == {name: then[name] for name in same}


def test_a_dry_run_of_what_is_here(cell: Cell) -> None:
    cell.run(cell.store.submit([request()]))
    assert cell.run(cell.store.dry_run(request())).exists is True
    with pytest.raises(TaskExists):
        cell.run(cell.store.dry_run(request(priority=5)))


# -- placed and ended -----------------------------------------------------------------------------


def test_where_a_task_runs_and_what_else_is_there(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t1", "t2")
    cell.place()
    found = why(cell, "t1")
    assert (found["node_id"], found["node_tasks"], found["node_free_cpu"], found["nodes"]) == ("a", 2, 2, 1)
    assert (found["fits_now"], found["cpu_allocated"]) == (1, 1)


def test_the_node_of_a_running_task_may_be_draining_or_dead(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t")
    cell.place()
    assert why(cell, "t")["node_state"] == "up"
    cell.run(cell.store.node_drain("a"))
    assert why(cell, "t")["node_state"] == "draining"
    cell.run(cell.store.node_leave("a", "1", crashed=True))
    assert why(cell, "t")["node_state"] == "dead"
    for lost in cell.run(cell.store.sweep())[1]:
        cell.run(cell.store.reap(lost))


@ON_A_SERVER
def test_the_last_events_of_a_task(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t", "other")
    cell.place()
    cell.finish("a", cell.starts("a")["t"])
    for i in range(450):  # more than two looks into the log take
        cell.submit(f"later{i}", memory=900)
    assert [event.type for event in cell.run(cell.store.events_of_task("t", 10))] == [
        "submitted",
        "placed",
        "completed",
    ]
    assert [event.type for event in cell.run(cell.store.events_of_task("t", 2))] == ["placed", "completed"]
    assert cell.run(cell.store.events_of_task("t", 0)) == []
    everything = [event for event in cell.run(cell.store.events()) if event.task_id == "t"]
    assert cell.run(cell.store.events_of_task("t", 10)) == everything


def test_unknown(cell: Cell) -> None:
    with pytest.raises(TaskNotFound):
        why(cell, "nobody")


def test_places(cell: Cell) -> None:
    cell.node("a", 1, 1000)
    cell.submit("t1", "t2", priority=4)
    cell.place()
    first, second, nobody = cell.run(cell.store.places(["t1", "t2", "nobody"]))
    assert (first, nobody) == (None, None)
    assert second is not None
    assert second.score == -4.0
    assert cell.run(cell.store.rooms())[0].free == Resources(0, 900)
