"""Limits that hold across nodes: never more in use than there is, whoever ends how, and whoever waits gets on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.cli import explain_pending
from rq_sched.errors import InvalidValue, LimitUnknown
from rq_sched.link import Link
from rq_sched.model.explanation import Explanation
from rq_sched.model.orders import digest
from rq_sched.model.task import TaskRequest
from tests.faults.planted import run_with
from tests.faults.scene import plainly
from tests.lua.cell import Cell


def submit(cell: Cell, *task_ids: str, cpu: int = 1, memory: int = 100, **limits: int) -> None:
    cell.submit(*task_ids, cpu=cpu, memory=memory, limits=limits)


def limit(cell: Cell, name: str, most: int | str) -> None:
    cell.run(cell.store.limit_set(name, most))


def used(cell: Cell, name: str = "api") -> int:
    return next((one.in_use for one in cell.run(cell.store.limits()) if one.name == name), 0)


def sound(cell: Cell) -> None:
    assert not audit.problems(cell.run(audit.check(cell.store.keys.namespace)))


def test_a_name_that_was_never_set_is_refused(cell: Cell) -> None:
    with pytest.raises(LimitUnknown, match="there is no limit api: .* `rq-sched limit api 20` sets it"):
        submit(cell, "t", api=1)
    limit(cell, "api", "off")
    submit(cell, "t", api=1)


def test_never_more_than_there_is(cell: Cell) -> None:
    cell.node("a", 4, 4096)
    cell.node("b", 4, 4096)
    limit(cell, "api", 3)
    submit(cell, *[f"t{i}" for i in range(6)], api=1)
    assert cell.place() == 3
    assert used(cell) == 3
    sound(cell)
    starts = {**cell.starts("a"), **cell.starts("b")}
    node = "a"
    _, after = cell.finish(node, starts["t0"])
    assert set(after) == {"t3"}  # who ends gives back, and the next one has it at once
    assert used(cell) == 3
    sound(cell)


def test_a_limit_that_is_full_stops_nobody_else(cell: Cell) -> None:
    cell.node("a", 4, 4096)
    limit(cell, "api", 1)
    submit(cell, "t0", "t1", api=1)
    submit(cell, "plain")
    assert cell.place() == 2
    assert set(cell.starts("a")) == {"t0", "plain"}


def test_room_that_comes_free_elsewhere_wakes(cell: Cell) -> None:
    """On the node where it ends nothing more fits: another node must get it."""
    cell.node("a", 1, 4096)
    cell.node("b", 4, 200)
    limit(cell, "api", 1)
    submit(cell, "first", memory=1000, api=1)
    assert cell.place() == 1
    submit(cell, "filler", memory=3000)  # waits for a
    submit(cell, "second", cpu=4, memory=100, api=1)
    assert cell.place() == 0
    _, after = cell.finish("a", cell.starts("a")["first"])
    assert set(after) == {"filler"}
    assert cell.place() == 1
    assert set(cell.starts("b")) == {"second"}
    sound(cell)


def test_raised_lowered_and_off(cell: Cell) -> None:
    cell.node("a", 8, 4096)
    limit(cell, "api", 2)
    submit(cell, *[f"t{i}" for i in range(8)], api=1)
    assert cell.place() == 2
    limit(cell, "api", 4)
    assert cell.place() == 2
    limit(cell, "api", 1)
    starts = cell.starts("a")
    for task in ("t0", "t1", "t2"):
        _, after = cell.finish("a", starts[task])
        assert not after
    assert used(cell) == 1
    sound(cell)
    limit(cell, "api", "off")
    assert cell.place() == 4
    assert used(cell) == 5
    sound(cell)


def test_who_needs_more_than_the_limit_waits(cell: Cell) -> None:
    cell.node("a", 8, 4096)
    limit(cell, "api", 4)
    submit(cell, "much", api=5)
    submit(cell, "little", api=1)
    assert cell.place() == 1
    limit(cell, "api", 6)
    assert cell.place() == 1
    sound(cell)


def test_who_waits_longer_comes_first(cell: Cell) -> None:
    """Also where a class has more tasks than one, and the others that waited for the limit come after its first."""
    cell.node("a", 2, 4096)
    limit(cell, "api", 0)
    for number, memory in enumerate([100, 200, 100, 200]):
        submit(cell, f"t{number}", memory=memory, api=1)
    assert cell.place() == 0
    limit(cell, "api", 9)
    assert cell.place() == 2
    starts = cell.starts("a")
    assert set(starts) == {"t0", "t1"}
    _, after = cell.finish("a", starts["t1"])
    assert set(after) == {"t2"}


def test_several_limits(cell: Cell) -> None:
    cell.node("a", 8, 4096)
    limit(cell, "api", 2)
    limit(cell, "db", 1)
    submit(cell, "d0", "d1", api=1, db=1)
    submit(cell, "p0", "p1", api=1)
    assert cell.place() == 2
    starts = cell.starts("a")
    assert set(starts) == {"d0", "p0"}
    _, after = cell.finish("a", starts["d0"])
    assert set(after) == {"d1"}
    sound(cell)


def test_a_node_that_dies_gives_back(cell: Cell) -> None:
    cell.node("a", 1, 4096)
    cell.node("b", 2, 4096)
    limit(cell, "api", 2)
    submit(cell, "t0", "t1", "t2", api=1)
    assert cell.place() == 2
    cell.run(cell.store.node_leave("a", "1"))
    assert used(cell) == 2  # until it is reaped
    assert cell.place() == 0
    while cell.run(cell.store.reap("a:1:left"))[1]:
        pass
    assert cell.place() == 1
    assert used(cell) == 2
    sound(cell)


def test_a_node_that_came_back_gives_back_what_it_held_before(cell: Cell) -> None:
    cell.node("a", 2, 4096)
    limit(cell, "api", 2)
    submit(cell, "t0", "t1", "t2", api=1)
    assert cell.place() == 2
    cell.now += 20_000
    cell.node("a", 2, 4096, incarnation="2")
    assert cell.place() == 0
    assert cell.run(cell.store.reap("a:1:crashed")) == (2, 0)
    assert cell.place() == 2
    assert used(cell) == 2
    sound(cell)


def test_bad_limits(cell: Cell) -> None:
    for name, most in (("Api", 1), ("api", -1), ("api", 1.5), ("api", "many"), ("api", True)):
        with pytest.raises(InvalidValue):
            limit(cell, name, most)  # type: ignore[arg-type]


def test_room_is_kept_for_the_first(cell: Cell) -> None:
    """A task that needs much of a limit isn't overtaken for ever by tasks that need little."""
    cell.node("a", 8, 4096)
    limit(cell, "api", 4)
    submit(cell, "s0", "s1", "s2", "s3", api=1)
    assert cell.place() == 4
    submit(cell, "much", api=3)
    submit(cell, *[f"l{i}" for i in range(9)], api=1)
    cell.place()
    running = cell.starts("a")
    cell.run(cell.store.reserve())
    for _ in range(2):
        _, after = cell.finish("a", running.popitem()[1])
        assert after  # those that need little overtake it
        running |= after
    cell.now += 31_000
    cell.run(cell.store.reserve())
    for _ in range(2):
        _, after = cell.finish("a", running.popitem()[1])
        assert not after
        sound(cell)
    _, after = cell.finish("a", running.popitem()[1])
    assert set(after) == {"much"}
    sound(cell)
    cell.run(cell.store.reserve())
    sound(cell)
    running |= after
    _, after = cell.finish("a", running.popitem()[1])
    assert len(after) == 3


