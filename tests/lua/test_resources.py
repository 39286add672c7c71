"""Resources of nodes: whole indexes, shares of one, sums. The ledger says who holds what; nothing is given twice."""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.link import Link, Op
from rq_sched.model.states import State
from tests.conftest import drop
from tests.faults.planted import run_with
from tests.lua.cell import Cell

CARDS = "gpu=0,1,2,3"
FREE_CARDS = "gpu=0:1000,1:1000,2:1000,3:1000"
CHOICES = ["first_fit", "best_fit", "tight", "aligned"]


def plain(*words: Any) -> Op[Any]:
    return (yield [words])[0]


def key(cell: Cell, name: str) -> str:
    return cell.store.keys.prefix + name


def free(cell: Cell, node: str = "n") -> str | None:
    value = cell.run(plain("HGET", key(cell, f"node:{node}"), "free_resources"))
    return None if value is None else value.decode()


def held(cell: Cell, node: str = "n", incarnation: str = "1") -> dict[str, str]:
    """What each task holds there."""
    entries = cell.run(plain("HVALS", key(cell, f"node:{node}:{incarnation}:tasks")))
    parts = [entry.decode().split(":", 4) for entry in entries]
    return {task: (rest[0] if rest else "") for task, _, _, _, *rest in parts}


def on(cell: Cell, task_id: str) -> str | None:
    info = cell.info(task_id)
    return info.node_id if info.state in (State.ASSIGNED, State.RUNNING) else None


def scores(cell: Cell, index: str) -> dict[str, float]:
    flat = cell.run(plain("ZRANGE", key(cell, index), 0, -1, "WITHSCORES"))
    return {name.decode(): float(score) for name, score in zip(flat[::2], flat[1::2], strict=True)}


def problems(cell: Cell) -> list[str]:
    return [str(one) for one in audit.problems(cell.run(audit.check(cell.store.keys.namespace)))]


def mended(cell: Cell) -> None:
    """The audit sees something, and nothing after a repair."""
    assert problems(cell)
    cell.run(repair(cell.store.keys.namespace))
    assert problems(cell) == []


# -- what is given -----------------------------------------------------------------------------------


def test_whole_amounts_take_whole_indexes_the_lowest_first(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources=CARDS)
    cell.needs("two", "1:100*gpu=2000")
    cell.needs("one", "1:100*gpu=1000")
    cell.needs("more", "1:100*gpu=2000")
    assert cell.place() == 2
    assert held(cell) == {"two": "gpu=0*1000,1*1000", "one": "gpu=2*1000"}
    assert free(cell) == "gpu=0:0,1:0,2:0,3:1000"
    assert cell.state("more") == State.PENDING


def test_a_share_goes_where_least_is_left_that_is_enough(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources=CARDS)
    for name, share in [("a", 600), ("b", 300), ("c", 500), ("d", 400), ("e", 100)]:
        cell.needs(name, f"1:100*gpu={share}")
        cell.place()
    assert held(cell) == {"a": "gpu=0*600", "b": "gpu=0*300", "c": "gpu=1*500", "d": "gpu=1*400", "e": "gpu=0*100"}
    cell.needs("whole", "1:100*gpu=2000")
    cell.place()
    assert held(cell)["whole"] == "gpu=2*1000,3*1000"
    cell.needs("share", "1:100*gpu=200")
    assert cell.place() == 0
    assert free(cell) == "gpu=0:0,1:100,2:0,3:0"


def test_an_index_with_a_share_given_away_is_no_whole_one(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources="gpu=0,1")
    cell.needs("share", "1:100*gpu=1")
    cell.needs("two", "1:100*gpu=2000")
    cell.needs("one", "1:100*gpu=1000")
    assert cell.place() == 2
    assert held(cell) == {"share": "gpu=0*1", "one": "gpu=1*1000"}


