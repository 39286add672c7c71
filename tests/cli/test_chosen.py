"""Commands for all tasks in a state: in bites, and they say how many."""

from __future__ import annotations

import pytest

from tests.cli.kit import Cli, HandCell


def submit(cli: Cli, *names: str, **options: str) -> None:
    for name in names:
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        cli("submit", "m:f", "--id", name, "-q", *words)


def fail(cli: Cli, hand: HandCell, *names: str) -> None:
    submit(cli, *names)
    for name in names:
        hand.run_one(name, outcome="failed", reason="error", error="boom")


def test_what_failed_runs_again(cli: Cli, hand: HandCell):
    fail(cli, hand, "a", "b", "c")
    submit(cli, "other")
    assert cli("requeue", "--state", "failed").lines == ["3 tasks requeued"]
    assert {info["task_id"] for info in cli.json("list", "--state", "failed").json} == set()
    assert hand.info("a").reason != "error"
    assert cli("requeue", "--state", "failed").lines == ["0 tasks requeued"]
    assert cli.json("requeue", "--state", "failed").one == {"requeued": 0, "moved_on": 0}


def test_hold_and_bring_back(cli: Cli, hand: HandCell):
    submit(cli, "a", "b", "c")
    assert cli("hold", "--state", "pending").lines == ["3 tasks held"]
    assert hand.state("b") == "held"
    assert cli.json("unhold", "--state", "held").one == {"brought_back": 3, "moved_on": 0}
    assert hand.state("b") == "pending"


def test_priorities(cli: Cli, hand: HandCell):
    submit(cli, "a", "b")
    assert cli("priority", "--to", "7", "--state", "pending").lines == ["2 tasks given priority 7"]
    assert hand.info("a").priority == hand.info("b").priority == 7
    assert "--to N" in cli("priority", "--state", "pending", code=2).err


def test_cancel_what_waits_and_leave_what_runs_alone(cli: Cli, hand: HandCell):
    submit(cli, "runs")
    hand.begin("runs")
    submit(cli, "a", "b", cpu="64")
    submit(cli, "sweep", array="1-100", cpu="64")
    assert cli("cancel", "--state", "pending", "--no-requeue").lines == ["3 tasks cancelled"]
    assert hand.state("a") == hand.state("sweep") == "cancelled"
    assert hand.state("runs") == "running"
    assert cli("cancel", "--state", "pending", "--no-requeue").lines == ["0 tasks cancelled"]


def test_cancel_what_is_pending_to_the_back(cli: Cli, hand: HandCell):
    submit(cli, "a", "b")
    assert cli.json("cancel", "--state", "pending").one == {"requeued": 2, "moved_on": 0}
    assert [info["task_id"] for info in cli.json("list").json] == ["a", "b"]
    submit(cli, "d", delay="60")
    assert cli("cancel", "--state", "delayed").lines == ["1 task unchanged"]
    assert hand.state("d") == "delayed"


