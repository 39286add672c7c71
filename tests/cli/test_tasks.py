"""Looking at tasks and changing them, on nodes that the test plays."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import msgpack
import pytest

from rq_sched.cli.logs import LogReader
from rq_sched.model.output import attempt_mark, cut_mark
from tests.cli.kit import Cli, HandCell, ask, beside, pairs, rows
from tests.support import wait_for

ROOT = Path(__file__).parents[2]
TASK_FIELDS = [
    "task_id", "priority", "function", "args", "kwargs", "cpu_needed", "memory_needed", "max_cpu_needed",
    "max_memory_needed", "state", "reason", "attempt", "node_id", "cpu_allocated", "memory_allocated",
    "submitted_at", "scheduled_at", "started_at", "finished_at", "retries", "retries_left", "crashes",
    "crash_limit", "time_limit", "delay", "elastic", "preemptible", "progress", "result", "error", "exit_code",
    "suspect", "require", "resources", "limits", "refused", "name", "tags", "chdir", "folder", "env", "stdin",
    "output_path", "error_path", "log_limit", "array", "after", "after_each", "awaited", "on_failure", "elements",
    "deadline", "expires_at", "infeasible",
]  # fmt: skip
TERMINAL_CODES = "a\x1b[31mb\x9b2Jc\x07[bold]d"


def packed(value: object) -> bytes:
    return bytes(msgpack.packb(value))


# -- status, list ---------------------------------------------------------------------------------


def test_status_of_one_that_runs(cli: Cli, hand: HandCell):
    cli("submit", "m:f", ":=1", "k=v", "--id", "t1", "--cpu", "2", "--retries", "3", "-q")
    hand.begin("t1")
    info = cli.json("status", "t1").one
    assert list(info) == TASK_FIELDS
    assert (info["state"], info["node_id"], info["attempt"], info["cpu_allocated"]) == ("running", "n1", 1, 2)
    assert info["started_at"].endswith("Z")
    typed = cli("status", "t1")
    assert typed.lines[0] == "t1  running"
    shown = dict(pairs(typed))
    assert shown["runs"] == "m:f(1, k='v')"
    assert shown["needs"] == "2 CPU, 256 MB"
    assert shown["allocated"] == "2 CPU, 256 MB"
    assert shown["node"] == "n1"
    assert shown["attempt"] == "1, 3 of 3 retries left"
    assert "finished" not in shown


def test_status_of_several_names_the_unknown_ones(cli: Cli):
    cli("submit", "m:f", "--id", "t1", "-q")
    cli("submit", "m:f", "--id", "t2", "-q")
    typed = cli("status", "t1", "nope", "t2", code=3)
    assert [line for line in typed.lines if line.startswith("t")] == [
        "t1  pending (no_nodes)",
        "t2  pending (no_nodes)",
    ]
    (line,) = typed.err.splitlines()
    assert "nope" in line
    typed = cli.json("status", "nope", "t2", code=3)
    assert [info["task_id"] for info in typed.json] == ["t2"]
    assert [error["code"] for error in typed.errors] == ["task_not_found"]


def test_list(cli: Cli, hand: HandCell):
    assert cli("list").out == "no tasks\n"
    assert cli.json("list").out == ""
    for task_id, priority in [("low", 1), ("high", 9), ("mid", 5)]:
        cli("submit", "m:f", "--id", task_id, "-p", str(priority), "-q")
    hand.node("n1", cpu=1, ttl=600)
    hand.run_one("high", result=packed(7))
    cli("submit", "m:f", "--id", "last", "-p", "5", "-q")
    assert [info["task_id"] for info in cli.json("list").json] == ["mid", "last", "low", "high"]
    table = rows(cli("list"))
    assert list(table) == ["mid", "last", "low", "high"]
    assert table["high"][1] == "completed"
    assert table["high"][table["high"].index("n1")] == "n1"
    assert [info["task_id"] for info in cli.json("list", "--state", "completed").json] == ["high"]
    assert [info["task_id"] for info in cli.json("list", "--priority", "5").json] == ["mid", "last"]
    assert [info["task_id"] for info in cli.json("list", "--node", "n1").json] == ["mid", "high"]
    assert [info["task_id"] for info in cli.json("list", "--limit", "1").json] == ["mid"]
    assert cli("list", "--state", "held").out == "no such tasks\n"


@pytest.mark.parametrize(
    "words",
    [["list", "--state", "asleep"], ["list", "--limit", "0"], ["list", "--node", "a b"], ["status"], ["status", "a b"]],
)
def test_bad_words(cli: Cli, words):
    (line,) = cli(*words, code=2).err.splitlines()
    assert line.startswith("rq-sched: ")
    (error,) = cli.json(*words, code=2).errors
    assert error["code"] in ("usage", "invalid_id", "invalid_value")


# -- result, logs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown", "as_json"),
    [
        ("text\nof two lines", "text\nof two lines", "text\nof two lines"),
        ({"a": [1, None]}, '{"a": [1, null]}', {"a": [1, None]}),
        (None, "null", None),
        ({1: b"\x00\xff"}, '{"1": "AP8="}', {"1": "AP8="}),
        (float("nan"), "null", None),
        (TERMINAL_CODES, "a\\x1b[31mb\\x9b2Jc\\x07[bold]d", TERMINAL_CODES),
        ("x" * 100_000, "x" * 100_000, "x" * 100_000),
    ],
)
def test_result(cli: Cli, hand: HandCell, value, shown, as_json):
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.run_one("t1", result=packed(value))
    assert cli("result", "t1").out == shown + "\n"
    assert cli.json("result", "t1").one == {"task_id": "t1", "state": "completed", "result": as_json}


def test_result_of_one_that_is_not_final(cli: Cli):
    cli("submit", "m:f", "--id", "t1", "-q")
    assert "t1 is pending" in cli("result", "t1", code=1).err
    (error,) = cli.json("result", "t1", code=1).errors
    assert error["code"] == "task_not_final"
    cli("result", "nope", code=3)


def test_result_of_a_failed_one(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.run_one("t1", outcome="failed", reason="error", error=f"Traceback ...\nValueError: {TERMINAL_CODES}")
    typed = cli("result", "t1", code=1)
    assert typed.err.splitlines()[0] == "rq-sched: t1 failed (error) on n1:"
    assert "ValueError: a\\x1b[31mb" in typed.err
    assert "\x1b" not in typed.err
    (error,) = cli.json("result", "t1", code=1).errors
    assert error["code"] == "task_failed"
    assert "ValueError" in error["message"]


def test_logs(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "-q")
    assert cli("logs", "t1").out == ""
    hand.run_one("t1", output=b"one\r\n\x1b[31mtwo \xff\nthree")
    assert cli("logs", "t1").lines == ["one", "\\x1b[31mtwo \\xff", "three"]
    assert cli.json("logs", "t1").json == [
        {"task_id": "t1", "line": "one", "attempt": 1, "cut": 0},
        {"task_id": "t1", "line": "\x1b[31mtwo \\xff", "attempt": 1, "cut": 0},
        {"task_id": "t1", "line": "three", "attempt": 1, "cut": 0},
    ]
    cli("logs", "nope", code=3)


def test_raw_logs_are_the_bytes_as_they_came(cli: Cli, hand: HandCell, namespace: str, redis_url: str):
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.run_one("t1", output=b"one\r\n\x1b[31mtwo \xff\nthree")
    command = [sys.executable, str(ROOT / "cli.py"), "logs", "t1", "--raw", "--redis", redis_url]
    done = subprocess.run([*command, "--namespace", namespace], capture_output=True, timeout=20, check=True)
    assert done.stdout == b"one\r\n\x1b[31mtwo \xff\nthree"


def test_what_was_cut_and_where_an_attempt_begins_is_shown(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "--retries", "1", "-q")
    start = hand.begin("t1")
    for _ in range(5):
        hand.run(hand.store.task_output("n1", "1", start.token, b"x" * 39_999 + b"\n"))
    hand.finish("n1", start, "failed", reason="error", output=cut_mark(1_000_000) + b"y" * 65_530 + b"\nlast")
    again = attempt_mark(2) + b"begins\n"
    hand.run(ask("APPEND", hand.store.keys.log("t1"), again.decode()))
    found = cli.json("logs", "t1").json
    assert [(one["attempt"], one["cut"], one["line"][:6]) for one in found] == [
        (1, 1_200_000, "yyyyyy"), (1, 0, "last"), (2, 0, "begins")
    ]  # fmt: skip
    lines = cli("logs", "t1").lines
    assert lines[0] == "[… 1,200,000 bytes cut …]"
    assert lines[-3:] == ["last", "[attempt 2]", "begins"]


def test_logs_follow_until_the_end(cli: Cli, hand: HandCell, namespace: str, redis_url: str):
    cli("submit", "m:f", "--id", "t1", "-q")
    start = hand.begin("t1")
    with beside(redis_url, namespace, "logs", "t1", "-f") as child:
        assert child.stdout is not None
        try:
            for word in ("first", "second"):
                hand.run(hand.store.task_output("n1", "1", start.token, f"{word}\n".encode()))
                assert child.stdout.readline() == f"{word}\n"
        finally:
            hand.finish("n1", start, output=b"last\n")
        assert child.communicate(timeout=20)[0] == "last\n"
    assert child.returncode == 0


def test_a_log_is_followed_although_its_beginning_is_dropped():
    def line(number: int) -> bytes:
        return f"line {number}\n".encode()

    kept = b""
    reader = LogReader(lambda offset: (kept[offset:], kept[:64]))
    seen = b""
    for number in range(400):
        kept += line(number) * 3
        if number % 50 == 49:  # as the script does, now and then
            kept = cut_mark(3 * sum(len(line(n)) for n in range(number + 1)) - 600) + kept[-600:]
        seen += reader.read()
    assert seen == b"".join(line(number) * 3 for number in range(400))
    kept = cut_mark(len(seen) + 50) + b"x" * 1000
    assert reader.read() == cut_mark(50) + b"x" * 1000  # nothing of what was read is left: it says so


# -- cancel ---------------------------------------------------------------------------------------


def test_a_cancel_that_does_not_come_to_an_end_tells_of_the_nodes_fault(cli: Cli, hand: HandCell, monkeypatch):
    monkeypatch.setattr("rq_sched.client.flows.cancel.CANCEL_MARGIN", 0.1)
    hand.submit("t1")
    hand.begin("t1")
    hand.run(hand.store.node_fault("n1", "1", "it hangs"))
    said = cli("cancel", "--no-requeue", "--grace", "0", "t1", code=4).err
    assert "t1 is still being stopped" in said
    assert said.endswith("; n1 is faulty: it hangs\n")


def test_cancel_of_a_pending_one(cli: Cli):
    cli("submit", "m:f", "--id", "t1", "-q")
    typed = cli("cancel", "t1")
    assert typed.out == "t1 requeued, behind its equals; to end it for good: `rq-sched cancel --no-requeue t1`\n"
    assert cli.json("cancel", "t1").one == {"task_id": "t1", "outcome": "requeued", "state": "pending"}
    assert cli("cancel", "--no-requeue", "t1").out == "t1 cancelled\n"
    typed = cli("cancel", "t1", code=1)
    assert "already cancelled" in typed.err
    assert cli.json("cancel", "t1", code=1).one["outcome"] == "already cancelled"


@pytest.mark.parametrize("state", ["delayed", "held"])
def test_cancel_leaves_delayed_and_held_ones(cli: Cli, state):
    cli("submit", "m:f", "--id", "t1", "-q", *(["--delay", "1h"] if state == "delayed" else []))
    if state == "held":
        cli("hold", "t1")
    assert cli("cancel", "t1").out.startswith(f"t1 is {state} and stays so; to end it for good:")
    assert cli.json("cancel", "t1").one == {"task_id": "t1", "outcome": "unchanged", "state": state}
    assert cli.json("cancel", "--no-requeue", "t1").one == {
        "task_id": "t1",
        "outcome": "cancelled",
        "state": "cancelled",
    }


@pytest.mark.parametrize(
    ("options", "outcome", "state"), [([], "requeued", "pending"), (["--no-requeue"], "cancelled", "cancelled")]
)
def test_cancel_of_a_running_one_waits_for_its_end(cli: Cli, hand: HandCell, options, outcome, state):
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.begin("t1")
    cli("drain", "n1")  # so that it isn't placed again at once

    def confirm() -> None:
        stop = wait_for(lambda: hand.stops("n1"))["t1"]
        assert hand.free("n1") == (3, 768)  # not free before the process is gone
        hand.finish("n1", stop, "stopped")

    node = threading.Thread(target=confirm)
    node.start()
    typed = cli.json("cancel", "t1", *options)
    node.join()
    assert typed.one == {"task_id": "t1", "outcome": outcome, "state": state}
    assert hand.free("n1") == (4, 1024)


def test_cancel_gives_up_after_grace_and_margin(cli: Cli, hand: HandCell, monkeypatch):
    monkeypatch.setattr("rq_sched.client.flows.cancel.CANCEL_MARGIN", 0.2)
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.begin("t1")
    typed = cli("cancel", "t1", "--grace", "0.1", code=4)
    assert "still being stopped" in typed.err
    assert cli.json("status", "t1").one["reason"] == "cancelling"


def test_cancel_of_several(cli: Cli, hand: HandCell):
    hand.node("n1", cpu=1, ttl=600)
    cli("submit", "m:f", "--id", "done", "-q")
    hand.run_one("done")
    cli("submit", "m:f", "--id", "waits", "--delay", "1h", "-q")
    typed = cli.json("cancel", "done", "nope", "waits", "--no-requeue", code=3)
    outcomes = {line["task_id"]: line["outcome"] for line in typed.json}
    assert outcomes == {"done": "already completed", "waits": "cancelled"}
    assert {error["code"] for error in typed.errors} == {"task_not_found", "task_final"}


def test_cancel_of_an_array_and_of_its_element_tells_each_once(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    cli("submit", "m:f", "--array", "1-2", "--cpu", "4", "--id", "all", "-q")
    hand.begin("all/1")
    cli("drain", "n1")

    def confirm() -> None:
        stop = wait_for(lambda: hand.stops("n1"))["all/1"]
        hand.finish("n1", stop, "stopped")

    node = threading.Thread(target=confirm)
    node.start()
    typed = cli.json("cancel", "all", "all/1")
    node.join()
    assert typed.json == [
        {"task_id": "all", "outcome": "requeued", "state": "pending"},
        {"task_id": "all/1", "outcome": "requeued", "state": "pending"},
    ]


# -- wait -----------------------------------------------------------------------------------------


def test_wait(cli: Cli, hand: HandCell):
    for task_id in ("good", "bad", "late"):
        cli("submit", "m:f", "--id", task_id, "-q")
    hand.node("n1", cpu=1, ttl=600)
    hand.run_one("good")
    assert cli("wait", "good").out == "1 completed\n"
    hand.run_one("bad", outcome="failed", reason="error", error="x")
    assert cli("wait", "good", "bad", code=1).out == "1 completed, 1 failed\n"
    typed = cli("wait", "good", "bad", "late", "--timeout", "0.1", code=4)
    assert typed.out == "1 completed, 1 failed, 1 pending\n"
    assert "timed out" in typed.err
    counts = {"completed": 1, "failed": 1, "cancelled": 0, "pending": 1}
    assert cli.json("wait", "good", "bad", "late", "--timeout", "100ms", code=4).one == counts
    assert cli.json("wait", "good", "nope", code=3).one["completed"] == 1
    assert cli("wait", "good", "-q").out == ""


# -- changing -------------------------------------------------------------------------------------


def test_requeue_hold_unhold_priority(cli: Cli, hand: HandCell):
    for task_id in ("t1", "t2"):
        cli("submit", "m:f", "--id", task_id, "-q")
    assert cli.json("hold", "t1", "t2").json == [{"task_id": t, "state": "held"} for t in ("t1", "t2")]
    assert cli("unhold", "t1", "t2").lines == ["t1 is pending", "t2 is pending"]
    assert cli.json("priority", "--to", "-5", "t1", "t2").json == [
        {"task_id": t, "state": "pending"} for t in ("t1", "t2")
    ]
    assert cli.json("status", "t1").one["priority"] == -5
    assert cli("priority", "--to", "7", "t1").out == "t1 has priority 7 and is pending\n"
    assert (
        cli("priority", "t1", "8").err
        == "rq-sched: warning: `priority ID... N` is deprecated: write `priority --to N ID...`\n"
    )
    assert cli.json("status", "t1").one["priority"] == 8
    hand.node("n1", cpu=1, ttl=600)
    hand.run_one("t1")
    assert cli("requeue", "t1").out == "t1 is pending\n"


REFUSED = [
    (["requeue", "nope"], 3), (["hold", "nope"], 3), (["unhold", "nope"], 3), (["priority", "--to", "1", "nope"], 3),
    (["cancel", "nope"], 3), (["wait", "nope"], 3), (["explain", "nope"], 3), (["result", "nope"], 3),
    (["forget", "nope"], 3), (["inspect", "nope"], 3),
    (["hold", "runs"], 1), (["requeue", "runs"], 1), (["forget", "runs"], 1), (["result", "runs"], 1),
    (["hold", "done"], 1), (["cancel", "done"], 1),
    (["priority", "runs"], 2), (["priority", "runs", "high"], 2), (["priority", "a b", "1"], 2), (["hold"], 2),
    (["cancel", "runs", "--grace", "long"], 2), (["wait", "runs", "--timeout", "-1"], 2),
    (["forget", "done", "--state", "failed"], 2), (["forget", "--state", "running"], 2),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_refusals(cli: Cli, hand: HandCell, words, code):
    for task_id in ("done", "runs"):
        cli("submit", "m:f", "--id", task_id, "-q")
    hand.run_one("done")
    hand.begin("runs")
    (line,) = cli(*words, code=code).err.splitlines()
    assert line.startswith("rq-sched: ")
    (error,) = cli.json(*words, code=code).errors
    assert error["code"]
    assert error["message"] in line or line.endswith(error["message"])


def test_one_refusal_does_not_keep_the_others(cli: Cli):
    for task_id in ("t1", "t2"):
        cli("submit", "m:f", "--id", task_id, "-q")
    assert cli("hold", "t1", "nope", "t2", code=3).out.count("is held") == 2


def test_forget(cli: Cli, hand: HandCell):
    for number in range(5):
        cli("submit", "m:f", "--id", f"t{number}", "-q")
    hand.node("n1", cpu=1, ttl=600)
    for number in range(4):
        hand.run_one(
            f"t{number}", outcome="failed" if number == 3 else "completed", reason="error" if number == 3 else None
        )
    assert cli("forget", "t0").out == "1 task forgotten\n"
    assert cli("forget", "--older-than", "1h").out == "0 tasks forgotten\n"
    assert cli.json("forget", "--state", "completed").one == {"forgotten": 2}
    assert cli("forget").out == "1 task forgotten\n"
    assert [info["task_id"] for info in cli.json("list").json] == ["t4"]