def test_who_was_kept_for_and_left_keeps_nothing(cell: Cell) -> None:
    cell.node("a", 8, 4096)
    limit(cell, "api", 4)
    submit(cell, "s0", "s1", api=2)
    assert cell.place() == 2
    submit(cell, "much", api=4)
    submit(cell, "little", api=1)
    starts = cell.starts("a")
    cell.run(cell.store.reserve())
    cell.now += 31_000
    cell.run(cell.store.reserve())
    _, after = cell.finish("a", starts["s0"])
    assert not after
    assert cell.place() == 0
    cell.run(cell.store.cancel("much"))
    cell.run(cell.store.reserve())
    assert cell.place() == 1
    sound(cell)


def test_many_classes_that_wait_are_looked_at_in_turn(cell: Cell) -> None:
    """More than one bite: those that need too much of it are passed over, and nobody is forgotten."""
    cell.node("a", 8, 40960)
    limit(cell, "api", 2)
    submit(cell, "first", "second", api=1)
    assert cell.place() == 2
    for i in range(80):
        submit(cell, f"m{i}", memory=100 + i, api=2)
    submit(cell, "little", memory=500, api=1)
    cell.place()
    sound(cell)
    cell.run(cell.store.node_drain("a"))
    cell.node("b", 8, 40960)
    cell.place()
    _, after = cell.finish("a", cell.starts("a")["first"])
    assert not after
    assert cell.place() == 1
    assert set(cell.starts("b")) == {"little"}
    sound(cell)


