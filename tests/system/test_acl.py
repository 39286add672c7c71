"""The users of deploy/acl, on a real server that enforces them: all that rq-sched does works, and nothing more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rq_sched.errors import FunctionsMissing, RedisRefused
from rq_sched.link import AsyncLink, Link, Op
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.cli.kit import Cli
from tests.faults.cluster import Cluster
from tests.faults.servers import Server
from tests.support import wait_for

ACL = Path(__file__).parents[2] / "deploy" / "acl"
ROLES = ("scheduler", "worker", "client", "operator", "observer")
FORBIDDEN = (
    ("CONFIG", "GET", "dir"),
    ("CONFIG", "SET", "dir", "/"),
    ("KEYS", "*"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("DEBUG", "SLEEP", "0"),
    ("SHUTDOWN",),
    ("ACL", "LIST"),
    ("REPLICAOF", "NO", "ONE"),
    ("MODULE", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "LIST"),
    ("CLIENT", "TRACKING", "ON"),
    ("CLIENT", "CACHING", "YES"),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "LOAD", "return 1"),
    ("EVAL", "return 1", "0"),
    ("EVAL_RO", "return 1", "0"),
    ("EVALSHA", "0" * 40, "1", "rqs:{acl}:"),
    ("EVALSHA_RO", "0" * 40, "1", "rqs:{acl}:"),
    ("RANDOMKEY",),
    ("DUMP", "rqs:{acl}:x"),
    ("RESTORE", "rqs:{acl}:x", "0", ""),
    ("SORT", "rqs:{acl}:x"),
    ("LCS", "rqs:{acl}:x", "rqs:{acl}:y"),
    ("COPY", "rqs:{acl}:x", "rqs:{acl}:y"),
    ("SETRANGE", "rqs:{acl}:x", "536870911", "x"),
    ("PSUBSCRIBE", "*"),
    ("FUNCTION", "LIST"),
    ("FUNCTION", "FLUSH"),
    ("FUNCTION", "DELETE", "rqs_place"),
    ("MONITOR",),
    ("SAVE",),
    ("GET", "other"),
    ("SET", "other", "1"),
    ("DEL", "other"),
)
WRITES = (
    ("SET", "rqs:{acl}:x", "1"),
    ("DEL", "rqs:{acl}:x"),
    ("FCALL", "rqs_place", "1", "rqs:{acl}:"),
)
ONLY = (  # which roles may
    (("FUNCTION", "LOAD", "#!lua name=x"), {"scheduler"}),
    (("FUNCTION", "KILL"), {"scheduler"}),
    (("FUNCTION", "STATS"), {"scheduler"}),
    (("SCRIPT", "KILL"), {"scheduler"}),
    (("BLPOP", "rqs:{acl}:wake", "1"), {"scheduler"}),
    (("SUBSCRIBE", "__keyevent@0__:expired"), {"scheduler"}),
    (("SCAN", "0"), {"operator"}),
    (("SUBSCRIBE", "rqs:{acl}:bell:n1"), {"scheduler", "worker", "client", "operator"}),
    (("PUBLISH", "rqs:{acl}:bell:n1", "an order"), {"scheduler", "worker", "client", "operator"}),  # who may ring
    (
        ("RPUSH", "rqs:{acl}:node:n1:a0:orders", "an order"),
        {"scheduler", "worker", "client", "operator"},
    ),  # and write it
    (("FCALL", "x", "1", "rqs:{acl}:"), {"scheduler", "worker", "client", "operator"}),
    (("FCALL_RO", "x", "1", "rqs:{acl}:"), set(ROLES)),
)


@pytest.fixture
def guarded(tmp_path: Path, server_binary: Path | None) -> Iterator[Server]:
    users = "".join((ACL / f"{role}.acl").read_text().replace("CHANGE-ME", f"pass-{role}") for role in ROLES)
    (tmp_path / "users.acl").write_text(f"user default on >admin ~* &* +@all\n{users}")
    server = Server(tmp_path / "server", {"aclfile": str(tmp_path / "users.acl")}, binary=server_binary)
    server.url = f"redis://default:admin@127.0.0.1:{server.port}/0"
    with server:
        yield server


def url(server: Server, role: str) -> str:
    return f"redis://rqs-{role}:pass-{role}@127.0.0.1:{server.port}/0"


@pytest.mark.parametrize("role", ROLES)
def test_what_nobody_may(guarded: Server, role: str) -> None:
    for command in (*FORBIDDEN, *(WRITES if role == "observer" else ())):
        answer = guarded.ask("ACL", "DRYRUN", f"rqs-{role}", *command)
        assert b"no permissions" in answer, command


def test_what_only_some_may(guarded: Server) -> None:
    for command, roles in ONLY:
        allowed = {role for role in ROLES if guarded.ask("ACL", "DRYRUN", f"rqs-{role}", *command) == b"OK"}
        assert allowed == roles, command


@pytest.mark.parametrize("role", ROLES[:4])
def test_a_dry_run_can_say_yes(guarded: Server, role: str) -> None:
    for command in WRITES:
        assert guarded.ask("ACL", "DRYRUN", f"rqs-{role}", *command) == b"OK"


def test_all_that_rq_sched_does_works(guarded: Server, tmp_path: Path, cli: Cli) -> None:
    store = Store("acl")
    with Cluster(guarded.url, store, tmp_path) as cluster:
        cluster.url = url(guarded, "scheduler")
        cluster.scheduler("s1")
        cluster.url = url(guarded, "worker")
        cluster.node("n1", 4, 4096, ttl=1.0)
        doctor = int(guarded.info("redis_version").startswith("7.0."))  # Debian's: old, and it says so
        _as_client(cli, tmp_path, doctor, "--redis", url(guarded, "client"), "--namespace", "acl")
        _as_observer(cli, "--redis", url(guarded, "observer"), "--namespace", "acl")
        _as_operator(cli, cluster, doctor, "--redis", url(guarded, "operator"), "--namespace", "acl")
        cluster.url = guarded.url
        cluster.kill("n1")  # its death is noticed, and what it ran given back
        wait_for(lambda: "node died" in cluster.log("s1"), 20, cluster.logs)
    denied = {entry[entry.index(b"username") + 1] for entry in guarded.ask("ACL", "LOG")}
    assert denied <= {b"rqs-observer", b"rqs-client", b"rqs-operator"}
    objects = {
        (entry[entry.index(b"username") + 1], entry[entry.index(b"object") + 1]) for entry in guarded.ask("ACL", "LOG")
    }
    doctors = {b"config|get", b"acl|list", b"acl|getuser"}  # it looks, and does without
    assert {object for user, object in objects if user == b"rqs-client"} <= {*doctors, b"scan"}
    assert {object for user, object in objects if user == b"rqs-operator"} <= doctors


def _as_client(cli: Cli, tmp_path: Path, doctor: int, *base: str) -> None:
    durable = () if doctor else ("--durability", "aof")  # 7.0 has no WAITAOF, and a client may not see appendfsync
    cli(*base, "submit", "--id", "t1", "math:sqrt", ":=16", "--wait", *durable)
    cli(*base, "submit", "--id", "slow", "--cpu", "2", "--", "sleep", "60")
    lines = tmp_path / "tasks.jsonl"
    lines.write_text('{"function": "math:sqrt", "args": [4], "task_id": "f1"}\n')
    cli(*base, "submit", "--from-file", str(lines), "--wait")
    cli(*base, "submit", "--id", "late", "--delay", "1h", "math:sqrt", ":=1")
    cli(*base, "every", "often", "--interval", "1", "math:sqrt", ":=16")
    cli(*base, "schedules", "run", "often")
    cli(*base, "schedules", "pause", "often")
    cli(*base, "schedules", "remove", "often")
    cli(*base, "submit", "--id", "large", "--cpu", "9", "math:sqrt", ":=1")
    cli(*base, "submit", "--dry-run", "math:sqrt", ":=1")
    cli(*base, "hold", "late")
    cli(*base, "unhold", "late")
    cli(*base, "priority", "--to", "5", "large")
    cli(*base, "cancel", "late", "--no-requeue")
    cli(*base, "requeue", "late")
    cli(*base, "wait", "late")
    cli(*base, "submit", "--id", "array", "--array", "1-9", "--cpu", "2", "--", "sleep", "60")
    cli(*base, "priority", "--to=-1", "array/7")
    cli(*base, "explain", "array/8")
    cli(*base, "cancel", "--no-requeue", "array")
    cli(*base, "forget", "array")
    cli(*base, "submit", "--id", "array", "--array", "1-9", "--cpu", "9", "math:sqrt", ":=1")
    cli(*base, "drain", "n1")
    cli(*base, "undrain", "n1")
    cli(*base, "reload", "n1")
    cli(*base, "settings", "aging", "0")
    _look(cli, *base)
    cli(*base, "forget", "f1")


def _as_operator(cli: Cli, cluster: Cluster, doctor: int, *base: str) -> None:
    _look(cli, *base)
    cli(*base, "submit", "--id", "o1", "--cpu", "9", "math:sqrt", ":=16")
    cluster.run(_command("HSET", "rqs:{acl}:counts", "pending", "77"))
    cluster.run(_command("ZADD", "rqs:{acl}:held", "1", "nobody"))
    assert "held" in cli(*base, "doctor", code=1).out  # looked into at one instant: MULTI
    assert "repaired: 2 things" in cli(*base, "doctor", "--repair", code=doctor).out
    cli(*base, "doctor", code=doctor)
    cli(*base, "cancel", "--no-requeue", "o1")
    cli(*base, "forget", "--state", "cancelled")


def _command(*words: str) -> Op[Any]:
    return (yield [words])[0]


def _as_observer(cli: Cli, *base: str) -> None:
    _look(cli, *base)
    said = cli(*base, "doctor", code=1).out
    assert "may not list keys (SCAN)" in " ".join(said.split())
    for words in (("submit", "math:sqrt"), ("cancel", "large"), ("drain", "n1"), ("settings", "aging", "1")):
        refused = cli(*base, *words, code=69)
        assert "refused a command to this user" in refused.err


def _look(cli: Cli, *base: str) -> None:
    for words in (
        ("status", "t1"), ("list",), ("result", "t1"), ("logs", "t1"), ("explain", "large"), ("nodes",), ("info",),
        ("events",), ("inspect",), ("inspect", "t1"), ("inspect", "n1"), ("settings",),
        ("status", "array", "array/3"), ("explain", "array"),
    ):  # fmt: skip
        cli(*base, *words)


def _calls(server: Server, verb: str) -> int:
    found = re.search(rf"cmdstat_{verb}:calls=(\d+)", server.ask("INFO", "commandstats").decode())
    return int(found[1]) if found else 0


@pytest.mark.parametrize("without", ["+fcall +fcall_ro", "+function|load"])
def test_users_without_functions_send_scripts(guarded: Server, without: str) -> None:
    """Those of a server that several share, which may load scripts instead."""
    rights = (ACL / "scheduler.acl").read_text().split(" on ")[1].replace(without + " ", "").split()
    guarded.ask(
        "ACL", "SETUSER", "rqs-other", "on", ">pass-other", *rights[1:], "+evalsha", "+evalsha_ro", "+script|load"
    )
    link = Link(url(guarded, "other"))
    store = Store("acl")
    assert link.run(store.submit([TaskRequest("m:f", task_id=f"t{i}").check() for i in range(200)])) == ["new"] * 200
    assert link.run(store.explain("t0")) is not None
    link.close()
    assert _calls(guarded, "evalsha") >= 4
    assert _calls(guarded, "evalsha_ro") >= 1


def test_who_may_not_load_says_who_does_and_works_once_that_is_done(guarded: Server) -> None:
    link = Link(url(guarded, "client"))
    submit = [TaskRequest("m:f", task_id="t1").check()]
    with pytest.raises(FunctionsMissing, match="start a scheduler of this version"):
        link.run(Store("acl").submit(submit))
    asyncio.run(_load_as_scheduler(guarded))
    assert link.run(Store("acl").submit(submit)) == ["new"]
    link.close()


def test_a_worker_that_is_started_first_waits_for_a_scheduler(guarded: Server, tmp_path: Path) -> None:
    with Cluster(guarded.url, Store("acl"), tmp_path) as cluster:
        cluster.url = url(guarded, "worker")
        cluster.launch_node("n1", 1, 1024)
        wait_for(lambda: "start a scheduler of this version" in cluster.log("n1"), 20, cluster.logs)
        cluster.url = url(guarded, "scheduler")
        cluster.scheduler("s1")
        wait_for(lambda: cluster.info("n1"), 20, cluster.logs)


def test_a_refusal_leaves_the_rest_of_an_observers_calls_alone(guarded: Server) -> None:
    asyncio.run(_load_as_scheduler(guarded))
    link = Link(url(guarded, "observer"))
    with pytest.raises(RedisRefused, match="refused a command to this user"):
        link.run(Store("acl").submit([TaskRequest("m:f").check()]))
    client = Link(url(guarded, "client"))
    client.run(Store("acl").submit([TaskRequest("m:f", task_id="t1").check()]))
    client.close()
    assert link.run(Store("acl").explain("t1")) is not None  # FCALL_RO
    link.close()


async def _load_as_scheduler(server: Server) -> None:
    link = AsyncLink(url(server, "scheduler"), for_all=True)
    await link.run(Store("acl").place(1))
    await link.close()


def test_a_scheduler_loads_the_functions_for_those_who_may_not(guarded: Server) -> None:
    asyncio.run(_load_as_scheduler(guarded))
    link = Link(url(guarded, "client"))
    link.run(Store("acl").submit([TaskRequest("m:f").check()]))
    link.close()
    assert _calls(guarded, "fcall") >= 2
    assert _calls(guarded, "evalsha") == 0