def test_cancel_what_does_not_stop(cli: Cli, hand: HandCell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rq_sched.client.flows.cancel.CANCEL_MARGIN", 0.2)
    submit(cli, "runs")
    hand.begin("runs")
    typed = cli("cancel", "--state", "running", "--grace", "0", code=4)
    assert "1 task still being stopped" in typed.err


def test_cancel_all_of_a_run(cli: Cli, hand: HandCell):
    tags = {"tag": "run=17", "cpu": "64"}
    submit(cli, "p", "h", **tags)
    submit(cli, "d", delay="60", **tags)
    submit(cli, "sweep", array="1-100", **tags)
    submit(cli, "other", cpu="64")
    hand.node("n1", ttl=600)  # whoever knows what it is to wait for others
    submit(cli, "w", after="other", **tags)
    cli("hold", "h")
    assert cli("cancel", "--tag", "run=17", "--no-requeue").lines == ["5 tasks cancelled"]
    assert hand.state("sweep") == hand.state("w") == "cancelled"
    assert hand.state("other") == "pending"


def test_wait_for_what_runs(cli: Cli, hand: HandCell):
    submit(cli, "runs")
    hand.begin("runs")
    assert cli.json("wait", "--state", "running", "--timeout", "0", code=4).one["pending"] == 1
    assert cli.json("wait", "--state", "held").one == {"completed": 0, "failed": 0, "cancelled": 0, "pending": 0}


def test_what_failed_of_a_run_is_repeated(cli: Cli, hand: HandCell):
    fail(cli, hand, "other")
    submit(cli, "a", "b", tag="run=17")
    hand.run_one("a", outcome="failed", reason="error", error="boom")
    hand.run_one("b")
    assert cli.json("info", "--tag", "run=17").one == {"tags": {"run": "17"}, "tasks": {"completed": 1, "failed": 1}}
    assert cli("info", "--tag", "run=17").lines == ["1 failed, 1 completed"]
    assert cli("wait", "--tag", "run=17", code=1).lines == ["1 completed, 1 failed"]
    assert cli("requeue", "--state", "failed", "--tag", "run=17").lines == ["1 task requeued"]
    assert hand.state("other") == "failed"
    assert hand.state("b") == "completed"
    assert {info["task_id"] for info in cli.json("list", "--tag", "run=17").json} == {"a", "b"}
    assert cli("list", "--tag", "run=18").lines == ["no such tasks"]


def test_what_has_not_ended_of_a_run_is_changed(cli: Cli, hand: HandCell):
    tags = {"tag": "run=17"}
    submit(cli, "runs", **tags)
    hand.begin("runs")
    submit(cli, "d", delay="60", **tags)
    submit(cli, "sweep", array="1-100", cpu="64", **tags)
    submit(cli, "p", "h", cpu="64", **tags)
    submit(cli, "other", cpu="64")
    cli("hold", "h")
    assert cli("hold", "--tag", "run=17").lines == ["3 tasks held"]
    assert cli.json("unhold", "--tag", "run=17").one == {"brought_back": 4, "moved_on": 0}
    assert cli("priority", "--to", "3", "--tag", "run=17").lines == ["5 tasks given priority 3"]
    assert hand.info("other").priority == 0


def test_of_several_tags_a_task_must_have_all(cli: Cli, hand: HandCell):
    for name, kind in (("a", "x"), ("b", "y")):
        cli("submit", "m:f", "--id", name, "-q", "--tag", "run=17", "--tag", f"kind={kind}")
    assert cli("hold", "--tag", "run=17", "--tag", "kind=y").lines == ["1 task held"]
    assert hand.state("b") == "held"
    assert "NAME=TEXT" in cli("hold", "--tag", "run", code=2).err


def test_what_ended_of_a_run_is_forgotten(cli: Cli, hand: HandCell):
    submit(cli, "sweep", array="1-3", tag="run=17")
    submit(cli, "other")
    for index in (1, 2, 3):
        hand.run_one(f"sweep/{index}")
    hand.run_one("other")
    assert cli("forget", "--tag", "run=17").lines == ["3 tasks forgotten"]
    assert hand.state("sweep") is None
    assert hand.state("other") == "completed"
    for words in (["a", "--tag", "run=17"], ["--tag", "run=17", "--older-than", "1d"]):
        assert "not both" in cli("forget", *words, code=2).err


@pytest.mark.parametrize("name", ["requeue", "hold", "unhold", "cancel", "wait"])
def test_either_ids_or_a_state(cli: Cli, name: str):
    state = {"requeue": "failed", "unhold": "held"}.get(name, "pending")
    for words in ([name], [name, "t1", "--state", state]):
        assert "either ids, or with --state and --tag" in cli(*words, code=2).err


def test_ids_that_are_refused_are_named_and_keep_nobody(cli: Cli, hand: HandCell):
    submit(cli, "a", "b")
    typed = cli("hold", "a", "absent", "b", code=3)
    assert len(typed.lines) == 2
    assert "absent" in typed.err
    assert hand.state("b") == "held"
