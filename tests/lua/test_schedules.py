"""Schedules as stories on the scripts: what is made when, and that each due time is passed once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rq_sched.errors import FeatureMissing, InvalidValue, ScheduleExists, ScheduleNotFound, WrongState
from rq_sched.model.due import parse_times
from rq_sched.model.schedule import Schedule, ScheduleInfo
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.store.schedules import CATCH_UP, LOOK
from tests.lua.cell import Cell

NOON = int(datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()) * 1000
MINUTE = 60_000
HOUR = 60 * MINUTE


@pytest.fixture
def cell(cell: Cell) -> Cell:
    """It is noon, and a node is there."""
    cell.now = NOON
    cell.node("n1", 4, 1024, ttl=10**7)
    return cell


def every(
    cell: Cell, name: str, cron: str | None = None, *, until: Any = None, tz: str | None = None,
    interval: Any = None, overlap: str = "skip", catch_up: str = "last", **fields: Any,
) -> bool:  # fmt: skip
    fields.setdefault("cpu_needed", 1)
    fields.setdefault("memory_needed", 100)
    request = TaskRequest("m:f", **fields).check()
    times = parse_times(cron, interval, tz, until)
    return cell.run(cell.store.schedule_add(Schedule(name, times, request, overlap, catch_up)))


def make(cell: Cell) -> int:
    """All that is due now; how many schedules moved on, counted at each turn."""
    moved = 0
    while True:
        turn = cell.run(cell.store.make_due())
        moved += turn.moved
        if not turn.more:
            return moved


def tasks(cell: Cell) -> list[str]:
    return sorted(info.task_id for info in cell.run(cell.store.list_tasks(limit=1000)).tasks)


def look(cell: Cell, name: str) -> ScheduleInfo:
    return cell.run(cell.store.schedules([name]))[0]


def end_all(cell: Cell) -> None:
    cell.place()
    for start in cell.starts("n1").values():
        cell.finish("n1", start)


def skipped(cell: Cell) -> list[tuple[str | None, str]]:
    events = cell.run(cell.store.events())
    return [(event.task_id, event.data["reason"]) for event in events if event.type == "skipped"]


def test_a_task_for_each_due_time(cell: Cell) -> None:
    assert every(cell, "hourly", "0 * * * *", priority=3, args=[1])
    assert make(cell) == 0
    for hour in (13, 14):
        cell.now = NOON + (hour - 12) * HOUR
        assert make(cell) == 1
        end_all(cell)
    assert tasks(cell) == ["hourly.20261130T130000Z", "hourly.20261130T140000Z"]
    info = cell.info("hourly.20261130T130000Z")
    assert (info.state, info.function, info.args, info.priority) == (State.COMPLETED, "m:f", [1], 3)
    assert (info.cpu_needed, info.memory_needed) == (1, 100)


def test_it_is_placed_at_once_where_there_is_room(cell: Cell) -> None:
    cell.store._placings = 8
    every(cell, "hourly", "0 * * * *")
    cell.now += HOUR
    make(cell)
    assert list(cell.starts("n1")) == ["hourly.20261130T130000Z"]


def test_many_schedulers_make_it_once(cell: Cell) -> None:
    """Each has read that it is due; the due time is the token by which one of them moves it on."""
    every(cell, "hourly", "0 * * * *")
    cell.now += HOUR
    turns = [cell.store.make_due() for _ in range(3)]
    calls = [next(turn) for turn in turns]
    looked = [cell.link.run(_asked(call)) for call in calls]
    moved = [cell.link.run(_went_on(turn, reply)).moved for turn, reply in zip(turns, looked, strict=True)]
    assert sorted(moved) == [0, 0, 1]
    assert tasks(cell) == ["hourly.20261130T130000Z"]
    assert look(cell, "hourly").made == 1


def _asked(requests: Any) -> Any:
    return (yield requests)


def _went_on(turn: Any, replies: Any) -> Any:
    while True:
        try:
            requests = turn.send(replies)
        except StopIteration as stop:
            return stop.value
        replies = yield requests


def test_a_task_that_is_there_already_is_the_one(cell: Cell) -> None:
    """As after a failover that has lost that the schedule moved on, but not the task."""
    every(cell, "hourly", "0 * * * *")
    cell.now += HOUR
    make(cell)
    before = cell.info("hourly.20261130T130000Z")
    keys = cell.store.keys

    def back() -> Any:
        yield [("HSET", keys.schedule("hourly"), "due", cell.now), ("ZADD", keys.schedules, cell.now, "hourly")]

    end_all(cell)
    cell.run(back())
    assert make(cell) == 1
    after = cell.info("hourly.20261130T130000Z")
    assert (after.submitted_at, after.state) == (before.submitted_at, State.COMPLETED)
    assert len(tasks(cell)) == 1


def test_a_taken_id_is_told_and_nothing_is_lost(cell: Cell) -> None:
    every(cell, "hourly", "0 * * * *")
    cell.submit("hourly.20261130T130000Z", args=["another"])
    cell.now += HOUR
    assert make(cell) == 0
    assert look(cell, "hourly").trouble == "the id hourly.20261130T130000Z is taken by another task"
    assert look(cell, "hourly").next_due == cell.now / 1000
    cell.run(cell.store.cancel("hourly.20261130T130000Z", requeue=False))
    cell.run(cell.store.forget_ids(["hourly.20261130T130000Z"]))
    assert make(cell) == 0  # not at once again
    cell.now += MINUTE
    assert make(cell) == 1
    assert look(cell, "hourly").trouble is None
    assert cell.info("hourly.20261130T130000Z").args == []


def test_overlap_skip_leaves_out_what_is_due_while_the_task_before_goes_on(cell: Cell) -> None:
    every(cell, "m", "* * * * *")
    for _ in range(3):
        cell.now += MINUTE
        make(cell)
    assert tasks(cell) == ["m.20261130T120100Z"]
    info = look(cell, "m")
    assert (info.made, info.skipped, info.skip_reason) == (1, 2, "overlap")
    assert (info.last_skipped, info.last_task_id) == ("m.20261130T120300Z", "m.20261130T120100Z")
    assert info.last_state == State.PENDING
    assert skipped(cell) == [("m.20261130T120200Z", "overlap"), ("m.20261130T120300Z", "overlap")]
    end_all(cell)
    cell.now += MINUTE
    make(cell)
    assert tasks(cell)[-1] == "m.20261130T120400Z"


def test_overlap_queue_makes_one_after_the_other(cell: Cell) -> None:
    every(cell, "m", "* * * * *", overlap="queue")
    for _ in range(3):
        cell.now += MINUTE
        make(cell)
    assert tasks(cell) == ["m.20261130T120100Z"]
    assert look(cell, "m").queued == 2
    for minute in (2, 3):
        end_all(cell)
        cell.now += 1000
        make(cell)
        assert tasks(cell)[-1] == f"m.20261130T120{minute}00Z"
    end_all(cell)
    assert (look(cell, "m").queued, look(cell, "m").skipped) == (0, 0)


def test_a_queue_has_an_end_and_says_so(cell: Cell) -> None:
    every(cell, "s", interval=1, overlap="queue", catch_up="all")
    cell.now += 103_000
    make(cell)
    info = look(cell, "s")
    assert (info.made, info.queued, info.skipped, info.skip_reason) == (1, 100, 2, "queue_full")


def test_a_queue_goes_on_when_the_schedule_has_ended(cell: Cell) -> None:
    every(cell, "m", "* * * * *", overlap="queue", until="2026-11-30T12:02")
    cell.now += MINUTE
    make(cell)
    cell.now += MINUTE
    make(cell)
    assert (look(cell, "m").state, look(cell, "m").queued) == ("active", 1)
    end_all(cell)
    cell.now += 1000
    make(cell)
    assert tasks(cell)[-1] == "m.20261130T120200Z"
    assert look(cell, "m").state == "ended"


def test_overlap_allow_makes_them_side_by_side(cell: Cell) -> None:
    every(cell, "m", "* * * * *", overlap="allow")
    for _ in range(3):
        cell.now += MINUTE
        make(cell)
    assert len(tasks(cell)) == 3


@pytest.mark.parametrize(
    ("catch_up", "made", "missed"),
    [("none", [], 3), ("last", ["h.20261130T150000Z"], 2), ("all", [f"h.20261130T1{n}0000Z" for n in (3, 4, 5)], 0)],
)
def test_what_was_missed(cell: Cell, catch_up: str, made: list[str], missed: int) -> None:
    every(cell, "h", "0 * * * *", overlap="allow", catch_up=catch_up)
    cell.now += 3 * HOUR + 30 * MINUTE
    make(cell)
    assert tasks(cell) == made
    assert look(cell, "h").skipped == missed
    assert look(cell, "h").next_due == (NOON + 4 * HOUR) / 1000
    if missed:
        assert look(cell, "h").skip_reason == "missed"
        assert skipped(cell) == [(f"h.20261130T{12 + missed}0000Z", f"missed:{missed}")]


def test_a_little_late_is_not_missed(cell: Cell) -> None:
    every(cell, "h", "0 * * * *", catch_up="none")
    cell.now += HOUR + 50_000
    assert make(cell) == 1
    assert tasks(cell) == ["h.20261130T130000Z"]


def test_ages_are_caught_up_in_bites(cell: Cell) -> None:
    every(cell, "m", "* * * * *")
    every(cell, "all", "* * * * *", overlap="allow", catch_up="all")
    cell.now += (2 * LOOK + 50) * MINUTE
    turn = cell.run(cell.store.make_due())
    assert turn.more
    assert len(tasks(cell)) == CATCH_UP
    make(cell)
    assert look(cell, "m").made == 1
    assert look(cell, "m").skipped == 2 * LOOK + 49
    assert look(cell, "all").made == 2 * LOOK + 50
    assert look(cell, "all").skipped == 0


def test_it_ends(cell: Cell) -> None:
    every(cell, "h", "0 * * * *", until="2026-11-30T13:59")
    cell.now += HOUR
    make(cell)
    info = look(cell, "h")
    assert (info.state, info.next_due, info.made) == ("ended", None, 1)
    cell.now += HOUR
    assert make(cell) == 0
    assert "schedule_ended" in [event.type for event in cell.run(cell.store.events())]


def test_an_interval_counts_from_when_it_was_made(cell: Cell) -> None:
    cell.now += 7_400
    every(cell, "s", interval="10m")
    assert look(cell, "s").next_due == NOON / 1000 + 607
    cell.now += 10 * MINUTE
    make(cell)
    assert tasks(cell) == ["s.20261130T121007Z"]


def test_the_same_again_is_the_same_and_another_is_refused(cell: Cell) -> None:
    assert every(cell, "s", interval="10m", args=[1])
    cell.now += MINUTE
    assert not every(cell, "s", interval="600", args=[1])
    assert look(cell, "s").next_due == NOON / 1000 + 600
    for other in (
        {"interval": "11m", "args": [1]},
        {"interval": "10m"},
        {"interval": "10m", "args": [1], "overlap": "queue"},
    ):
        with pytest.raises(
            ScheduleExists, match="the name s is taken by another schedule: choose another name, or remove"
        ):
            every(cell, "s", **other)


def test_paused_and_resumed(cell: Cell) -> None:
    every(cell, "h", "0 * * * *")
    assert cell.run(cell.store.schedule_pause("h"))
    assert not cell.run(cell.store.schedule_pause("h"))
    assert (look(cell, "h").state, look(cell, "h").next_due) == ("paused", None)
    cell.now += 2 * HOUR + MINUTE
    assert make(cell) == 0
    with pytest.raises(WrongState, match="schedule h is paused: `rq-sched schedules resume h` first"):
        cell.run(cell.store.schedule_run("h"))
    assert cell.run(cell.store.schedule_resume("h"))
    assert not cell.run(cell.store.schedule_resume("h"))
    assert make(cell) == 0
    assert look(cell, "h").next_due == (NOON + 3 * HOUR) / 1000


def test_removed(cell: Cell) -> None:
    every(cell, "h", "0 * * * *")
    cell.now += HOUR
    make(cell)
    cell.run(cell.store.schedule_remove("h"))
    assert cell.run(cell.store.schedules()) == []
    cell.now += HOUR
    assert make(cell) == 0
    assert len(tasks(cell)) == 1
    for change in (cell.store.schedule_remove, cell.store.schedule_pause, cell.store.schedule_resume):
        with pytest.raises(ScheduleNotFound, match="no schedule h"):
            cell.run(change("h"))


def test_run_now(cell: Cell) -> None:
    every(cell, "h", "0 * * * *")
    cell.now += 1_234
    task_id = cell.run(cell.store.schedule_run("h"))
    assert task_id == "h.20261130T120001.234Z"
    assert cell.state(task_id) == State.PENDING
    assert look(cell, "h").next_due == (NOON + HOUR) / 1000
    cell.now = NOON + HOUR
    make(cell)
    assert look(cell, "h").skip_reason == "overlap"  # it counts as the one before


def test_long_arguments_and_a_delay(cell: Cell) -> None:
    every(cell, "h", "0 * * * *", args=["x" * 1000], delay=5, tags={"run": "17"})
    cell.now += HOUR
    make(cell)
    info = cell.info("h.20261130T130000Z")
    assert (info.state, info.args) == (State.DELAYED, ["x" * 1000])
    cell.now += 5_000
    assert cell.run(cell.store.promote()).promoted == 1


def test_where_nobody_lives_that_knows_schedules(cell: Cell) -> None:
    cell.run(cell.store.node_leave("n1", "1"))
    with pytest.raises(FeatureMissing, match="no worker or scheduler is here that knows schedules: start one first"):
        every(cell, "h", "0 * * * *")
    assert cell.run(cell.store.schedules()) == []


def test_a_sweep_tells_who_has_to_look(cell: Cell) -> None:
    other = Cell(cell.link, cell.store.keys.namespace)
    other.now = cell.now
    other.run(other.store.sweep())
    assert other.store.in_use == set()
    every(cell, "h", "0 * * * *")
    other.run(other.store.sweep())
    assert other.store.in_use == {"schedules"}


def test_when_the_next_one_is_due(cell: Cell) -> None:
    assert cell.run(cell.store.make_due()).due_in is None
    every(cell, "s", interval=7)
    assert cell.run(cell.store.make_due()).due_in == 7


def test_what_is_never_due_is_refused(cell: Cell) -> None:
    with pytest.raises(InvalidValue, match="it would never be due: until has been"):
        every(cell, "h", "0 * * * *", until="2026-11-30T11:00")
    with pytest.raises(InvalidValue, match="it would never be due: no such time comes"):
        every(cell, "h", "* * */20 * 1L")
