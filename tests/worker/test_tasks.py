"""How tasks of all kinds run and end on a real worker."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rq_sched.model.output import as_text
from rq_sched.model.states import Reason, State
from rq_sched.model.values import MAX_PAYLOAD
from tests.support import wait_for
from tests.worker.functions import UNKNOWN_MODULE
from tests.worker.kit import FUNCTIONS, Desk, Node


def test_functions(desk: Desk, node: Node) -> None:
    """Plain, marked and async ones, with arguments of all kinds."""
    assert desk.run("add", 1, 2).result == 3
    assert desk.run("add", 1, kwargs={"b": 3}).result == 4
    assert desk.run("marked", 1).result == 2
    assert desk.run("add_later", 1, 2).result == 3
    assert desk.run("add", "x" * 1000, "y" * 1000).result == "x" * 1000 + "y" * 1000
    assert desk.run("json:dumps", {"a": [1, None, 2.5]}).result == '{"a": [1, null, 2.5]}'


def test_a_child_stays_warm(desk: Desk, node: Node) -> None:
    first = desk.run("number_of_process").result
    assert desk.run("number_of_process").result == first
    assert node.children == [first]


def test_many_at_once(desk: Desk, node: Node) -> None:
    ids = [desk.submit("add", n, n) for n in range(200)]
    assert [desk.end(task_id).result for task_id in ids] == [2 * n for n in range(200)]
    assert len(node.children) <= 4


def test_what_is_left_in_the_event_loop_ends_with_its_task(desk: Desk, node: Node) -> None:
    assert desk.run("loop_of").state is State.COMPLETED
    assert desk.run("add_later", 1, 2).result == 3


@pytest.mark.parametrize(
    ("function", "args", "reason", "words"),
    [
        ("fail", ["of no use"], Reason.ERROR, ["Traceback", "in deeper", "ValueError: of no use"]),
        ("add", [1, 2, 3], Reason.ERROR, ["TypeError: add() takes"]),
        ("leave", [3], Reason.ERROR, ["SystemExit: 3"]),
        ("interrupt", [], Reason.ERROR, ["KeyboardInterrupt"]),
        ("unprintable", [], Reason.ERROR, ["Unprintable"]),
        ("recurse", [], Reason.ERROR, ["RecursionError", "more times"]),
        ("anything", [], Reason.UNSENDABLE, ["NotSerializable: the result can't be sent"]),
        ("many_bytes", [MAX_PAYLOAD], Reason.UNSENDABLE, ["PayloadTooLarge: the result has"]),
        ("needs_unknown", [], Reason.ERROR, [f"No module named '{UNKNOWN_MODULE}'"]),
        ("nothing_of_that_name", [], Reason.NOT_FOUND, [f"module {FUNCTIONS} on this node has no nothing_of_that"]),
        ("UNKNOWN_MODULE", [], Reason.NOT_FOUND, ["is a str, not a function"]),
        (f"{UNKNOWN_MODULE}:f", [], Reason.NOT_FOUND, [f"no module {UNKNOWN_MODULE}", "--chdir"]),
        (f"tests.{UNKNOWN_MODULE}:f", [], Reason.NOT_FOUND, [f"no module tests.{UNKNOWN_MODULE}"]),
        ("exec:false", [], Reason.EXIT_CODE, ["false ended with exit code 1"]),
        ("exec:sh", ["-c", "kill -SEGV $$"], Reason.EXIT_CODE, ["sh was killed by SIGSEGV"]),
        ("exec:no-such-command", [], Reason.NOT_FOUND, ["no command no-such-command on this node"]),
    ],
)
def test_failures(desk: Desk, node: Node, function: str, args: list[object], reason: Reason, words: list[str]) -> None:
    """Each with its reason and a text that helps; the child goes on."""
    before = desk.run("number_of_process").result
    info = desk.run(function, *args)
    assert (info.state, info.reason) == (State.FAILED, reason)
    assert info.error is not None
    for word in words:
        assert word in info.error
    assert "worker/runner.py" not in info.error
    assert len(info.error) < 17 * 1024
    assert desk.run("number_of_process").result == before


def test_commands(desk: Desk, node: Node, tmp_path: Path) -> None:
    info = desk.run("exec:sh", "-c", 'echo "$0 $1 $RQ_SCHED_TASK_ID"; exit 0', "a;b", 5, task_id="com-1")
    assert (info.state, info.result, info.exit_code) == (State.COMPLETED, 0, 0)
    assert desk.output("com-1") == "a;b 5 com-1\n"
    info = desk.run("exec:sh", "-c", "exit 7")
    assert (info.state, info.exit_code) == (State.FAILED, 7)
    assert desk.run(f"exec:{sys.executable}", "-c", "import sys; sys.stdin.read()").result == 0


def test_retries_are_only_for_what_may_pass(desk: Desk, node: Node) -> None:
    failing = desk.submit("fail", "once", retries=2)
    assert desk.until(failing, lambda info: info.state is State.DELAYED).retries_left == 1
    assert desk.run("nothing_of_that_name", retries=2).attempt == 1
    assert desk.run("anything", retries=2).attempt == 1


def test_output_is_kept_as_it_came(desk: Desk, node: Node) -> None:
    assert desk.run("speak", task_id="speaks").state is State.COMPLETED
    assert desk.output("speaks") == "one\ntwo\nthree\nfour\nfive"
    assert desk.run("add", 1, 2, task_id="silent").state is State.COMPLETED
    assert desk.output("silent") == ""


def test_each_task_has_its_own_output(desk: Desk, node: Node) -> None:
    ids = [desk.submit("say_my_name", task_id=f"t{n}") for n in range(200)]
    for task_id in ids:
        assert desk.end(task_id).state is State.COMPLETED
        assert desk.output(task_id) == f"I am {task_id}\n"


def test_of_much_output_the_end_is_kept(desk: Desk, node: Node) -> None:
    desk.run("speak_much", 20_000, task_id="loud")
    kept = desk.output("loud")
    assert kept.endswith("line 019999\n")
    assert 32 * 1024 <= len(kept) <= 128 * 1024


def test_output_comes_while_the_task_runs(desk: Desk, node: Node, tmp_path: Path) -> None:
    desk.submit("say_and_wait", str(tmp_path / "go"), task_id="live")
    wait_for(lambda: desk.output("live") == "so far so good\n", 10, lambda: (desk.info("live"), node.log))
    (tmp_path / "go").touch()
    assert desk.end("live").state is State.COMPLETED
    assert desk.output("live") == "so far so good\n"


def test_a_task_cannot_close_the_next_ones_output(desk: Desk, node: Node) -> None:
    process = desk.run("number_of_process").result
    desk.run("close_output")
    desk.run("speak", task_id="speaks")
    assert desk.run("number_of_process").result == process
    assert desk.output("speaks") == "one\ntwo\nthree\nfour\nfive"


def test_environment(desk: Desk, node: Node) -> None:
    names = ("RQ_SCHED_TASK_ID", "RQ_SCHED_ATTEMPT", "RQ_SCHED_CPUS", "RQ_SCHED_MEMORY_MB", "OMP_NUM_THREADS")
    told = desk.run("environment", *names, task_id="env-1", cpu_needed=2, memory_needed=300).result
    assert told == ["env-1", "1", "2", "300", "2"]
    told = desk.run("environment", *names, task_id="env-2", cpu_needed=3).result
    assert told == ["env-2", "1", "3", "256", "3"]


def test_a_task_submits_where_it_runs_itself(desk: Desk, node: Node) -> None:
    """Though nothing but the worker's option said where Redis is."""
    assert desk.run("submits", f"{FUNCTIONS}:add", 1, 2).result == "from-inside"
    assert desk.end("from-inside").result == 3
    names = ("RQ_SCHED_REDIS_URL", "RQ_SCHED_NAMESPACE")
    assert desk.run("environment", *names).result == [desk.url, desk.store.keys.namespace]