@pytest.mark.parametrize("member", ["", "x", "\x92\x90"])
def test_what_somebody_put_before_a_head_keeps_nobody_from_placing(cell: Cell, member: str) -> None:
    """The index of those that ask for a limit names another head of the class then."""
    cell.node("a", 1, 1000)
    limit(cell, "api", 1)
    submit(cell, "large", cpu=2, api=1)
    cell.place()
    damaged = cell.store.keys.pending("2:100@api=1")
    cell.run(plainly(("ZADD", damaged, -1, member)))
    submit(cell, "small")
    limit(cell, "api", 2)  # who waits for it is looked at
    calls = 0
    while cell.run(cell.store.place()).more:
        calls += 1
        assert calls < 20, "it goes on without end"
    assert [*cell.starts("a")] == ["small"]
    cell.run(plainly(("ZREM", damaged, member)))
    cell.run(repair(cell.store.keys.namespace))


def test_agents_and_ledgers_agree_on_what_runs(cell: Cell) -> None:
    """An agent isn't told what is held of limits: it compares without."""
    cell.node("a", 4, 4096)
    limit(cell, "api", 2)
    submit(cell, "t", api=2)
    assert cell.place() == 1
    cell.starts("a")
    entries = cell.run(cell.store.node_ledger("a", "1")).entries
    beat = cell.run(cell.store.node_heartbeat("a", "1", acked=cell.acked["a"], digest=digest(entries)))
    assert beat.agrees


def test_why_it_waits(cell: Cell) -> None:
    cell.run(cell.store.sweep(scheduler="s"))
    cell.node("a", 8, 4096)
    limit(cell, "api", 4)
    submit(cell, "s0", "s1", api=2)
    assert cell.place() == 2
    submit(cell, "much", api=4)
    submit(cell, "little", api=1)
    submit(cell, "more", api=5)
    cell.place()
    assert [info.reason for info in cell.run(cell.store.status(["much", "little", "more"])) if info] == ["limited"] * 3
    why = cell.run(cell.store.explain("little"))
    assert (why.reason, why.fits_now) == ("limited", 1)
    assert why.limited_by == [{"name": "api", "asked": 1, "limit": 4, "in_use": 4, "kept_for": None}]
    assert "limit api: 4 of 4 in use." in said(why)
    assert "limit api: 4 of 4 in use, and it asks for 5: it waits until that is raised" in said(
        cell.run(cell.store.explain("more"))
    )
    cell.run(cell.store.reserve())
    cell.now += 31_000
    cell.run(cell.store.reserve())
    cell.finish("a", cell.starts("a")["s0"])
    why = cell.run(cell.store.explain("little"))
    assert [one["kept_for"] for one in why.limited_by] == ["much"]
    assert "2 of 4 in use; what is left, and what comes free, is kept for much" in said(why)
    assert cell.run(cell.store.explain("much")).limited_by[0]["kept_for"] is None
    request = TaskRequest("m:f", task_id="new", cpu_needed=1, memory_needed=1, limits={"api": 1})
    assert cell.run(cell.store.dry_run(request.check())).reason == "limited"
    with pytest.raises(LimitUnknown, match="there is no limit db"):
        cell.run(cell.store.dry_run(replace(request, limits={"db": 1}).check()))