def test_sums_are_sums_and_names_are_told_apart(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources="gpu=GPU-1a,GPU-2b scratch=#200000000")
    cell.run(cell.store.limit_set("api", 20))
    cell.needs("a", "1:100*gpu=1000*scratch=150000000")
    cell.needs("b", "1:100*scratch=50001000")
    cell.needs("c", "1:100*scratch=500")
    cell.needs("d", "1:100*gpu=1000*scratch=1000@api=2")
    cell.place()
    one, other = "gpu=GPU-1a*1000;scratch=#150000000", "gpu=GPU-2b*1000;scratch=#1000;@api=2"
    given = {"a": one, "c": "scratch=#500", "d": other}
    assert held(cell) == given
    cell.finish("n", cell.starts("n")["a"])
    assert held(cell)["b"] == "scratch=#50001000"
    assert free(cell) == "gpu=GPU-1a:1000,GPU-2b:0 scratch=#149997500"


def test_the_start_order_says_what_was_given(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources=CARDS + " scratch=#5000000")
    cell.needs("a", "1:100*gpu=2000*scratch=5000000")
    cell.needs("b", "1:100")
    cell.place()
    texts = cell.run(plain("LRANGE", key(cell, "node:n:1:orders"), 0, -1))
    _, kind, _, *words = texts[0].decode().split(" ")
    assert (kind, *words) == ("start", "a", "gpu=0*1000,1*1000;scratch=#5000000")
    assert len(texts[1].split(b" ")) == 4
    assert cell.starts("n").keys() == {"a", "b"}


# -- where -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", CHOICES)
def test_only_nodes_with_enough_are_taken(cell: Cell, choice: str) -> None:
    cell.run(cell.store.set_setting("node_choice", choice))
    cell.node("a", 4, 4000)
    cell.node("b", 4, 4000, resources="gpu=0")
    cell.node("c", 8, 8000, resources="gpu=0,1 fpga=0", labels=["ssd"])
    cell.node("d", 8, 8000, resources="fpga=0,1")
    cell.place()
    cell.needs("two", "1:100*gpu=2000")
    cell.needs("both", "1:100*fpga=1000*gpu=1000")
    cell.place()
    assert (on(cell, "two"), on(cell, "both")) == ("c", None)
    cell.needs("fpga", "1:100*fpga=1000")
    cell.needs("labelled", "1:100+ssd*fpga=1000")
    cell.needs("small", "1:100*gpu=500")
    cell.place()
    assert {on(cell, "fpga"), on(cell, "labelled"), on(cell, "small")} == {"d", "c", "b"}


@pytest.mark.parametrize("choice", CHOICES)
def test_nodes_with_resources_are_used_last_by_who_asks_for_none(cell: Cell, choice: str) -> None:
    cell.run(cell.store.set_setting("node_choice", choice))
    cell.node("a", 1, 4000, resources="gpu=0 scratch=#5000")
    cell.node("b", 1, 4000, resources="scratch=#5000")
    cell.node("c", 8, 8000)
    cell.place()
    places = []
    for i in range(10):
        cell.submit(f"t{i}")
        cell.place()
        places.append(on(cell, f"t{i}"))
    assert places == ["c"] * 8 + ["b", "a"]


def test_a_fill_passes_over_what_lacks_resources_and_keeps_the_order(cell: Cell) -> None:
    cell.node("n", 4, 4000, resources="gpu=0,1")
    cell.run(cell.store.node_drain("n"))
    for i, need in enumerate(["*gpu=1000", "*gpu=2000", "*gpu=1000", "", "*gpu=1000", ""]):
        cell.needs(f"t{i}", f"1:100{need}")
    cell.run(cell.store.node_undrain("n"))
    assert cell.place() == 4
    assert [i for i in range(6) if on(cell, f"t{i}")] == [0, 2, 3, 5]
    assert scores(cell, "free:*gpu") == scores(cell, "free") == {"n": float(2**45 + 3600)}
    starts = cell.starts("n")
    _, more = cell.finish("n", starts["t0"])
    assert more.keys() == {"t4"}  # t1 is before it, and needs both


def test_equal_tasks_stop_where_the_indexes_end(cell: Cell) -> None:
    """One class alone is filled by a short way."""
    cell.node("n", 8, 8000, resources="gpu=0,1,2")
    cell.run(cell.store.node_drain("n"))
    for i in range(6):
        cell.needs(f"t{i}", "1:100*gpu=1000")
    cell.run(cell.store.node_undrain("n"))
    assert cell.place() == 3
    assert sorted(held(cell)) == ["t0", "t1", "t2"]
    for i in range(3):
        cell.needs(f"s{i}", "1:100*gpu=500")
    assert cell.place() == 0


