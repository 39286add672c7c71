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


def test_wait_for_what_runs(cli: Cli, hand: HandCell):
    submit(cli, "runs")
    hand.begin("runs")
    assert cli.json("wait", "--state", "running", "--timeout", "0", code=4).one["pending"] == 1
    assert cli.json("wait", "--state", "held").one == {"completed": 0, "failed": 0, "cancelled": 0, "pending": 0}


@pytest.mark.parametrize("name", ["requeue", "hold", "unhold", "cancel", "wait"])
def test_either_ids_or_a_state(cli: Cli, name: str):
    state = {"requeue": "failed", "unhold": "held"}.get(name, "pending")
    for words in ([name], [name, "t1", "--state", state]):
        assert "either ids, or with --state" in cli(*words, code=2).err


def test_ids_that_are_refused_are_named_and_keep_nobody(cli: Cli, hand: HandCell):
    submit(cli, "a", "b")
    typed = cli("hold", "a", "absent", "b", code=3)
    assert len(typed.lines) == 2
    assert "absent" in typed.err
    assert hand.state("b") == "held"
