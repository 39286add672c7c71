"""Arrays on the command line: one id for all elements, and each by its own."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.cli.kit import Cli, HandCell, pairs, rows
from tests.support import wait_for


def submit(cli: Cli, *words: str) -> None:
    cli("submit", "--id", "a", "--memory", "100", *words, "m:f", "x")


def test_submit(cli: Cli) -> None:
    typed = cli("submit", "--id", "a", "--array", "1-1000000", "m:f")
    assert typed.lines == ["submitted a (1,000,000 elements)"]
    assert "no node is up" in typed.err
    assert cli("submit", "--id", "a", "--array", "1-1000000", "m:f").lines == ["a was submitted before and is pending"]
    assert "taken by another request" in cli("submit", "--id", "a", "--array", "1-10", "m:f", code=2).err
    assert cli("submit", "-q", "--id", "b", "--array", "5-5", "m:f").lines == ["b"]
    assert cli.json("submit", "--id", "c", "--array", "0-1", "m:f").one == {"task_id": "c", "state": "pending"}


@pytest.mark.parametrize("text", ["5-1", "x", "7", "1-2-3", "-1-5", "1-99999999"])
def test_what_is_no_array(cli: Cli, text: str) -> None:
    (error,) = cli.json("submit", f"--array={text}", "m:f", code=2).errors
    assert error["code"] == "invalid_value"
    assert "array" in error["message"]


def test_an_id_of_an_element_can_not_be_submitted(cli: Cli) -> None:
    assert "bad task id 'a/1'" in cli("submit", "--id", "a/1", "m:f", code=2).err
    assert "bad task id 'a/01'" in cli("status", "a/01", code=2).err


def test_dry_run(cli: Cli, hand: HandCell) -> None:
    hand.node("n1", ttl=600)
    assert "Its first element would be placed at once" in cli("submit", "--array", "1-9", "--dry-run", "m:f").out
    found = cli.json("submit", "--array", "1-9", "--dry-run", "m:f").one
    assert (found["state"], found["array"], found["elements"]["waiting"]) == ("assigned", "1-9", 9)
    assert cli("list").lines == ["no tasks"]


def test_a_file_counts_elements(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(
        '{"function": "m:f", "array": "1-1000", "task_id": "a"}\n'
        '{"function": "m:f", "array": "9-1"}\n'
        '{"function": "m:f", "task_id": "t"}\n'
    )
    assert cli("submit", "--from-file", str(path), "--dry-run", code=1).lines[0].startswith("1,001 tasks could be")
    typed = cli("submit", "--from-file", str(path), code=1)
    assert typed.lines == ["submitted 1,001 tasks; 1 line refused"]
    assert "line 2: array 9-1: the last index is below the first" in typed.err
    assert set(rows(cli("list"))) == {"a", "t"}


def test_status_and_list(cli: Cli, hand: HandCell) -> None:
    hand.node("n1", cpu=2, ttl=600)
    submit(cli, "--array", "1-10")
    hand.run_one("a/1")
    hand.run_one("a/2", outcome="failed", reason="error", error="boom")
    shown = dict(pairs(cli("status", "a")))
    assert shown["array"] == "1-10: 10 elements"
    assert shown["elements"] == "6 waiting, 2 active, 1 completed, 1 failed"
    found = cli.json("status", "a").one
    assert found["array"] == "1-10"
    assert found["elements"] == {"waiting": 6, "active": 2, "completed": 1, "failed": 1, "cancelled": 0}
    typed = cli("list", "--state", "pending")
    assert list(rows(typed)) == ["a"]
    assert typed.lines[1].endswith("6 × m:f('x')")
    assert set(rows(cli("list"))) == {"a", "a/1", "a/2", "a/3", "a/4"}
    assert list(rows(cli("list", "--array", "a", "--limit", "6"))) == [f"a/{i}" for i in range(1, 7)]
    assert "6 × m:f" in cli("top").out
    assert dict(pairs(cli("status", "a/9")))["runs"] == "m:f('x')"


def test_what_only_elements_have(cli: Cli, hand: HandCell) -> None:
    hand.node("n1", cpu=1, ttl=600)
    submit(cli, "--array", "3-5")
    assert "such as `rq-sched result a/3`" in cli("result", "a", code=2).err
    assert "such as `rq-sched logs a/3`" in cli("logs", "a", code=2).err
    hand.run_one("a/3", result=b"\x07")
    assert cli("result", "a/3").lines == ["7"]
    assert cli("logs", "a/3").out == ""
    assert "a/5 is pending" in cli("result", "a/5", code=1).err
    assert "no task a/6" in cli("logs", "a/6", code=3).err


def test_hold_priority_unhold(cli: Cli, hand: HandCell) -> None:
    submit(cli, "--array", "1-10")
    assert cli("hold", "a").lines == ["a is held; to bring it back: `rq-sched unhold a`"]
    assert cli("unhold", "a/7").lines == ["a/7 is pending"]
    assert cli("priority", "--to", "9", "a/8").lines == ["a/8 has priority 9 and is held"]
    assert {name: row[1:3] for name, row in rows(cli("list", "--state", "held")).items()} == {
        "a": ["held", "0"],
        "a/8": ["held", "9"],
    }
    cli("unhold", "a")
    assert list(rows(cli("list", "--state", "pending"))) == ["a/8", "a", "a/7"]
    assert cli("priority", "--to", "-5", "a").lines == ["a has priority -5 and is pending"]
    assert {name: row[3] for name, row in rows(cli("list")).items()} == {"a/7": "-5", "a/8": "-5", "a": "-5"}


def test_holding_an_array_of_which_nothing_is_left(cli: Cli, hand: HandCell) -> None:
    submit(cli, "--array", "1-2")
    hand.begin("a/1")
    text = "a is running: those of its elements that waited are held; to bring them back: `rq-sched unhold a`"
    assert cli("hold", "a").lines == [text]


def test_requeue_is_of_elements(cli: Cli, hand: HandCell) -> None:
    submit(cli, "--array", "7-8")
    hand.run_one("a/7")
    hand.run_one("a/8")
    assert "requeue its elements, such as a/7" in cli("requeue", "a", code=1).err
    assert "to run an element again: `rq-sched requeue a/7`" in cli("cancel", "a", code=1).err
    hand.run(hand.store.node_drain("n1"))
    assert cli("requeue", "a/8").lines == ["a/8 is pending"]
    assert dict(pairs(cli("status", "a")))["elements"] == "1 active, 1 completed"


def test_cancel_and_forget(cli: Cli, hand: HandCell) -> None:
    submit(cli, "--array", "1-100")
    assert "is pending: cancel it with --no-requeue first" in cli("forget", "a", code=1).err
    assert cli("cancel", "a").lines[0].startswith("a requeued, behind its equals")
    assert cli("cancel", "--no-requeue", "a/50").lines == ["a/50 cancelled"]
    assert cli("cancel", "--no-requeue", "a").lines == ["a cancelled"]
    assert dict(pairs(cli("status", "a")))["elements"] == "100 cancelled"
    assert cli.json("status", "a/77").one["state"] == "cancelled"
    assert cli("wait", "a", "a/3", code=1).lines == ["2 cancelled"]
    assert cli("forget", "a").lines == ["100 tasks forgotten"]
    assert "no task a/3" in cli("status", "a/3", code=3).err


def test_submit_and_wait(cli: Cli, hand: HandCell) -> None:
    hand.node("n1", ttl=600)

    def play() -> None:
        wait_for(lambda: hand.state("a"))
        hand.run_one("a/1")
        hand.run_one("a/2", outcome="failed", reason="error", error="boom")

    player = threading.Thread(target=play)
    player.start()
    typed = cli("submit", "--id", "a", "--array", "1-2", "--wait", "m:f", code=1)
    player.join()
    assert typed.lines == ["a failed: 1 completed, 1 failed"]
    typed = cli.json("submit", "--id", "a", "--array", "1-2", "--wait", "m:f", code=1)
    assert typed.one["elements"] == {"waiting": 0, "active": 0, "completed": 1, "failed": 1, "cancelled": 0}
    assert "1 of 2 elements failed" in cli("submit", "-q", "--id", "a", "--array", "1-2", "--wait", "m:f", code=1).err


def test_explain(cli: Cli, hand: HandCell) -> None:
    hand.node("n1", cpu=1, ttl=600)
    submit(cli, "--array", "1-1000")
    hand.run_one("a/1")
    text = cli("explain", "a").out
    assert "It is an array of 1,000 elements, 1-1000: 998 waiting, 1 active, 1 completed." in text
    assert "What follows is about its next element, a/3." in text
    assert "897 tasks are ahead of it" in cli("explain", "a/900").out
    assert "What happened:" in cli("explain", "a/1").out
    cli("hold", "a")
    assert "A user set it aside" in cli("explain", "a/900").out


def test_explain_an_array_of_which_all_is_made_or_ended(cli: Cli, hand: HandCell) -> None:
    submit(cli, "--array", "1-2")
    hand.begin("a/1")
    assert "None is left to be made a task: ask about each, such as `rq-sched explain a/1`" in cli("explain", "a").out
    cli("submit", "--id", "b", "--array", "1-2", "--delay", "1h", "m:f")
    assert "As --delay asked: it waits until" in cli("explain", "b").out
    assert "As --delay asked: it waits until" in cli("explain", "b/2").out
    cli("cancel", "--no-requeue", "b")
    assert "A user ended it. To run one again: `rq-sched requeue b/1`" in cli("explain", "b").out


def test_inspect(cli: Cli, hand: HandCell) -> None:
    hand.node("n1", cpu=4, ttl=600)
    submit(cli, "--array", "1-100")
    cli("priority", "--to", "-1", "a/40")
    hand.begin("a/1")
    text = cli("inspect", "a").out
    assert "next 5 the first element that isn't made yet" in " ".join(text.split())
    assert "40-40" in text
    assert "the rest of an array" in cli("inspect", "1:100").out
    assert "task:a/1" in cli("inspect", "a/1").out
    assert "(`rq-sched inspect a`)" in cli("inspect", "a/99", code=3).err
    assert "nothing named 'a/101'" in cli("inspect", "a/101", code=3).err


def test_events_of_an_array_and_of_an_element(cli: Cli, hand: HandCell) -> None:
    submit(cli, "--array", "1-2")
    hand.run_one("a/1")
    assert [event["type"] for event in cli.json("events", "--task", "a").json] == ["submitted"]
    assert cli.json("events", "--task", "a/1").json[0]["type"] == "placed"


def test_a_cancel_says_whom_it_stopped_and_who_does_not_stop(cli: Cli, hand: HandCell) -> None:
    hand.node("n1", cpu=2, ttl=600)
    submit(cli, "--array", "1-5")
    start = hand.begin("a/1")

    def stop() -> None:
        wait_for(lambda: hand.stops("n1"))
        hand.finish("n1", start, "stopped")

    player = threading.Thread(target=stop)
    player.start()
    with_patience = cli("cancel", "--grace", "0", "a", code=4)
    player.join()
    assert with_patience.lines[0].startswith("a requeued, behind its equals (2 elements stopped); to end it for good")
    assert with_patience.err.count("is still being stopped") == 1
    assert "a/2 is still being stopped" in with_patience.err


def test_one_that_waits_for_another_element_by_element(cli: Cli, tmp_path: Path) -> None:
    submit(cli, "--array", "1-3")
    assert cli("submit", "--id", "b", "--array", "1-3", "--after-each", "a", "m:f").lines == [
        "submitted b (3 elements)"
    ]
    assert "It waits for 1 of 1: a (each element for its own) pending." in " ".join(cli("explain", "b").lines)
    assert "It waits for 1 of 1: a/2 pending." in " ".join(cli("explain", "b/2").lines)
    assert cli.json("status", "b").one["after_each"] == "a"
    for typed, why in [
        (("--array", "1-4", "--after-each", "a"), "a is no array with the same indexes"),
        (("--after-each", "a"), "--array FIRST-LAST"),
        (("--array", "1-3", "--after-each", "a", "--after", "b"), "can't wait for others, too"),
        (("--array", "1-3", "--after-each", "a/1"), "must be the id of an array"),
    ]:
        assert why in " ".join(cli("submit", *typed, "m:f", code=2).err.split())
    assert "there is no task no" in cli("submit", "--array", "1-3", "--after-each", "no", "m:f", code=3).err
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"function": "m:f", "array": "1-3", "after_each": "b", "id": "c"}\n')
    cli("submit", "--from-file", str(path))
    assert cli.json("status", "c").one["after"] == ["b:each"]