def said(why: Explanation) -> str:
    return " ".join(explain_pending.pending(why.to_dict()))


DAMAGE: dict[str, list[tuple[str | int, ...]]] = {
    "too much in use": [("HSET", "limits_used", "api", 7)],
    "too little in use": [("HDEL", "limits_used", "api")],
    "in use is no number": [("HSET", "limits_used", "api", "many")],
    "in use of what is none": [("HSET", "limits_used", "nothing", 3)],
    "the number in use is lost": [("DEL", "limits_used")],
    "the limit is no number": [("HSET", "limits", "api", "-3")],
    "a name that is none": [("HSET", "limits", "a b", "3"), ("HSET", "limits_used", "é", 1)],
    "what is kept says nothing": [("HSET", "limits_kept", "api", "kept for ever")],
    "who waits stands nowhere": [("DEL", "limited:api")],
    "a stray": [("ZADD", "limited:api", 5, "00000000000091:100@api=1"), ("ZADD", "limited:api", 5, "x")],
    "strays that look like classes": [
        ("ZADD", "limited:api", 5, "x1:1:100:r"),
        ("ZADD", "limited:api", 5, "1:100@api=1"),
    ],
    "a record that is mended still asks for it": [("SET", "task:t3", "class=1:100@api=1\nturn=3\nrun=m:f")],
    "one that asks for something else": [("ZADD", "limited:db", 0, "00000000000031:100@api=1")],
    "another type": [
        ("DEL", "limited:api"),
        ("SET", "limited:api", "x"),
        ("DEL", "limits_kept"),
        ("SADD", "limits_kept", "x"),
    ],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_mended(cell: Cell, damage: str) -> None:
    cell.node("a", 4, 4096)
    limit(cell, "api", 3)
    submit(cell, "t0", "t1", "t2", "t3", api=1)
    assert cell.place() == 3
    cell.run(cell.store.reserve())
    sound(cell)
    prefix = cell.store.keys.prefix
    cell.run(plainly(*((name, prefix + str(key), *rest) for name, key, *rest in DAMAGE[damage])))
    assert audit.problems(cell.run(audit.check(cell.store.keys.namespace)))
    assert cell.run(repair(cell.store.keys.namespace, lambda: cell.now))
    sound(cell)
    assert used(cell) == 3
    limit(cell, "api", 4)
    assert cell.place() == 1
    assert used(cell) == 4


STORIES = {
    "limit_room: if false then return limit end": test_never_more_than_there_is,
    "limit_taken: limit.used = limit.used + 2 * one.number": test_never_more_than_there_is,
    "limit_given_back: limit.used = limit.used + 0 * tonumber(digits)": test_never_more_than_there_is,
    "limit_of_the_dead: ": test_a_node_that_dies_gives_back,
    "limit_wakes: if false then some = true end": test_room_that_comes_free_elsewhere_wakes,
    "limit_kept: if false then return limit end": test_room_is_kept_for_the_first,
    "limit_known: if false then": test_a_name_that_was_never_set_is_refused,
}
BUGS = [tuple(bug.split(": ")) for bug in STORIES]


@pytest.mark.no_audit  # some stories end with what the audit finds, too
@pytest.mark.parametrize("bug", STORIES)
def test_a_bug_is_found(
    bug: str, redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, line = bug.split(": ")
    run_with(monkeypatch, mark, line, tmp_path)
    link = Link(redis_url)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        STORIES[bug](Cell(link, namespace))
    link.close()
