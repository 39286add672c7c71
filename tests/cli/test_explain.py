"""``explain`` and ``submit --dry-run``: what people read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rq_sched.link import Link
from rq_sched.model.arrays import SEQUENCE
from tests.cli.kit import Cli, HandCell, ask


def snapshot(link: Link, hand: HandCell) -> dict[bytes, bytes]:
    """Every key of the namespace with what it holds."""
    keys = link.run(ask("KEYS", hand.store.keys.prefix + "*"))
    return {key: link.run(ask("DUMP", key)) for key in keys}


def test_pending(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "big", "--cpu", "64", "-q")
    cli("submit", "m:f", "--id", "t1", "--cpu", "3", "-q")
    cli("submit", "m:f", "--id", "t2", "--cpu", "3", "-q")
    assert "no node is up: start one (`rq-sched worker`, or `rq-sched up`)" in cli("explain", "t1").out
    hand.begin("t1")
    found = cli.json("explain", "t2").one
    assert {"task_id": "t2", "state": "pending", "reason": "no_fit_now", "fits_now": 0, "nodes": 1, "short_cpu": 1,
            "short_memory": 0, "fits_empty": 1, "ahead": 1}.items() <= found.items()  # fmt: skip
    said = cli("explain", "t2").out
    assert "It needs 3 CPU, 256 MB: it fits now on none of 1 node, and on 1 when empty." in said
    assert "Too little is free: CPU on 1." in said
    assert "1 task is ahead of it. A higher priority brings it forward: `rq-sched priority --to N t2`." in said
    assert "No scheduler has ever been at work here: start one (`rq-sched scheduler`)." in said
    hand.run(hand.store.sweep())
    assert "scheduler" not in cli("explain", "t2").out
    said = cli("explain", "big").out
    assert "no node could hold it even when empty: of 1 node up, the largest offers are 4 CPU, 1 GB." in said
    assert "`rq-sched cancel --no-requeue big`" in said


def test_it_fits_and_a_scheduler_is_about_to_come(cli: Cli, hand: HandCell):
    hand.store = type(hand.store)(hand.store.keys.namespace, placings=0)
    hand.node("n1", ttl=600)
    hand.submit("t1")
    hand.run(hand.store.sweep())
    said = cli("explain", "t1").out
    assert "t1  pending (behind)" in said
    assert "it fits now on 1 of 1 node, and on 1 when empty" in said
    assert "It is the first in order." in said
    assert "it is about to be placed" in said


@pytest.mark.no_audit("a reservation is planted")
def test_reserved(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "--cpu", "2", "-q")
    hand.begin("t1")
    cli("submit", "m:f", "--id", "big", "--cpu", "4", "-q")
    cli("submit", "m:f", "--id", "late", "--cpu", "3", "-q")
    keys = hand.store.keys
    hand.run(ask("HSET", keys.reservation, "first", "big", "since", 1))
    assert "It is the first in order that waits for room, since 1970" in cli("explain", "big").out
    kept = (
        "task",
        "big",
        "class",
        "4:256",
        "score",
        0,
        "sequence",
        f"{2:0{SEQUENCE}x}",
        "node",
        "n1",
        "at",
        30_001,
        "until",
        "",
    )
    hand.run(ask("HSET", keys.reservation, *kept, "spare_cpu", 0, "spare_memory", 0))
    assert "Node n1 is kept for it, since 1970" in cli("explain", "big").out
    assert "Node n1 is kept for big" in cli("explain", "late").out
    hand.run(ask("HSET", keys.node("n1"), "free_cpu", 3))
    said = cli("explain", "late").out
    assert "late  pending (reserved_for_other)" in said
    assert "There is room for it on n1, but that is kept for big, which comes earlier" in said
    assert cli.json("status", "late").one["reason"] == "reserved_for_other"
    assert "reserved_for_other" in cli("list").out


def test_running_and_why_there(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    cli("submit", "m:f", "--id", "t1", "--cpu", "3", "-q")
    cli("submit", "m:f", "--id", "t2", "--cpu", "3", "-q")
    said = cli("explain", "t1").out
    assert "Attempt 1 was placed on n1 at" in said
    assert "It was placed as it was submitted: n1 was chosen among the nodes with room for it." in said
    hand.run_one("t1")
    hand.begin("t2")
    said = cli("explain", "t2").out
    assert "Attempt 1 runs on n1 since" in said
    assert "`rq-sched logs -f t2`" in said
    assert "It was placed when t1 made room on n1" in said
    assert "It holds 3 CPU, 256 MB. It is alone there; free there: 1 CPU, 768 MB." in said
    found = cli.json("explain", "t2").one
    assert (found["placed_by"], found["made_room_by"], found["history_complete"]) == ("room", "t1", True)
    assert [event["type"] for event in found["history"]] == ["submitted", "placed", "started"]
    assert found["node_state"] == "up"
    cli("drain", "n1")
    said = " ".join(cli("explain", "t2").out.split())
    assert "n1 is draining: it gets no new tasks, and this one goes on to its end there." in said
    assert "`rq-sched undrain n1`" in said


def test_a_scheduler_placed_it(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.begin("t1")
    assert "A scheduler placed it" in cli("explain", "t1").out
    hand.run(ask("DEL", hand.store.keys.events))
    said = cli("explain", "t1").out
    assert "Of its placing the decision log says nothing any more." in said
    assert cli.json("explain", "t1").one["history_complete"] is False


def test_ended(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "good", "-q")
    hand.run_one("good")
    said = cli("explain", "good").out
    assert "It ended well, with attempt 1 on n1." in said
    assert "What happened:" in said
    assert [line.split()[2] for line in said.splitlines()[-4:]] == ["submitted", "placed", "started", "completed"]
    cli("submit", "m:f", "--id", "bad", "-q")
    hand.run_one("bad", outcome="failed", reason="timeout", error="too slow")
    said = cli("explain", "bad").out
    assert "It failed, with attempt 1 on n1." in said
    assert "submit it with a longer --time-limit" in said
    assert "`rq-sched requeue bad`" in said
    assert "  Its error:\n    too slow\n" in said
    cli("submit", "m:f", "--id", "gone", "--cpu", "99", "-q")
    cli("cancel", "gone", "--no-requeue")
    assert "A user ended it, before it was placed anywhere." in cli("explain", "gone").out


def test_history_of_all_attempts(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "--retries", "1", "-q")
    hand.run_one("t1", outcome="failed", reason="error", error="boom")
    said = cli("explain", "t1").out
    assert "After a failure it is tried again later: it waits until" in said
    cli("requeue", "t1")
    hand.run_one("t1")
    types = [(event["type"], event.get("attempt")) for event in cli.json("explain", "t1").one["history"]]
    assert types == [("submitted", None), ("placed", 1), ("started", None), ("retry", 1), ("requeued", 1),
                     ("placed", 2), ("started", None), ("completed", 2)]  # fmt: skip


def test_waiting_states(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "later", "--delay", "1h", "-q")
    assert "As --delay asked: it waits until" in cli("explain", "later").out
    assert "`rq-sched requeue later`" in cli("explain", "later").out
    cli("hold", "later")
    said = cli("explain", "later").out
    assert "A user set it aside at 2" in said
    assert "`rq-sched unhold later`" in said


# -- a dry run ------------------------------------------------------------------------------------


def test_not_for_ever(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    big = ("--cpu", "64", "--infeasible", "fail", "m:f")
    assert "It would fail at once (--infeasible fail):" in cli("submit", "--dry-run", *big).out
    refused = cli("submit", "--id", "big", *big, code=1)
    assert "submitted big, and it failed at once" in refused.out
    assert "no node could hold big even when empty" in refused.err
    assert "it didn't wait for a node that could" in cli("explain", "big").out
    cli("submit", "--id", "late", "--cpu", "64", "--deadline", "1h", "m:f")
    assert "It fails if it hasn't started by " in cli("explain", "late").out
    assert "deadline" in cli("status", "late").out
    assert cli.json("explain", "late").one["expires_at"] == cli.json("status", "late").one["expires_at"]


def test_dry_run(cli: Cli, hand: HandCell, link: Link):
    hand.node("n1", ttl=600)
    before = snapshot(link, hand)
    said = cli("submit", "m:f", "--dry-run").out
    assert said.splitlines()[0] == "m:f()  assigned"
    assert "It would be placed at once: 1 CPU, 256 MB is free on 1 of 1 node." in said
    assert "Nothing was submitted (--dry-run)." in said
    said = cli("submit", "--cpu", "5", "--dry-run", "m:f").out
    assert "no node could hold it even when empty" in said
    assert "Start a larger node, or ask for less." in said
    assert cli.json("submit", "--dry-run", "m:f").one["task_id"] is None
    found = cli.json("submit", "--id", "t1", "--cpu", "5", "--dry-run", "m:f").one
    assert {"task_id": "t1", "state": "pending", "reason": "infeasible", "fits_now": 0, "nodes": 1, "short_cpu": 1,
            "short_memory": 0, "fits_empty": 0, "ahead": 0, "dry_run": True}.items() <= found.items()  # fmt: skip
    assert "It would wait until" in cli("submit", "--delay", "1h", "--dry-run", "m:f").out
    assert snapshot(link, hand) == before
    cli("submit", "--id", "t1", "m:f", "-q")
    assert "is here already" in cli("submit", "--id", "t1", "--dry-run", "m:f").out
    assert "taken by another request" in cli("submit", "--id", "t1", "--dry-run", "m:g", code=2).err


def test_dry_run_refuses_what_submit_refuses(cli: Cli):
    assert "max_cpu_needed" in cli("submit", "--cpu", "4", "--max-cpu", "2", "--dry-run", "m:f", code=2).err
    assert "--wait can't be given" in cli("submit", "--wait", "--dry-run", "m:f", code=2).err
    assert "--quiet can't be given" in cli("submit", "-q", "--dry-run", "m:f", code=2).err


def test_dry_run_of_a_file(cli: Cli, hand: HandCell, link: Link, tmp_path: Path):
    hand.node("n1", ttl=600)
    path = tmp_path / "tasks.jsonl"
    lines = [{"function": "m:f", "cpu_needed": cpu, "delay": 5 if cpu == 2 else 0} for cpu in (1, 2, 8, 8)]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"function": 3}\n')
    before = snapshot(link, hand)
    typed = cli("submit", "--from-file", str(path), "--dry-run", code=1)
    assert "4 tasks could be submitted; 1 line refused (--dry-run: nothing was)" in typed.out
    assert "no node could hold 2 tasks that need 8 CPU, 256 MB" in typed.out
    assert "line 5: " in typed.err
    assert cli.json("submit", "--from-file", str(path), "--dry-run", code=1).one == {
        "tasks": 4, "refused": 1, "delayed": 1, "classes": 3, "infeasible": 2, "nodes": 1, "dry_run": True,
    }  # fmt: skip
    assert snapshot(link, hand) == before


def test_waiting_for_others(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    for task_id in ("a", "b"):
        cli("submit", "m:f", "--id", task_id, "-q")
    assert cli.json("submit", "m:f", "--id", "c", "--after", "a,b:any").one == {"task_id": "c", "state": "waiting"}
    hand.begin("a")
    found = cli.json("explain", "c").one
    assert (found["state"], found["reason"], found["awaited"], found["awaited_of"]) == ("waiting", "after", 2, 2)
    assert found["awaits"][0] == {"task_id": "a", "kind": "ok", "state": "running", "node_id": "n1"}
    assert "It waits for 2 of 2: a running on n1, b (to end) " in cli("explain", "c").out
    assert "a, b:any (2 to come)" in cli("status", "c").out
    assert cli.json("info").one["tasks"]["waiting"] == 1
    assert cli.json("list", "--state", "waiting").one["task_id"] == "c"

    assert cli.json("submit", "m:f", "--after", "c", "--dry-run").one["state"] == "waiting"
    assert "It would wait for 1 of 1: c waiting." in cli("submit", "m:f", "--after", "c", "--dry-run").out
    assert "no task nobody to wait for" in cli("submit", "m:f", "--after", "nobody", "--dry-run", code=3).err
    hand.run(hand.store.cancel("c", requeue=False))
    assert cli.json("submit", "m:f", "--after", "c", "--dry-run").one["state"] == "cancelled"
    refused = cli("submit", "m:f", "--after", "nobody", code=3)
    assert "there is no task nobody to wait for" in refused.err
