"""Durability levels on real servers. (Replicas and failovers: tests/faults/test_sentinel.py.)"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rq_sched.client.awaiting import AsyncClient
from rq_sched.client.blocking import Client
from rq_sched.errors import DurabilityNotReached, InvalidValue, RedisRefused
from rq_sched.link import Barrier, Command, Link, Op
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.process.environment import durability_level
from rq_sched.store import Store
from tests.cli.kit import Cli
from tests.faults.servers import Server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server") as server:
        yield server


def calls(server: Server, command: str) -> int:
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", server.ask("INFO", "commandstats").decode())
    return int(found[1]) if found else 0


def requests(count: int) -> list[TaskRequest]:
    return [TaskRequest("math:sqrt", [n], task_id=f"t{n}") for n in range(count)]


@pytest.mark.parametrize(
    ("text", "level"),
    [(None, "memory"), ("aof", "aof"), ("replicated", "replicated:1"), ("replicated:3", "replicated:3")],
)
def test_levels(text: str | None, level: str) -> None:
    assert str(durability_level(text)) == level


@pytest.mark.parametrize("text", ["disk", "aof:2", "replicated:", "replicated:0", "replicated:x", "memory:1"])
def test_what_is_no_level(text: str) -> None:
    with pytest.raises(InvalidValue, match="durability must be"):
        durability_level(text)


def test_the_environment_says_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQ_SCHED_DURABILITY", "aof")
    assert str(durability_level()) == "aof"


def test_one_wait_for_a_thousand_tasks(own: Server) -> None:
    with Client(own.url, "t", durability="aof") as client:
        client.submit("math:sqrt", 1)  # the server learns the script
        before = calls(own, "waitaof")
        assert len(client.submit_many(requests(1000))) == 1000
        assert calls(own, "waitaof") == before + 1
        client.submit_many(requests(1000))  # all the same: nothing is written, and waited for all the same
        assert calls(own, "waitaof") == before + 2
    with Client(own.url, "t") as client:
        client.submit("math:sqrt", 1)
        assert (calls(own, "waitaof"), calls(own, "wait")) == (before + 2, 0)  # who asks for nothing pays nothing


def test_the_async_client_and_the_executor_wait_too(own: Server) -> None:
    async def submit() -> None:
        async with AsyncClient(own.url, "t", durability="aof") as client:
            await client.submit("math:sqrt", 1)

    async def submit_in_vain() -> None:
        async with AsyncClient(own.url, "t", durability="replicated", durability_timeout=0.2) as client:
            with pytest.raises(DurabilityNotReached):
                await client.submit("math:sqrt", 1)

    asyncio.run(submit())
    assert calls(own, "waitaof") >= 1
    asyncio.run(submit_in_vain())
    with Client(own.url, "t", durability="replicated", durability_timeout=0.2) as client, client.executor() as pool:
        future = pool.submit("math:sqrt", 1)
        with pytest.raises(DurabilityNotReached):
            future.result(20)


def test_a_server_that_forgets_nothing_on_purpose_is_refused(tmp_path: Path) -> None:
    with (
        Server(tmp_path / "server", {"appendonly": "no"}) as server,
        Client(server.url, "t", durability="aof") as client,
    ):
        with pytest.raises(RedisRefused, match="append-only file is off"):
            client.submit("math:sqrt", 1, task_id="t")
        assert client.states(["t"]) == [None]
        client.close()


def test_the_task_is_accepted_and_the_rest_of_a_stream_is_not(own: Server) -> None:
    with Client(own.url, "t", durability="replicated", durability_timeout=0.2) as client:
        taken: list[str] = []
        with pytest.raises(DurabilityNotReached, match="1000 tasks are accepted.*0 of 1 replicas") as caught:
            taken.extend(handle.id for handle in client.submit_stream(requests(1500)))
        assert len(taken) == len(caught.value.task_ids) == 1000
        assert client.states(["t0", "t999", "t1000"]) == [State.PENDING, State.PENDING, None]


def test_a_script_that_the_server_forgot_is_waited_for_too(own: Server) -> None:
    """Sent again, it writes after the first wait was answered: the wait is sent again as well."""
    store = Store("t")
    link = Link(own.url)

    def op() -> Op[list[Any]]:
        submit = store.call("task_submit", "n", 0, "", "t1", "1:1", "digest", "run=m:f\nwith=")
        wait: Command = ("WAITAOF", 1, 0, 1000)
        return (yield [submit, Barrier(wait)])

    assert link.run(op()) == [[1], [1, 0]]
    assert calls(own, "waitaof") == 2
    link.close()


def test_the_command_line(own: Server, cli: Cli, tmp_path: Path) -> None:
    base = ("--redis", own.url, "--namespace", "t")
    cli(*base, "submit", "--id", "safe", "--durability", "aof", "math:sqrt", ":=1")
    late = cli(*base, "submit", "--id", "late", "--durability", "replicated", "--durability-timeout", "100ms",
               "math:sqrt", ":=1", code=4)  # fmt: skip
    assert "task late is accepted, but not (yet) as safe as asked for: 0 of 1 replicas" in late.err
    assert cli.json(*base, "status", "late").one["state"] == "pending"
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"function": "math:sqrt", "args": [1], "task_id": "f1"}\n' * 2)
    words = ("submit", "--from-file", str(file), "--durability", "replicated", "--durability-timeout", "100ms")
    assert "lines 1 to 2: " in cli(*base, *words, code=4).err
    assert "durability must be" in cli(*base, "submit", "--durability", "x", "math:sqrt", code=2).err


@pytest.mark.full
@pytest.mark.parametrize(("fsync", "accepted"), [("always", True), ("everysec", False)])
def test_debian_s_redis_has_no_waitaof(tmp_path: Path, fsync: str, accepted: bool) -> None:
    binary = Path("/usr/bin/redis-server")
    with Server(tmp_path / "server", {"appendfsync": fsync}, binary=binary) as server:
        with Client(server.url, "t", durability="aof") as client:
            if accepted:
                client.submit("math:sqrt", 1, task_id="t")
            else:
                with pytest.raises(RedisRefused, match="has no WAITAOF: set appendfsync always"):
                    client.submit("math:sqrt", 1, task_id="t")
            assert client.states(["t"]) == [State.PENDING if accepted else None]