def test_the_address_of_redis_can_be_hidden_from_tasks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQ_SCHED_REDIS_URL", desk.url)
    monkeypatch.setenv("REDIS_URL", "redis://the.applications.own/0")
    monkeypatch.setenv("RQ_SCHED_SIGNING_KEY", "a key of at least 16 characters")
    desk.node(share_redis=False)
    names = ("RQ_SCHED_REDIS_URL", "REDIS_URL", "RQ_SCHED_SIGNING_KEY")
    assert desk.run("environment", *names).result == [None, "redis://the.applications.own/0", None]


def test_each_task_begins_in_the_same_folder(desk: Desk, tmp_path: Path) -> None:
    desk.node(chdir=str(tmp_path))
    (tmp_path / "near.py").write_text("def f():\n    return 'near'\n")
    assert desk.run("near:f").result == "near"  # the folder comes first, and may change
    (tmp_path / "nearer.py").write_text("import os\ndef f(to):\n    was = os.getcwd(); os.chdir(to); return was\n")
    assert desk.run("nearer:f", "/").result == str(tmp_path)
    assert desk.run("nearer:f", "/").result == str(tmp_path)


def test_only_what_is_allowed(desk: Desk, tmp_path: Path) -> None:
    desk.node(allow=(f"{FUNCTIONS}:add", "exec:/bin/true"))
    assert desk.run("add", 1, 2).result == 3
    assert desk.run("exec:/bin/true").state is State.COMPLETED
    for target, hint in [("sleep", f"{FUNCTIONS}:sleep"), ("os:system", "os:system"), ("exec:/bin/sh", "exec:/bin/sh")]:
        info = desk.run(target, str(tmp_path / "out"), retries=3)
        assert (info.state, info.reason, info.attempt) == (State.FAILED, Reason.NOT_ALLOWED, 1)
        assert f"--allow '{hint}'" in (info.error or "")


def test_what_is_not_allowed_is_not_imported(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "harmful.py").write_text("open('harm', 'w').close()\ndef f(): ...\n")
    desk.node(allow=("harmless:*",), chdir=str(tmp_path))
    assert desk.run("harmful:f").reason == Reason.NOT_ALLOWED
    assert not (tmp_path / "harm").exists()


def test_a_task_may_use_multiprocessing(desk: Desk, node: Node) -> None:
    info = desk.run("squares", 5, task_id="t")
    assert info.result == [0, 1, 4, 9, 16], info.error
    assert desk.output("t") == ""  # its workers end without a word


def test_a_task_that_writes_to_our_socket_only_harms_itself(desk: Desk, node: Node) -> None:
    agent = node.agent
    for data in (b"hello", b"\x96\x0b\xa6poison\xc0\xc0\xc0\xc2", b"\x92\x0c\xcb\xff\xf0\0\0\0\0\0\0", b"\x91\x63"):
        info = desk.run("write_to_socket", data, crash_limit=1)
        assert info.reason == Reason.POISON
    assert desk.run("add", 1, 2).result == 3
    assert node.agent == agent


def test_the_output_of_attempts_is_set_apart(desk: Desk):
    desk.node()
    task_id = desk.submit("exec:/bin/sh", "-c", "echo said $RQ_SCHED_ATTEMPT; exit 3", retries=1)
    assert desk.end(task_id).attempt == 2
    assert as_text(desk.link.run(desk.store.log(task_id))) == "said 1\n[attempt 2]\nsaid 2\n"
