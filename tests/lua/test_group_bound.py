"""Whoever looks for the earliest task that fits walks the groups of waiting classes. Sizes alone make few of them; sets
of labels, and of nodes that have refused, would make as many as somebody likes. So not more than so many come in."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.errors import Refused, TooManyLabelSets
from rq_sched.link import Link, Op, scripts
from rq_sched.link.scripts import Script
from rq_sched.model.orders import Start
from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskRequest
from rq_sched.store.answers import EndReport
from rq_sched.store.base import BATCH
from tests.lua.cell import Cell

MOST = 4
SETTING = "local MOST_GROUPS = 1000 "


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is soon reached."""
    load = scripts.load
    assert SETTING in load("task_submit").source
    monkeypatch.setattr(
        scripts,
        "load",
        lambda name: Script.of(name, load(name).source.replace(SETTING, f"local MOST_GROUPS = {MOST} ")),
    )


@pytest.fixture
def crowded(few: None, cell: Cell) -> Cell:
    """As many sets of labels wait as may."""
    for i in range(MOST):
        assert cell.submit(f"w{i}", require=[f"l{i}"]) == ["new"]
    return cell


def keys(cell: Cell) -> set[bytes]:
    """All keys of the namespace, with what they hold."""

    def op() -> Op[Any]:
        names = (yield [("KEYS", cell.store.keys.prefix + "*")])[0]
        dumps = yield [("DUMP", name) for name in names]
        return {name + b" " + bytes(dump) for name, dump in zip(names, dumps, strict=True)}

    return cell.run(op())


# -- submit -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_of_a_batch_only_those_with_a_label_set_too_many_are_refused(cell: Cell) -> None:
    requires: list[list[str]] = [[], ["a"], ["b"], ["c"], ["d"], [], ["a", "b"], ["c"]]
    batch: list[Any] = []
    for i, require in enumerate(requires):
        batch += cell.submit(f"t{i}", require=require)
    assert batch == ["new", "new", "new", "new", "crowded", "new", "crowded", "new"]
    assert (cell.state("t4"), cell.state("t6"), cell.state("t7")) == (None, None, State.PENDING)


@pytest.mark.usefixtures("few")
def test_those_that_one_call_brings_count_as_well(cell: Cell) -> None:
    requests = [
        TaskRequest("m:f", task_id=f"t{i}", cpu_needed=1, memory_needed=100, require=[f"l{i % 6}"]).check()
        for i in range(12)
    ]
    assert cell.run(cell.store.submit(requests)) == (["new"] * MOST + ["crowded"] * 2) * 2


def test_a_call_that_is_refused_writes_nothing(crowded: Cell) -> None:
    before = keys(crowded)
    assert crowded.submit("more", "again", require=["m"]) == ["crowded"] * 2
    assert crowded.submit("arr", require=["m"], array="1-9") == ["crowded"]
    assert keys(crowded) == before


def test_what_waits_already_may_come_again_and_others_join_it(crowded: Cell) -> None:
    assert crowded.submit("w0", require=["l0"]) == ["same"]
    assert crowded.submit("w0", require=["m"]) == ["conflict"]
    assert crowded.submit("more", require=["l0"], memory=101) == ["new"]
    assert crowded.submit("arr", require=["l1"], array="1-9") == ["new"]


def test_whoever_requires_nothing_is_never_refused(crowded: Cell) -> None:
    for i in range(20):
        assert crowded.submit(f"t{i}", cpu=2**i) == ["new"]


def test_another_comes_in_when_one_has_gone(crowded: Cell) -> None:
    crowded.node("n", labels=("l0",))
    assert crowded.place() == 1
    assert crowded.submit("t", require=["m"]) == ["new"]
    assert crowded.submit("u", require=["n"]) == ["crowded"]
    crowded.run(crowded.store.cancel("w1", requeue=False))
    assert crowded.submit("u", require=["n"]) == ["new"]


# -- what waited elsewhere --------------------------------------------------------------------------


