"""The users of deploy/acl, on a real server that enforces them: all that rq-sched does works, and nothing more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rq_sched.link import AsyncLink, Link
from rq_sched.store import Store
from rq_sched.task import TaskRequest
from tests.faults.cluster import Cluster
from tests.faults.servers import Server
from tests.service.cli_kit import Cli
from tests.support import wait_for

ACL = Path(__file__).parents[2] / "deploy" / "acl"
ROLES = ("scheduler", "worker", "client", "observer")
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
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
    ("EVAL", "return 1", "0"),
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
    ("EVALSHA", "0" * 40, "1", "rqs:{acl}:"),
    ("FCALL", "rqs_place", "1", "rqs:{acl}:"),
)
LOADS = ("FUNCTION", "LOAD", "#!lua name=x")


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


def test_only_schedulers_may_load_functions_as_they_run_with_the_rights_of_who_calls(guarded: Server) -> None:
    answers = {role: guarded.ask("ACL", "DRYRUN", f"rqs-{role}", *LOADS) for role in ROLES}
    assert [role for role, answer in answers.items() if answer == b"OK"] == ["scheduler"]


@pytest.mark.parametrize("role", ROLES[:3])
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
        _as_observer(cli, doctor, "--redis", url(guarded, "observer"), "--namespace", "acl")
        cluster.url = guarded.url
        cluster.kill("n1")  # its death is noticed, and what it ran given back
        wait_for(lambda: "node died" in cluster.log("s1"), 20, cluster.logs)
    denied = {entry[entry.index(b"username") + 1] for entry in guarded.ask("ACL", "LOG")}
    assert denied <= {b"rqs-observer", b"rqs-client"}
    objects = {
        (entry[entry.index(b"username") + 1], entry[entry.index(b"object") + 1]) for entry in guarded.ask("ACL", "LOG")
    }
    allowed = {(b"rqs-client", b"config|get"), (b"rqs-client", b"acl|list"), (b"rqs-client", b"acl|getuser")}
    assert {pair for pair in objects if pair[0] == b"rqs-client"} <= allowed  # the doctor looks, and does without


def _as_client(cli: Cli, tmp_path: Path, doctor: int, *base: str) -> None:
    durable = () if doctor else ("--durability", "aof")  # 7.0 has no WAITAOF, and a client may not see appendfsync
    cli(*base, "submit", "--id", "t1", "math:sqrt", ":=16", "--wait", *durable)
    cli(*base, "submit", "--id", "slow", "--cpu", "2", "--", "sleep", "60")
    lines = tmp_path / "tasks.jsonl"
    lines.write_text('{"function": "math:sqrt", "args": [4], "task_id": "f1"}\n')
    cli(*base, "submit", "--from-file", str(lines), "--wait")
    cli(*base, "submit", "--id", "late", "--delay", "1h", "math:sqrt", ":=1")
    cli(*base, "submit", "--id", "large", "--cpu", "9", "math:sqrt", ":=1")
    cli(*base, "submit", "--dry-run", "math:sqrt", ":=1")
    cli(*base, "hold", "late")
    cli(*base, "unhold", "late")
    cli(*base, "priority", "large", "5")
    cli(*base, "cancel", "late", "--no-requeue")
    cli(*base, "requeue", "late")
    cli(*base, "wait", "late")
    cli(*base, "submit", "--id", "array", "--array", "1-9", "--cpu", "2", "--", "sleep", "60")
    cli(*base, "priority", "array/7", "-1")
    cli(*base, "explain", "array/8")
    cli(*base, "cancel", "--no-requeue", "array")
    cli(*base, "forget", "array")
    cli(*base, "submit", "--id", "array", "--array", "1-9", "--cpu", "9", "math:sqrt", ":=1")
    cli(*base, "drain", "n1")
    cli(*base, "undrain", "n1")
    cli(*base, "settings", "aging", "0")
    _look(cli, doctor, *base)
    cli(*base, "forget", "f1")


def _as_observer(cli: Cli, doctor: int, *base: str) -> None:
    _look(cli, doctor, *base)
    for words in (("submit", "math:sqrt"), ("cancel", "large"), ("drain", "n1"), ("settings", "aging", "1")):
        refused = cli(*base, *words, code=69)
        assert "refused a command to this user" in refused.err


def _look(cli: Cli, doctor: int, *base: str) -> None:
    for words in (
        ("status", "t1"), ("list",), ("result", "t1"), ("logs", "t1"), ("explain", "large"), ("nodes",), ("info",),
        ("events",), ("inspect",), ("inspect", "t1"), ("inspect", "n1"), ("settings",),
        ("status", "array", "array/3"), ("explain", "array"),
    ):  # fmt: skip
        cli(*base, *words)
    cli(*base, "doctor", code=doctor)


def _calls(server: Server, verb: str) -> int:
    found = re.search(rf"cmdstat_{verb}:calls=(\d+)", server.ask("INFO", "commandstats").decode())
    return int(found[1]) if found else 0


@pytest.mark.parametrize("without", ["+fcall +fcall_ro", "+function|load"])
def test_users_without_functions_send_scripts(guarded: Server, without: str) -> None:
    """Those of an earlier version, or of a server that several share."""
    rights = (ACL / "scheduler.acl").read_text().split(" on ")[1].replace(without + " ", "").split()
    guarded.ask("ACL", "SETUSER", "rqs-older", "on", ">pass-older", *rights[1:])
    link = Link(url(guarded, "older"))
    store = Store("acl")
    assert link.run(store.submit([TaskRequest("m:f", task_id=f"t{i}").check() for i in range(200)])) == ["new"] * 200
    assert link.run(store.explain("t0")) is not None
    link.close()
    assert _calls(guarded, "evalsha") >= 4
    assert _calls(guarded, "evalsha_ro") >= 1


def test_a_scheduler_loads_the_functions_for_those_who_may_not(guarded: Server) -> None:
    async def scheduler() -> None:
        link = AsyncLink(url(guarded, "scheduler"), for_all=True)
        await link.run(Store("acl").place(1))
        await link.close()

    asyncio.run(scheduler())
    link = Link(url(guarded, "client"))
    link.run(Store("acl").submit([TaskRequest("m:f").check()]))
    link.close()
    assert _calls(guarded, "fcall") >= 2
    assert _calls(guarded, "evalsha") == 0
