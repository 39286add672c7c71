"""Waiting for what can't be placed, for what is forgotten meanwhile, and for output that has no ends of lines."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from rq_sched.cli.logs import Printer
from rq_sched.cli.options import Invocation
from tests.cli.kit import Cli, HandCell
from tests.support import wait_for
from tests.support.records import alter, record_of, request

RUN = [sys.executable, str(Path(__file__).parents[2] / "cli.py")]


def warnings(err: str) -> list[str]:
    return [line.removeprefix("rq-sched: warning: ") for line in err.splitlines() if "warning: " in line]


def test_a_file_tells_once_of_all_that_no_node_could_hold(cli: Cli, hand: HandCell, tmp_path: Path):
    hand.node("n1", cpu=4, memory=1000, ttl=600)
    needs: list[dict[str, object]] = [
        {},
        {"cpu_needed": 8},
        {"memory_needed": 2048, "array": "1-100"},
        {"cpu_needed": 8},
        {"require": ["gpu"]},
    ]
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(json.dumps({"function": "m:f", **need}) + "\n" for need in needs))
    (said,) = warnings(cli("submit", "--from-file", str(file)).err)
    assert said.startswith("no node could hold 103 tasks even when empty: 100 need 1 CPU, 2 GB (line 3 first)")
    assert "2 need 8 CPU, 256 MB (line 2 first)" in said
    assert "1 needs 1 CPU, 256 MB, label gpu (line 5)" in said
    hand.node("n2", cpu=16, memory=4000, ttl=600, labels=["gpu"])
    assert warnings(cli("submit", "--from-file", str(file)).err) == []


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        ("none", "no node is up: tasks wait until a worker is started"),
        ("draining", "no node takes tasks: n1 is draining (`rq-sched undrain n1` takes it back)"),
        ("fault", "no node takes tasks: n1 is faulty: its folder is gone"),
        ("small", "no node could hold t1 even when empty: it needs 64 CPU, 256 MB"),
    ],
)
def test_it_is_told_what_a_task_waits_for(cli: Cli, hand: HandCell, prepare, said):
    if prepare != "none":
        hand.node("n1", ttl=600)
    if prepare == "draining":
        cli("drain", "n1")
    if prepare == "fault":
        hand.run(hand.store.node_fault("n1", "1", "its folder is gone"))
    (at_once,) = warnings(cli("submit", "m:f", "--id", "t1", "--cpu", "64" if prepare == "small" else "1").err)
    assert said in at_once
    hand.sweep()
    typed = cli("wait", "t1", "--timeout", "0.1", code=4)
    (waiting,) = warnings(typed.err)
    assert said in waiting
    assert typed.out == "1 pending\n"


def test_it_is_told_that_no_scheduler_is_at_work(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    cli("submit", "m:f", "--id", "t1", "--delay", "1h")
    typed = cli("wait", "t1", "--timeout", "0.1", code=4)
    assert warnings(typed.err) == [
        "waiting for a scheduler: no scheduler has ever been at work here: start one (`rq-sched scheduler`)"
    ]


def test_what_is_forgotten_while_it_is_waited_for_is_counted(cli: Cli, hand: HandCell, namespace: str, redis_url: str):
    ids = [f"t{n}" for n in range(5)]
    hand.submit(*ids)
    place = ["--redis", redis_url, "--namespace", namespace]
    wait = subprocess.Popen([*RUN, "--json", "wait", *ids, *place], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    keys = hand.store.keys
    wait_for(lambda: all("watch" in hand.link.run(record_of(keys, t)) for t in ids), 20)
    alter(hand.link.run, keys, *(request(t, watch=None) for t in ids[1:]))  # as if the doorbell were lost
    for task_id in ids:
        cli("cancel", "--no-requeue", task_id)
    cli("forget")
    out, err = wait.communicate(timeout=20)
    assert json.loads(out) == {"completed": 0, "failed": 0, "cancelled": 1, "pending": 0, "forgotten": 4}
    errors = [json.loads(line)["error"] for line in err.splitlines() if b"error" in line]
    assert [error["message"][:18] for error in errors] == ["4 tasks ended and "]
    assert wait.returncode == 3


def test_a_progress_bar_is_printed_as_it_comes(capsys: pytest.CaptureFixture[str]):
    printer = Printer(Invocation(), "t1", raw=False)
    shown = []
    for piece in (b"\r 10%|#", b" |\r", b" 20%|## |", b"\r\x1b[31m30%\xf0\x9f", b"\x90\x9f\r", b"\nnext \xff", b"\r"):
        printer.write(piece)
        shown.append(capsys.readouterr().out)
    assert shown == ["\r 10%|#", " |", "\r 20%|## |", "\r\\x1b[31m30%", "🐟", "\nnext \\xff", ""]
    printer.end()
    assert capsys.readouterr().out == "\r\n"


BAR = """
from rq_sched.cli.bar import progress_bar
from rq_sched.cli.failure import print_warning
with progress_bar("waiting", 10) as update:
    update(3, "3 done, 1 failed or cancelled, and more than has room here")
    print_warning("look at redis://" + "0123456789" * 8 + " [bold]now[/bold]", as_json=False)
"""


def test_a_warning_beside_the_bar_keeps_a_long_word_whole():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", BAR], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    raw = b""
    try:
        while piece := os.read(ours, 65536):
            raw += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(20) == 0
    shown = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).strip() for line in re.split(r"[\r\n]+", raw.decode())]
    assert "redis://" + "0123456789" * 8 in shown
    assert "[bold]now[/bold]" in shown
    bars = [line for line in shown if line.startswith("wa")]
    assert bars
    assert max(map(len, bars)) <= 40  # the bar itself is cut to the screen