def test_a_delayed_task_is_looked_at_again_and_holds_up_nobody(crowded: Cell) -> None:
    crowded.submit("t", require=["m"], delay=1.0)
    crowded.submit("arr", require=["m"], delay=1.0, array="1-2")
    crowded.submit("other", delay=1.1)
    crowded.now += 2000
    assert crowded.run(crowded.store.promote()).promoted == 3
    promoted = crowded.run(crowded.store.promote())
    assert promoted.promoted == 0
    assert 1.0 <= (promoted.due_in or 0) < 1.1
    assert crowded.state("other") is State.PENDING
    for task_id in ("t", "arr"):
        info = crowded.info(task_id)
        assert (info.state, info.reason) == (State.DELAYED, Reason.TOO_MANY_LABEL_SETS)
    for task_id in ("w0", "w1"):  # one made room for the other
        crowded.run(crowded.store.cancel(task_id, requeue=False))
    crowded.now += 1100
    crowded.run(crowded.store.promote())
    info = crowded.info("t")
    assert (info.state, crowded.state("arr")) == (State.PENDING, State.PENDING)
    assert info.reason != Reason.TOO_MANY_LABEL_SETS


def test_the_more_are_delayed_the_later_they_are_looked_at(crowded: Cell) -> None:
    """Else whoever delays very many would keep the schedulers at it."""
    for first in range(0, 300, 50):
        crowded.submit(*(f"t{i}" for i in range(first, first + 50)), require=["m"], delay=1.0)
    crowded.now += 1500
    while crowded.run(crowded.store.promote()).promoted:
        pass
    assert (crowded.run(crowded.store.promote()).due_in or 0) > 1.2


def test_a_retry_waits_as_well(crowded: Cell) -> None:
    crowded.node("n", labels=("l0",))
    crowded.place()
    assert crowded.submit("more", require=["m"]) == ["new"]
    crowded.run(crowded.store.cancel("w0", requeue=False))
    crowded.finish("n", crowded.stops("n")["w0"], "stopped")
    crowded.run(crowded.store.cancel("more", requeue=False))
    crowded.submit("r", require=["l0"], retries=1)
    crowded.place()
    crowded.finish("n", crowded.starts("n")["r"], "failed", reason="error", error="no")
    crowded.submit("last", require=["last"])
    crowded.now += 1500
    crowded.run(crowded.store.promote())
    info = crowded.info("r")
    assert (info.state, info.reason, info.error) == (State.DELAYED, Reason.TOO_MANY_LABEL_SETS, "no")


@pytest.mark.parametrize("array", [None, "1-4"])
def test_who_is_brought_back_is_refused_while_there_is_no_room(few: None, cell: Cell, array: str | None) -> None:
    cell.submit("t", require=["m"], array=array)
    cell.run(cell.store.hold("t"))
    for i in range(MOST):
        cell.submit(f"w{i}", require=[f"l{i}"])
    before = keys(cell)
    with pytest.raises(TooManyLabelSets, match="wait already"):
        cell.run(cell.store.unhold("t"))
    with pytest.raises(Refused):
        cell.run(cell.store.unhold("t/2" if array else "t"))
    assert keys(cell) == before
    cell.run(cell.store.cancel("w0", requeue=False))
    assert cell.run(cell.store.unhold("t")) is State.PENDING


def test_who_is_requeued_is_refused_while_there_is_no_room(crowded: Cell) -> None:
    crowded.submit("t", require=["m"], delay=5.0)
    crowded.submit("u", require=["m"], delay=5.0)
    crowded.run(crowded.store.cancel("u", requeue=False))
    before = keys(crowded)
    for task_id in ("t", "u"):
        with pytest.raises(TooManyLabelSets):
            crowded.run(crowded.store.requeue(task_id))
    assert keys(crowded) == before
    crowded.run(crowded.store.cancel("w0", requeue=False))
    assert crowded.run(crowded.store.requeue("u")) is State.PENDING
    assert crowded.run(crowded.store.requeue("t")) is State.PENDING


def test_what_ran_comes_back_in_any_case(crowded: Cell) -> None:
    """It never is more than runs; and it can't be anywhere else."""
    crowded.node("n", labels=("l0", "l1"))
    crowded.place()
    starts = crowded.starts("n")
    assert set(starts) == {"w0", "w1"}
    crowded.submit("t", require=["m"])
    crowded.submit("u", require=["n"])
    crowded.run(crowded.store.node_drain("n"))
    crowded.finish("n", starts["w0"], "returned")
    crowded.run(crowded.store.cancel("w1"))
    crowded.finish("n", crowded.stops("n")["w1"], "stopped")
    assert (crowded.state("w0"), crowded.state("w1")) == (State.PENDING, State.PENDING)


# -- refusals ---------------------------------------------------------------------------------------


def refuse(cell: Cell, node_id: str, start: Start) -> None:
    cell.finish(node_id, start, "failed", reason=str(Reason.NOT_FOUND), error="no module m")


