"""A task is placed only on nodes that carry all labels it requires; everything else about it is as of any task."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.link import Op
from rq_sched.model.orders import Start
from rq_sched.model.states import Reason, State
from tests.lua.cell import ON_A_SERVER, Cell

CHOICES = ["first_fit", "best_fit", "tight", "aligned"]


def on(cell: Cell, task_id: str) -> str | None:
    info = cell.info(task_id)
    return info.node_id if info.state in (State.ASSIGNED, State.RUNNING) else None


def plain(*words: Any) -> Op[Any]:
    return (yield [words])[0]


def scores(cell: Cell, index: str) -> dict[str, float]:
    flat = cell.run(plain("ZRANGE", cell.store.keys.prefix + index, 0, -1, "WITHSCORES"))
    return {name.decode(): float(score) for name, score in zip(flat[::2], flat[1::2], strict=True)}


# -- where a task may run ---------------------------------------------------------------------------


@pytest.mark.parametrize("choice", CHOICES)
def test_only_nodes_with_all_labels_are_taken(cell: Cell, choice: str) -> None:
    cell.run(cell.store.set_setting("node_choice", choice))
    for name, labels in [("a", ()), ("b", ("gpu",)), ("c", ("gpu", "ssd")), ("d", ("gp",)), ("e", ("gpu2", "ss"))]:
        cell.node(name, 2, 1000, labels=labels)
    cell.place()
    cell.submit("both", cpu=2, require=["ssd", "gpu"])
    cell.place()
    assert on(cell, "both") == "c"
    cell.submit("one", cpu=2, require=["gpu"])
    cell.place()
    assert on(cell, "one") == "b"
    cell.submit("another", require=["gpu"])
    cell.submit("again", require=["ssd", "gpu"])
    assert cell.place() == 0
    assert (on(cell, "another"), on(cell, "again")) == (None, None)


def test_a_node_with_labels_runs_tasks_without(cell: Cell) -> None:
    cell.node("a", 1, labels=("gpu",))
    cell.submit("any")
    cell.place()
    assert on(cell, "any") == "a"
    assert cell.info("any").require == []


@pytest.mark.parametrize("choice", CHOICES)
def test_the_one_node_with_room_and_all_labels_is_found_among_many(cell: Cell, choice: str) -> None:
    """More nodes have a part of what is required than are weighed at once, some are full, and some have no memory."""
    cell.run(cell.store.set_setting("node_choice", choice))
    for i in range(50):
        cell.node(f"gpu{i}", 2, 1000, labels=("gpu",))
        cell.node(f"ssd{i}", 2 + i % 3, 1000, labels=("ssd",))
    cell.node("small", 9, 99, labels=("gpu", "ssd"))
    cell.node("full", 1, 1000, labels=("gpu", "ssd"))
    cell.node("zz", 2, 1000, labels=("gpu", "ssd", "zone.1"))
    cell.place()
    cell.submit("filler", require=["gpu", "ssd"])
    cell.place()
    first = on(cell, "filler")
    cell.submit("t", cpu=1, memory=900, require=["ssd", "gpu"])
    cell.submit("wide", cpu=2, memory=100, require=["ssd", "gpu"])
    cell.submit("zone", cpu=1, memory=100, require=["zone.1"])
    cell.place()
    placed = {name: on(cell, name) for name in ("t", "wide", "zone")}
    assert first in ("full", "zz")
    assert placed["t"] in {"full", "zz"} - ({first} if first == "full" else set())
    assert placed["wide"] == ("zz" if first == "full" and placed["t"] != "zz" else None)
    assert placed["zone"] in ("zz", None)


@pytest.mark.parametrize("labels", [(), ("gpu",), ("gpu", "ssd")])
def test_nodes_of_as_many_cores_without_the_memory_hide_none_with_it(cell: Cell, labels: tuple[str, ...]) -> None:
    cell.run(cell.store.set_setting("node_choice", "best_fit"))
    for i in range(40):
        cell.node(f"less{i}", 2, 100 + i, labels=labels)
        cell.node(f"other{i}", 3, 100 + i, labels=labels[:1])
    cell.node("enough", 2, 1000, labels=labels)
    cell.place()
    cell.submit("t", memory=500, require=labels)
    cell.place()
    assert on(cell, "t") == "enough"


def test_the_order_holds_among_tasks_with_labels_and_without(cell: Cell) -> None:
    cell.node("a", 1, labels=("gpu",))
    cell.submit("running")
    cell.place()
    start = cell.starts("a")["running"]
    cell.submit("later")
    cell.submit("elsewhere", priority=9, require=["tpu"])
    cell.submit("first", priority=1, require=["gpu"])
    cell.submit("second", priority=1)
    for task_id in ("first", "second", "later"):  # by the call that reports the end, on the node itself
        _, starts = cell.finish("a", start)
        assert list(starts) == [task_id]
        start = starts[task_id]
    cell.finish("a", start)
    assert on(cell, "elsewhere") is None


def test_a_need_that_is_blocked_for_its_labels_blocks_no_other(cell: Cell) -> None:
    cell.node("a", 2)
    cell.place()
    cell.submit("gpu", priority=5, require=["gpu"])
    cell.submit("both", priority=4, require=["gpu", "ssd"])
    cell.submit("plain", memory=200)
    cell.place()
    assert [on(cell, t) for t in ("gpu", "both", "plain")] == [None, None, "a"]


def test_equal_needs_with_other_labels_wait_in_queues_of_their_own(cell: Cell) -> None:
    cell.submit("none")
    cell.submit("gpu", require=["gpu"])
    cell.submit("both", require=["gpu", "ssd"])
    names = {key.decode().rpartition("pending:")[2] for key in cell.run(plain("KEYS", cell.store.keys.pending("*")))}
    assert names == {"1:100", "1:100+gpu", "1:100+gpu+ssd"}


def test_another_requirement_is_another_request(cell: Cell) -> None:
    assert cell.submit("t", require=["a", "b"]) == ["new"]
    assert cell.submit("t", require=["b", "a", "a"]) == ["same"]
    assert cell.submit("t", require=["a"]) == ["conflict"]


# -- nodes that change ------------------------------------------------------------------------------


def test_a_node_that_joins_with_the_label_takes_what_waits_for_it(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", require=["gpu"])
    assert cell.place() == 0
    cell.node("b", labels=("gpu",))
    cell.place()
    assert on(cell, "t") == "b"


def test_a_node_comes_back_with_other_labels(cell: Cell) -> None:
    cell.node("a", labels=("gpu",))
    cell.submit("before", require=["gpu"])
    cell.place()
    cell.run(cell.store.node_leave("a", "1"))
    assert scores(cell, "free:gpu") == scores(cell, "totals:gpu") == {}
    cell.node("a", incarnation="2", labels=("ssd",))
    cell.submit("gpu", require=["gpu"])
    cell.submit("ssd", require=["ssd"])
    (lost,) = cell.run(cell.store.sweep())[1]
    cell.run(cell.store.reap(lost))
    cell.place()
    assert [on(cell, t) for t in ("before", "gpu", "ssd")] == [None, None, "a"]
    assert cell.info("before").reason == Reason.INFEASIBLE
    cell.run(cell.store.node_leave("a", "2"))
    cell.node("a", incarnation="3", labels=("gpu", "ssd"))
    cell.place()
    assert [on(cell, t) for t in ("before", "gpu")] == ["a", "a"]
    assert cell.run(cell.store.node("a")).labels == ["gpu", "ssd"]


def test_the_same_registration_again_changes_no_labels(cell: Cell) -> None:
    cell.node("a", labels=("gpu",))
    cell.node("a", labels=())
    assert cell.run(cell.store.node("a")).labels == ["gpu"]


def test_the_indexes_of_labels_follow_the_node(cell: Cell) -> None:
    cell.node("a", 4, 1000, labels=("gpu", "ssd"))
    cell.submit("t", cpu=3, require=["gpu"])
    cell.place()
    for index in ("free", "totals"):
        assert scores(cell, f"{index}:gpu") == scores(cell, f"{index}:ssd") == scores(cell, index) != {}
    cell.run(cell.store.node_drain("a"))
    assert scores(cell, "free:gpu") == scores(cell, "totals:ssd") == {}
    cell.run(cell.store.node_undrain("a"))
    assert scores(cell, "free:gpu") == scores(cell, "free") != {}


# -- what blocked tasks get -------------------------------------------------------------------------


def busy(cell: Cell, name: str, cores: int, **fields: Any) -> dict[str, Start]:
    """Tasks of one core that fill a node."""
    cell.submit(*(f"{name}{i}" for i in range(cores)), **fields)
    cell.place()
    starts = cell.starts(name)
    cell.started(name, *starts.values())
    return starts


def test_a_node_with_the_labels_is_kept(cell: Cell) -> None:
    cell.node("a", 2)
    busy(cell, "a", 2)
    cell.node("b", 2, labels=("gpu",))
    starts = busy(cell, "b", 2)
    cell.submit("wide", cpu=2, require=["gpu"])
    cell.run(cell.store.reserve())
    cell.now += 30_000
    assert cell.run(cell.store.reserve()).node_id == "b"
    assert scores(cell, "free:gpu") == {}
    cell.submit("later", require=["gpu"])
    for start in starts.values():
        cell.finish("b", start)
    cell.place()
    assert (on(cell, "wide"), on(cell, "later")) == ("b", None)


def test_of_the_nodes_with_the_labels_the_one_is_kept_that_is_empty_first(cell: Cell) -> None:
    """By the time limits of what runs there; one without the labels would be empty before."""
    for name, limit, labels in [
        ("a", 10, ()),
        ("b", 300, ("gpu", "ssd")),
        ("c", 200, ("gpu", "ssd")),
        ("d", 20, ("gpu",)),
    ]:
        cell.node(name, 2, labels=labels)
        busy(cell, name, 2, time_limit=limit)
    cell.submit("wide", cpu=2, require=["gpu", "ssd"])
    cell.run(cell.store.reserve())
    cell.now += 5000
    for name in "abcd":
        cell.run(cell.store.node_heartbeat(name, "1", acked=2))
    cell.run(cell.store.set_setting("reserve_after", 5))
    assert cell.run(cell.store.reserve()).node_id == "c"


def test_an_earlier_task_takes_the_kept_node_only_with_its_labels(cell: Cell) -> None:
    cell.node("a", 2, labels=("gpu",))
    one, other = busy(cell, "a", 2).values()
    cell.submit("wide", cpu=2)
    cell.run(cell.store.reserve())
    cell.now += 30_000
    assert cell.run(cell.store.reserve()).node_id == "a"
    cell.submit("tpu", priority=5, require=["tpu"])
    cell.submit("gpu", priority=4, require=["gpu"])
    _, starts = cell.finish("a", one)  # by the call that reports the end
    assert list(starts) == ["gpu"]
    cell.finish("a", other)
    cell.submit("tpu2", priority=5, require=["tpu"])
    cell.submit("gpu2", priority=4, require=["gpu"])
    cell.place()  # by a scheduler
    assert [on(cell, t) for t in ("tpu", "tpu2", "gpu2", "wide")] == [None, None, "a", None]


def test_later_tasks_use_what_is_spare_on_the_kept_node_only_with_its_labels(cell: Cell) -> None:
    cell.node("a", 4, labels=("gpu",))
    starts = list(busy(cell, "a", 4).values())
    cell.submit("wide", cpu=3)
    cell.run(cell.store.reserve())
    cell.now += 30_000
    assert cell.run(cell.store.reserve()).node_id == "a"
    cell.submit("tpu", require=["tpu"])
    cell.submit("gpu", "gpu2", require=["gpu"])
    _, placed = cell.finish("a", starts[0])
    assert list(placed) == ["gpu"]
    assert cell.place() == 0


@ON_A_SERVER
def test_what_no_node_has_the_labels_for_keeps_nobody_from_a_reservation(cell: Cell) -> None:
    """More of them than heads are looked at in one call."""
    cell.node("a", 2)
    busy(cell, "a", 2)
    for i in range(600):
        cell.submit(f"tpu{i}", memory=1 + i, priority=5, require=["tpu"])
    cell.submit("wide", cpu=2)
    assert cell.run(cell.store.reserve()).task_id == "wide"
    cell.node("b", 1, labels=("tpu", "gpu"))
    cell.submit("large", cpu=2, priority=9, require=["tpu"])  # a node has the label, and is too small
    cell.submit("both", cpu=1, memory=2000, priority=9, require=["tpu", "gpu"])
    assert cell.run(cell.store.reserve()).task_id == "tpu0"


def test_what_only_nodes_with_a_part_of_its_labels_could_hold_is_not_reserved_for(cell: Cell) -> None:
    cell.node("a", 4, 4000, labels=("gpu",))
    busy(cell, "a", 4)
    cell.node("b", 4, 4000, labels=("ssd",))
    busy(cell, "b", 4)
    cell.node("c", 2, labels=("gpu", "ssd"))
    busy(cell, "c", 2)
    cell.submit("nowhere", cpu=4, priority=5, require=["gpu", "ssd"])
    cell.submit("wide", cpu=2, require=["gpu", "ssd"])
    assert cell.run(cell.store.reserve()).task_id == "wide"


def test_only_tasks_on_nodes_with_the_labels_are_preempted(cell: Cell) -> None:
    cell.run(cell.store.set_setting("preempt_after", 0))
    cell.node("a", 2)
    busy(cell, "a", 2, priority=-2, preemptible=True)
    cell.node("b", 2, labels=("gpu",))
    busy(cell, "b", 2, priority=-1, preemptible=True)
    cell.now += 20_000
    cell.run(cell.store.node_heartbeat("a", "1", acked=2))
    cell.run(cell.store.node_heartbeat("b", "1", acked=2))
    cell.submit("urgent", priority=1, require=["gpu"])
    kept = cell.run(cell.store.reserve())
    assert (kept.node_id, kept.preempted) == ("b", 1)


def test_those_on_nodes_with_the_label_are_found_behind_many_others(cell: Cell) -> None:
    """More than candidates are looked at; the one on the node with the label is the last."""
    cell.run(cell.store.set_setting("preempt_after", 0))
    cell.node("a", 300, 30_000)
    cell.submit(*(f"t{i}" for i in range(300)), priority=-2, preemptible=True)
    cell.place()
    while starts := cell.starts("a"):
        cell.started("a", *starts.values())
    cell.node("b", 1, labels=("gpu", "ssd"))
    busy(cell, "b", 1, priority=-1, preemptible=True)
    cell.now += 20_000
    cell.run(cell.store.node_heartbeat("a", "1", acked=300))
    cell.run(cell.store.node_heartbeat("b", "1", acked=1))
    cell.submit("urgent", priority=1, require=["gpu", "ssd"])
    kept = cell.run(cell.store.reserve())
    assert (kept.node_id, kept.preempted) == ("b", 1)


def test_a_suspect_gets_a_whole_node_with_its_labels(cell: Cell) -> None:
    cell.node("a", 2, 1000, labels=("gpu", "ssd"))
    cell.submit("guilty", "innocent", crash_limit=1, require=["gpu", "ssd"])
    cell.place()
    cell.started("a", *cell.starts("a").values())
    cell.node("huge", 16, 9000)
    cell.node("part", 8, 9000, labels=("gpu",))
    cell.node("other", 8, 9000, labels=("ssd",))
    cell.node("b", 3, 1500, labels=("gpu", "ssd"))
    cell.run(cell.store.node_leave("a", "1", crashed=True))
    (lost,) = cell.run(cell.store.sweep())[1]
    cell.run(cell.store.reap(lost))
    info = cell.info("guilty")
    assert (info.suspect, info.cpu_needed, info.memory_needed, info.require) == (True, 3, 1500, ["gpu", "ssd"])
    cell.place()
    assert sorted(map(str, (on(cell, "guilty"), on(cell, "innocent")))) == ["None", "b"]


def test_after_a_death_for_memory_it_grows_up_to_the_nodes_with_its_labels(cell: Cell) -> None:
    cell.node("huge", 8, 9000)
    cell.node("a", 2, 300, labels=("gpu",))
    cell.submit("t", memory=200, max_memory_needed=5000, require=["gpu"])
    cell.place()
    cell.finish("a", cell.starts("a")["t"], "failed", reason="oom", error="too much")
    info = cell.info("t")
    assert (info.state, info.memory_needed, info.require, info.node_id) == (State.ASSIGNED, 300, ["gpu"], "a")


# -- why --------------------------------------------------------------------------------------------


def test_explain_counts_labels(cell: Cell) -> None:
    cell.node("a", 8, 8000)
    cell.node("b", 2, 1000, labels=("gpu",))
    cell.node("c", 4, 500, labels=("gpu", "ssd"))
    cell.place()
    cell.submit("filler", cpu=4, require=["ssd"])
    cell.place()
    cell.submit("t", cpu=2, memory=200, require=["gpu", "ssd"])
    why = cell.run(cell.store.explain("t")).to_dict()
    counts = {
        name: why[name] for name in ("fits_now", "nodes", "short_cpu", "short_memory", "short_labels", "fits_empty")
    }
    assert counts == {"fits_now": 0, "nodes": 3, "short_cpu": 1, "short_memory": 0, "short_labels": 2, "fits_empty": 1}
    assert why["reason"] == Reason.NO_FIT_NOW
    assert why["missing_labels"] == {"gpu": 1, "ssd": 2}
    assert (why["largest_cpu"], why["largest_memory"]) == (4, 500)


@pytest.mark.parametrize(("cpu", "require"), [(1, ["tpu"]), (1, ["gpu", "ssd"]), (4, ["gpu"])])
def test_without_a_node_that_could_hold_it_with_its_labels_it_is_infeasible(
    cell: Cell, cpu: int, require: list[str]
) -> None:
    cell.node("a", 8)
    cell.node("b", 2, labels=("gpu",))
    cell.node("c", 8, labels=("ssd",))
    cell.submit("t", cpu=cpu, require=require)
    assert cell.info("t").reason == Reason.INFEASIBLE
    assert cell.run(cell.store.explain("t")).fits_empty == 0


def test_how_many_are_ahead_counts_all_labels(cell: Cell) -> None:
    cell.submit("a", "b", require=["gpu"])
    cell.submit("c")
    cell.submit("t", require=["ssd"])
    assert cell.run(cell.store.explain("t")).ahead == 3


# -- bounds -----------------------------------------------------------------------------------------


@ON_A_SERVER
def test_a_placing_call_stops_where_looking_for_several_labels_took_long(cell: Cell) -> None:
    """Nodes that must be asked for their other labels weigh as look-ups do, so that no call runs long."""
    for i in range(200):
        cell.node(f"gpu{i}", 1, labels=("gpu",))
        cell.node(f"ssd{i}", 1, labels=("ssd",))
    cell.place()
    cell.run(cell.store.place())
    for i in range(8):
        cell.submit(f"t{i}", memory=100 - i, require=["gpu", "ssd"])  # each smaller than the one before
    assert cell.run(cell.store.place()).more
    assert cell.place() == 0  # and in some calls all have been looked at


def test_of_several_labels_the_one_that_fewest_nodes_carry_is_looked_for(cell: Cell) -> None:
    for i in range(200):
        cell.node(f"gpu{i}", 1, labels=("gpu", "zone"))
    cell.node("ssd", 1, labels=("ssd",))
    cell.place()
    for i in range(8):
        cell.submit(f"t{i}", memory=100 - i, require=["gpu", "ssd", "zone"])
    assert not cell.run(cell.store.place()).more


# -- repair -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "key", "words"),
    [
        ("ZREM", "free:gpu", ["a"]),
        ("ZADD", "free:gpu", ["77", "a"]),
        ("ZREM", "totals:ssd", ["a"]),
        ("ZADD", "totals:tpu", ["77", "a"]),
        ("ZADD", "free:gpu", ["77", "nobody"]),
        ("HSET", "node:a", ["labels", "+gpu"]),
        ("HDEL", "node:a", ["labels"]),
        ("HSET", "node:a", ["labels", "nonsense"]),
    ],
)
def test_damage_to_labels_is_found_and_mended(cell: Cell, command: str, key: str, words: list[str]) -> None:
    cell.node("a", 4, labels=("gpu", "ssd"))
    cell.place()
    cell.run(plain(command, cell.store.keys.prefix + key, *words))
    found = audit.problems(cell.run(audit.check(cell.store.keys.namespace)))
    assert {finding.check for finding in found} == {"nodes"}
    assert cell.run(repair(cell.store.keys.namespace, lambda: cell.now))
    assert audit.problems(cell.run(audit.check(cell.store.keys.namespace))) == []


def test_a_task_that_was_overlooked_on_a_node_with_its_labels_is_found(cell: Cell) -> None:
    cell.node("a", 4, labels=("gpu",))
    cell.node("b", 4)
    cell.place()
    cell.submit("t", require=["gpu"])
    cell.submit("elsewhere", require=["tpu"])
    cell.run(plain("DEL", cell.store.keys.fresh))
    found = audit.problems(cell.run(audit.check(cell.store.keys.namespace)))
    assert [(finding.check, finding.subject) for finding in found] == [("room", "t")]
    cell.run(repair(cell.store.keys.namespace, lambda: cell.now))
    cell.place()
    assert on(cell, "t") == "a"