# -- given back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["completed", "failed", "crashed", "returned"])
def test_an_end_gives_back(cell: Cell, outcome: str) -> None:
    cell.node("n", 8, 8000, resources=CARDS + " scratch=#9000")
    cell.needs("t", "1:100*gpu=2000*scratch=9000")
    cell.needs("s", "1:100*gpu=300")
    cell.place()
    starts = cell.starts("n")
    cell.started("n", *starts.values())
    cell.run(cell.store.node_drain("n"))
    assert cell.finish("n", starts["t"], outcome)[0] == "recorded"
    assert free(cell) == "gpu=0:1000,1:1000,2:700,3:1000 scratch=#9000"
    assert cell.finish("n", starts["t"], outcome)[0] in ("recorded", "stale")
    assert free(cell) == "gpu=0:1000,1:1000,2:700,3:1000 scratch=#9000"


def test_a_stop_a_start_and_a_resize_keep_what_is_held(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources=CARDS)
    cell.needs("t", "2:200*gpu=2000")
    cell.place()
    start = cell.starts("n")["t"]
    cell.started("n", start)
    assert held(cell) == {"t": "gpu=0*1000,1*1000"}
    cell.run(cell.store.task_resize("n", "1", start.token, cpu=1, memory=100, number=1))
    assert held(cell) == {"t": "gpu=0*1000,1*1000"}
    cell.run(cell.store.cancel("t", requeue=False))
    assert held(cell) == {"t": "gpu=0*1000,1*1000"}
    cell.finish("n", cell.stops("n")["t"], "stopped")
    assert (held(cell), free(cell)) == ({}, FREE_CARDS)


def test_a_dead_node_gives_back_and_comes_with_other_cards(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources=CARDS)
    cell.needs("t", "1:100*gpu=4000")
    cell.place()
    cell.started("n", *cell.starts("n").values())
    cell.run(cell.store.node_leave("n", "1", crashed=True))
    assert scores(cell, "free:*gpu") == scores(cell, "totals:*gpu") == {}
    cell.node("n", 8, 8000, incarnation="2", resources="fpga=0 gpu=0,1")
    assert free(cell) == "fpga=0:1000 gpu=0:1000,1:1000"
    cell.run(cell.store.reap("n:1:crashed"))
    cell.run(cell.store.reap("n:1:alone"))
    assert free(cell) == "fpga=0:1000 gpu=0:1000,1:1000"
    assert cell.place() == 0  # two are too few
    cell.node("m", 8, 8000, resources=CARDS)
    assert cell.place() == 1
    assert on(cell, "t") == "m"


# -- kept, and taken from others ---------------------------------------------------------------------


def test_a_node_is_reserved_only_where_its_resources_are_enough(cell: Cell) -> None:
    cell.node("a", 8, 8000)
    cell.node("b", 4, 4000, resources="gpu=0")
    cell.node("c", 4, 4000, resources="gpu=0,1")
    cell.needs("holds", "1:100*gpu=1000")
    cell.needs("holds2", "1:100*gpu=2000")
    cell.place()
    assert (on(cell, "holds"), on(cell, "holds2")) == ("b", "c")
    cell.needs("first", "1:100*gpu=2000")
    cell.needs("later", "1:100*gpu=1000")
    cell.place()
    cell.run(cell.store.reserve())
    cell.now += 3_600_000
    reserved = cell.run(cell.store.reserve())
    assert (reserved.task_id, reserved.node_id) == ("first", "c")
    cell.submit("plain", cpu=2)
    cell.place()
    assert on(cell, "plain") == "a"


def test_later_tasks_get_nothing_of_what_is_kept(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources="gpu=0,1 fpga=0")
    cell.needs("holds", "1:100*gpu=1000")
    cell.place()
    cell.needs("first", "1:100*gpu=2000")
    cell.place()
    cell.run(cell.store.reserve())
    cell.now += 3_600_000
    assert cell.run(cell.store.reserve()).node_id == "n"
    cell.needs("later", "1:100*gpu=1000")
    cell.needs("share", "1:100*gpu=100")
    cell.needs("other", "1:100*fpga=1000")
    cell.submit("plain")
    cell.place()
    assert [t for t in ("later", "share", "other", "plain") if on(cell, t)] == ["other", "plain"]
    cell.finish("n", cell.starts("n")["holds"])
    assert on(cell, "first") == "n"