@pytest.mark.usefixtures("few")
def test_a_task_that_is_refused_fails_where_there_is_no_room(cell: Cell) -> None:
    cell.node("a", 2)
    cell.submit("t1", "t2")
    cell.place()
    starts = cell.starts("a")
    cell.node("b", 1)
    refuse(cell, "a", starts["t1"])
    assert cell.state("t1") is State.PENDING
    cell.submit("t3", cpu=1)
    for i in range(MOST):
        cell.submit(f"w{i}", require=[f"l{i}"])
    refuse(cell, "a", starts["t2"])
    assert cell.info("t2").refused == ["a:1"], "it joins those that the same node has refused"
    cell.place()
    node_id = next(n for n in ("a", "b") if "t1" in cell.starts(n)) if cell.state("t1") is State.ASSIGNED else ""
    assert node_id == "b"


@pytest.mark.usefixtures("few")
def test_it_says_why_no_more_nodes_were_asked(cell: Cell) -> None:
    cell.node("a", 1)
    cell.submit("t")
    cell.place()
    start = cell.starts("a")["t"]
    cell.node("b", 1)
    for i in range(MOST):
        cell.submit(f"w{i}", require=[f"l{i}"])
    refuse(cell, "a", start)
    info = cell.info("t")
    assert (info.state, info.reason) == (State.FAILED, Reason.NOT_FOUND)
    said, more = (info.error or "").split("\n")
    assert said == "a: no module m"
    assert more.startswith("no more nodes were asked: ")


# -- what it is for ---------------------------------------------------------------------------------


def commands(cell: Cell, op: Op[Any]) -> int:
    """How many the server carries out for a call."""

    def counted() -> Op[int]:
        info = (yield [("INFO", "stats")])[0]
        return int(info.decode().partition("total_commands_processed:")[2].split()[0])

    before = cell.run(counted())
    cell.run(op)
    return cell.run(counted()) - before - 1


def test_however_many_label_sets_are_tried_an_end_and_a_look_take_no_more(namespace: str, redis_url: str) -> None:
    """On a real server, with the bound as it is: a walk loads 64 groups with each command."""
    link = Link(redis_url)
    cell = Cell(link, namespace)
    cell.node("n", 2)
    cell.submit("one", "two")
    cell.place()
    starts = cell.starts("n")
    cell.started("n", *starts.values())
    answers = many(cell, [{"memory_needed": 16, "require": [f"l{i}"]} for i in range(5000)])
    assert answers == ["new"] * 1000 + ["crowded"] * 4000
    report = EndReport(starts["one"].token, "one", "completed", ran=0.1, result=b"\xc0")
    assert commands(cell, cell.store.task_finish("n", "1", acked=0, reports=[report])) < 60
    assert commands(cell, cell.store.reserve()) < 2200, "two a label set"
    assert cell.submit("innocent") == ["new"]
    assert commands(cell, cell.store.place()) < 200, "a batch: 16 classes are looked up"
    link.close()


def test_label_sets_that_many_nodes_carry_do_not_make_a_look_long(namespace: str, redis_url: str) -> None:
    """What no node could hold is passed over, however it is called; who is behind it still gets a node."""
    link = Link(redis_url)
    cell = Cell(link, namespace)
    labels = [f"r{i}" for i in range(8)]
    for i in range(50):
        cell.node(f"n{i}", 1, labels=labels)
    cell.place()
    cell.submit(*(f"b{i}" for i in range(50)))
    cell.place()
    sets = [[label for i, label in enumerate(labels) if n >> i & 1] for n in range(1, 256)]
    assert many(cell, [{"cpu_needed": 1, "memory_needed": 2000, "require": s} for s in sets]) == ["new"] * 255
    cell.node("large", 1, 9000)
    cell.place()
    cell.submit("x", memory=9000)
    cell.place()
    cell.submit("behind", memory=9000)
    assert commands(cell, cell.store.reserve()) < 800
    cell.now += 60_000
    assert cell.run(cell.store.reserve()).kept_for == "behind"
    link.close()


def many(cell: Cell, needs: list[dict[str, Any]]) -> list[str]:
    """Submits a task for each, all before everybody else's."""
    requests = [TaskRequest("m:f", task_id=f"x{i}", priority=2**31 - 1, **need).check() for i, need in enumerate(needs)]
    answers: list[str] = []
    for first in range(0, len(requests), BATCH):
        answers += cell.run(cell.store.submit(requests[first : first + BATCH]))
    return answers
