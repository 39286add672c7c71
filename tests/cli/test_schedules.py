"""``every`` and ``schedules``, as they are typed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rq_sched.link import Op
from tests.cli.kit import Cli, HandCell, rows

FIELDS = [
    "name", "state", "cron", "tz", "interval", "until", "overlap", "catch_up", "function", "args", "kwargs", "priority",
    "cpu_needed", "memory_needed", "next_due", "last_task_id", "last_state", "made", "skipped", "last_skipped",
    "skip_reason", "queued", "trouble", "created_at",
]  # fmt: skip


@pytest.fixture
def cell(hand: HandCell) -> HandCell:
    """A scheduler and a node are there."""
    hand.sweep()
    hand.node("n1", 4, 1024, ttl=600)
    return hand


def due_now(cell: HandCell, name: str, ago: int = 0) -> str:
    """Its time has come, so many seconds ago, and a scheduler looks; the id of its last task."""

    def back() -> Op[Any]:
        key = cell.store.keys.schedule(name)
        due = (int((yield [("TIME",)])[0][0]) - ago) * 1000
        yield [("HSET", key, "due", due), ("ZADD", cell.store.keys.schedules, due, name)]

    cell.run(back())
    cell.run(cell.store.make_due())
    return str(cell.run(cell.store.schedules([name]))[0].last_task_id)


def test_a_function_by_a_cron_line(cli: Cli, cell: HandCell) -> None:
    typed = cli("every", "nightly", "--cron", "0 3 * * *", "--tz", "Europe/Zurich", "-p", "5", "m:f", "a", "n:=3")
    assert typed.out.startswith("schedule nightly: it is due next at 20")
    assert " 03:00:00 CE" in typed.out
    again = cli("every", "nightly", "--cron", "0  3 * * *", "--tz", "Europe/Zurich", "m:f", "a", "-p", "5", "n:=3")
    assert again.out.startswith("schedule nightly was here already and is due next at 20")
    info = cli.json("schedules").one
    assert list(info) == FIELDS
    assert (info["function"], info["args"], info["kwargs"], info["priority"]) == ("m:f", ["a"], {"n": 3}, 5)
    assert (info["cron"], info["tz"], info["interval"]) == ("0 3 * * *", "Europe/Zurich", None)
    assert info["next_due"].endswith(":00:00.000Z")


def test_a_command_by_an_interval(cli: Cli, cell: HandCell) -> None:
    made = cli.json("every", "sync", "--interval", "10m", "--overlap", "queue", "--", "echo", "--id", "x").one
    assert list(made) == FIELDS
    assert (made["args"], made["interval"], made["overlap"]) == (["--id", "x"], 600.0, "queue")
    assert cli("every", "more", "--interval", "1h", "--until", "2099-01-01", "-q", "m:f").out == ""
    assert rows(cli("schedules"))["sync"][1:5] == ["active", "every", "10m", "00s"]


def test_the_list_says_what_came_of_it(cli: Cli, cell: HandCell) -> None:
    assert cli("schedules").out == 'no schedules: make one (`rq-sched every NAME --cron "0 3 * * *" TARGET`)\n'
    cli("every", "s", "--interval", "1h", "m:f")
    task_id = due_now(cell, "s")
    cell.begin(task_id)
    due_now(cell, "s", ago=5)
    (line,) = cli("schedules").lines[1:]
    assert f"{task_id.removeprefix('s.')} running" in line
    assert "the one before had not ended" in line
    events = [event for event in cli.json("events").json if event["type"] in ("schedule_added", "skipped")]
    assert [event["type"] for event in events] == ["schedule_added", "skipped"]
    assert (events[0]["task_id"], events[0]["schedule"]) == (None, "s")
    assert events[1]["reason"] == "overlap"
    assert events[1]["task_id"].startswith("s.20")
    assert "schedule s" in cli("events").out


def test_info_and_top_tell_of_them(cli: Cli, cell: HandCell) -> None:
    assert "schedules" not in cli("info").out
    cli("every", "s", "--cron", "@hourly", "math:sqrt", ":=4")
    for command in ("info", "top"):
        assert re.search(r"schedules +1, the next is due in \S", cli(command).out)
    cli("schedules", "pause", "s")
    assert "1, none is due" in cli("info").out


def test_paused_resumed_run_removed(cli: Cli, cell: HandCell) -> None:
    cli("every", "s", "--cron", "@yearly", "m:f")
    assert cli("schedules", "run", "s").out.startswith("submitted s.20")
    assert cli("schedules", "pause", "s").out == "schedule s is paused; to go on: `rq-sched schedules resume s`\n"
    assert rows(cli("schedules"))["s"][1] == "paused"
    assert "schedule s is paused: `rq-sched schedules resume s` first" in cli("schedules", "run", "s", code=1).err
    assert "is paused; to go on" in cli("every", "s", "--cron", "@yearly", "m:f").out
    assert cli("schedules", "resume", "s").out.startswith("schedule s goes on, and is due next at 20")
    assert cli.json("schedules", "run", "s").one["task_id"].startswith("s.20")
    assert cli.json("schedules", "remove", "s").json == [{"name": "s", "action": "remove"}]
    assert cli("schedules").out.startswith("no schedules")
    assert len(cli.json("list").json) == 2


def test_one_that_is_not_there_does_not_keep_the_others(cli: Cli, cell: HandCell, namespace: str) -> None:
    cli("every", "s", "--cron", "@daily", "m:f")
    typed = cli.json("schedules", "pause", "nobody", "s", code=3)
    assert [error["code"] for error in typed.errors] == ["schedule_not_found"]
    assert f"no schedule nobody in namespace {namespace}: `rq-sched schedules` lists all" in typed.errors[0]["message"]
    assert typed.json == [{"name": "s", "action": "pause"}]


REFUSED = {
    "no time": (["s", "m:f"], 2, "say when: either cron, such as '0 3 * * *', or interval, such as 10m"),
    "both": (["s", "--cron", "@daily", "--interval", "5", "m:f"], 2, "say when"),
    "a bad line": (["s", "--cron", "0 25 * * *", "m:f"], 2, "bad cron line '0 25 * * *': bad hour"),
    "a bad zone": (["s", "--cron", "@daily", "--tz", "Mars", "m:f"], 2, "unknown time zone 'Mars'"),
    "a bad name": (["a/b", "--cron", "@daily", "m:f"], 2, "bad name 'a/b'"),
    "an id": (["s", "--cron", "@daily", "--id", "x", "m:f"], 2, "get their ids from its name and the time"),
    "an array": (["s", "--cron", "@daily", "--array", "1-3", "m:f"], 2, "a schedule can't make arrays"),
    "after others": (["s", "--cron", "@daily", "--after", "t1", "m:f"], 2, "a schedule wait for no others"),
    "nothing to run": (["s", "--cron", "@daily"], 2, "nothing to schedule: name a function (pkg.mod:func) after NAME"),
    "all, and skip": (["s", "--interval", "5", "--catch-up", "all", "m:f"], 2, "say overlap queue"),
    "it has been": (
        ["s", "--cron", "@daily", "--until", "2020-01-01", "m:f"],
        2,
        "it would never be due: until has been",
    ),
    "an empty line": (["s", "--cron", "", "m:f"], 2, "--cron"),
    "another one": (["taken", "--cron", "@hourly", "m:f"], 2, "the name taken is taken by another schedule"),
}


@pytest.mark.parametrize(("words", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(cli: Cli, cell: HandCell, words: list[str], code: int, message: str) -> None:
    cli("every", "taken", "--cron", "@daily", "m:f")
    assert message in cli("every", *words, code=code).err
    assert len(cli.json("schedules").json) == 1


def test_an_action_needs_a_name(cli: Cli) -> None:
    assert "which schedule? `rq-sched schedules pause NAME`" in cli("schedules", "pause", code=2).err
    cli("schedules", "stop", "s", code=2)


def test_where_nobody_is(cli: Cli) -> None:
    assert (
        "no worker or scheduler is here that knows schedules"
        in cli("every", "s", "--cron", "@daily", "m:f", code=1).err
    )


def test_looking_inside(cli: Cli, cell: HandCell) -> None:
    cli("every", "s", "--cron", "0 3 * * *", "m:f", "x" * 2000)
    shown = cli("inspect", "s").out
    assert "its cron line" in shown
    assert "when it is due next" in shown
    assert max(map(len, shown.splitlines())) < 700
    assert "s  " in cli("inspect", "schedules").out


def test_doctor_mends_what_was_damaged(cli: Cli, cell: HandCell) -> None:
    for name in ("lost", "garbled", "gone", "fine"):
        cli("every", name, "--cron", "0 3 * * *", "m:f")
    keys = cell.store.keys

    def damage() -> Op[Any]:
        yield [
            ("ZREM", keys.schedules, "lost"),
            ("HSET", keys.schedule("garbled"), "due", "soon", "cron", "no line"),
            ("HDEL", keys.schedule("gone"), "due"),
            ("ZADD", keys.schedules, 5, "nobody"),
        ]

    cell.run(damage())
    wrong = [finding for finding in cli.json("doctor", code=1).one["findings"] if finding["check"] == "schedules"]
    assert len(wrong) == 4
    cli("doctor", "--repair", code=1)  # a cron line can't be mended
    found = {info["name"]: info for info in cli.json("schedules").json}
    assert found.keys() == {"lost", "garbled", "gone", "fine"}
    assert {found[name]["state"] for name in ("lost", "gone", "fine")} == {"active"}
    assert found["gone"]["next_due"] == found["lost"]["next_due"] == found["fine"]["next_due"]
    assert (found["garbled"]["state"], found["garbled"]["trouble"][:23]) == ("paused", "bad cron line 'no line'")
    wrong = [finding for finding in cli.json("doctor", code=1).one["findings"] if not finding["ok"]]
    assert [finding["check"] for finding in wrong if "garbled" in finding["message"]] == ["schedules"]
    assert "can't go on: bad cron line" in cli("schedules", "resume", "garbled", code=1).err