def test_those_are_stopped_that_hold_what_is_missing(cell: Cell) -> None:
    cell.run(cell.store.set_setting("preempt_after", "1"))
    cell.node("n", 8, 8000, resources="gpu=0,1")
    cell.submit("plain", preemptible=True)
    cell.needs("card", "1:100*gpu=1000", preemptible=1)
    cell.needs("other", "1:100*gpu=1000", preemptible=1)
    cell.place()
    cell.started("n", *cell.starts("n").values())
    cell.needs("urgent", "1:100*gpu=1000", priority=5)
    cell.place()
    cell.run(cell.store.reserve())
    cell.now += 60_000
    assert cell.run(cell.store.reserve()).preempted == 1
    stops = cell.stops("n")
    assert len(stops) == 1
    assert not stops.keys() & {"plain"}
    cell.finish("n", next(iter(stops.values())), "stopped")
    assert on(cell, "urgent") == "n"


def test_what_no_node_has_blocks_nobody(cell: Cell) -> None:
    cell.node("n", 2, 2000, resources="gpu=0")
    for need in ("*gpu=2000", "*fpga=1000", "+ssd*gpu=1000"):
        cell.needs("t" + need.replace("*", ".").replace("+", ".").replace("=", "-"), f"1:100{need}")
    cell.needs("one", "1:100*gpu=1000")
    assert on(cell, "one") or cell.place() == 1
    assert held(cell) == {"one": "gpu=0*1000"}


# -- the audit, and its repair -----------------------------------------------------------------------

DAMAGE = {
    "an index given twice": ("node:n:1:tasks", "{b}", "b:1:100:a:gpu=0*1000"),
    "more than there is": ("node:n:1:tasks", "{b}", "b:1:100:a:gpu=7*1000"),
    "free that is held": ("node:n", "free_resources", FREE_CARDS),
    "held that is nobody's": ("node:n", "free_resources", "gpu=0:0,1:0,2:0,3:0"),
    "free that says nothing": ("node:n", "free_resources", "gpu=x"),
    "free of what isn't there": ("node:n", "free_resources", "gpu=0:0,1:0,2:1000,3:1000,4:1000"),
    "other resources": ("node:n", "resources", "gpu=0,1"),
    "resources that say nothing": ("node:n", "resources", "\x00"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_seen_and_mended(cell: Cell, what: str) -> None:
    cell.node("n", 8, 8000, resources=CARDS)
    cell.needs("a", "1:100*gpu=1000")
    cell.needs("b", "1:100*gpu=1000")
    cell.place()
    starts = cell.starts("n")
    name, field, value = DAMAGE[what]
    cell.run(plain("HSET", key(cell, name), field.format(b=starts["b"].token), value))
    mended(cell)


def test_lost_places_in_indexes_are_mended(cell: Cell) -> None:
    cell.node("n", 8, 8000, resources=CARDS)
    cell.place()
    for index in ("free:*gpu", "totals:*gpu", "free"):
        cell.run(plain("ZREM", key(cell, index), "n"))
        mended(cell)
    cell.run(plain("ZADD", key(cell, "free:*fpga"), 5, "n"))
    mended(cell)
    assert scores(cell, "free:*fpga") == {}
    assert scores(cell, "free:*gpu") == {"n": float(2**45 + 8 * 2**24 + 8000)}


# -- planted bugs ------------------------------------------------------------------------------------

BUGS = {
    "an index is given twice": ("index_taken", ""),
    "a share goes where there isn't enough": ("share_fits", "if not best then best = index end"),
    "an index of which a share is given away counts as whole": ("index_whole", "if one.left[index] > 0 then"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_audit_sees_a_planted_bug(
    redis_url: str, bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with(monkeypatch, *BUGS[bug], tmp_path)
    with closing(Link(redis_url)) as link:
        cell = Cell(link, f"t-{uuid.uuid4().hex[:12]}")
        cell.node("n", 8, 8000, resources="gpu=0,1,2")
        for name, amount in [("a", 600), ("b", 600), ("c", 1000)]:
            cell.needs(name, f"1:100*gpu={amount}")
        cell.place()
        found = problems(cell)
        link.run(drop(cell.store.keys.namespace))
    assert found
