"""A script that doesn't end blocks Redis for everybody: schedulers stop it, and nobody is taken for dead meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.faults.servers import Server
from tests.support import wait_for
from tests.system.test_acl import ACL, ROLES, url

ENDLESS = "#!lua flags=no-writes\nwhile true do end"
WRITES = "redis.call('SET', KEYS[1], '1') while true do end"
LIBRARY = f"""#!lua name=strange
redis.register_function{{function_name='endless', flags={{'no-writes'}}, callback=function() while true do end end}}
redis.register_function{{function_name='writes', callback=function(KEYS) {WRITES} end}}
"""


@pytest.fixture
def server(tmp_path: Path, server_binary: Path | None) -> Iterator[Server]:
    users = "".join((ACL / f"{role}.acl").read_text().replace("CHANGE-ME", f"pass-{role}") for role in ROLES)
    (tmp_path / "users.acl").write_text(f"user default on >admin ~* &* +@all\n{users}")
    settings = {"aclfile": str(tmp_path / "users.acl"), "busy-reply-threshold": "700"}
    server = Server(tmp_path / "server", settings, binary=server_binary)
    server.url = f"redis://default:admin@127.0.0.1:{server.port}/0"
    with server:
        server.ask("FUNCTION", "LOAD", LIBRARY)
        yield server


@pytest.fixture
def cluster(server: Server, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(server.url, Store("blocked"), tmp_path) as cluster:
        cluster.url = url(server, "scheduler")
        cluster.scheduler("s1")
        cluster.url = url(server, "worker")
        cluster.node("n1", 2, 4096, ttl=5.0)
        cluster.run(cluster.store.submit([TaskRequest("time:sleep", [8.0], task_id="long").check()]))
        wait_for(lambda: state(cluster, "long") is State.RUNNING, 20, cluster.logs)
        yield cluster


class Runner(threading.Thread):
    """Asks something that the server doesn't answer soon."""

    def __init__(self, server: Server, *words: str) -> None:
        super().__init__(daemon=True)
        self._driver = driver(server)
        self._words = words
        self.said = ""
        self.start()

    def run(self) -> None:
        try:
            self._driver.execute_command(*self._words)
        except redis.RedisError as error:
            self.said = str(error)


def driver(server: Server) -> Any:
    """A client that asks nothing but what it is told to, and waits."""
    return redis.Redis.from_url(server.url, socket_timeout=60, retry=None, protocol=2)


def state(cluster: Cluster, task_id: str) -> State | None:
    return cluster.run(cluster.store.states([task_id]))[0]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("FCALL_RO", "endless", "0"), "script=endless"),
        (("EVAL", ENDLESS, "0"), "script=sent by EVAL"),
        (("EVAL_RO", "while true do end", "0"), "script=sent by EVAL"),
    ],
)
def test_an_endless_script_is_stopped(server: Server, cluster: Cluster, words: tuple[str, ...], named: str) -> None:
    runner = Runner(server, *words)
    runner.join(30)
    assert "killed by user" in runner.said
    wait_for(lambda: "a script blocked Redis: it was stopped" in cluster.log("s1"), 10, cluster.logs)
    assert named in cluster.log("s1")
    cluster.run(cluster.store.submit([TaskRequest("math:sqrt", [16.0], task_id="next").check()]))
    wait_for(lambda: state(cluster, "next") is State.COMPLETED, 30, cluster.logs)
    wait_for(lambda: state(cluster, "long") is State.COMPLETED, 30, cluster.logs)
    (info,) = cluster.run(cluster.store.status(["long"]))
    assert info is not None
    assert (info.attempt, info.crashes) == (1, 0)
    assert "node died" not in cluster.log("s1")


def test_a_scheduler_that_is_started_then_stops_it_too(server: Server, tmp_path: Path) -> None:
    with Cluster(server.url, Store("blocked"), tmp_path) as cluster:
        runner = Runner(server, "FCALL_RO", "endless", "0")
        wait_for(lambda: "BUSY" in _said(server), 10)
        cluster.url = url(server, "scheduler")
        cluster.scheduler("s1")
        runner.join(10)
        assert "killed by user" in runner.said


def _said(server: Server) -> str:
    try:
        driver(server).ping()
    except redis.RedisError as error:
        return str(error)
    return ""


def test_one_that_has_written_cant_be_stopped_and_the_log_says_what_to_do(server: Server, cluster: Cluster) -> None:
    Runner(server, "FCALL", "writes", "1", "rqs:{other}:x")
    wait_for(lambda: "can't be stopped" in cluster.log("s1"), 30, lambda: cluster.log("s1"))
    assert "script=writes" in cluster.log("s1")
    with contextlib.suppress(redis.ConnectionError):
        driver(server).execute_command("SHUTDOWN", "NOSAVE")
    wait_for(lambda: server.process is not None and server.process.poll() is not None, 10)
    server.start()
    cluster.run(cluster.store.submit([TaskRequest("math:sqrt", [16.0], task_id="next").check()]))
    wait_for(lambda: state(cluster, "next") is State.COMPLETED, 30, cluster.logs)
    assert server.ask("EXISTS", "rqs:{other}:x") == 0


def test_who_may_not_stop_it_says_what_is_missing(server: Server, cluster: Cluster) -> None:
    server.ask("ACL", "SETUSER", "rqs-scheduler", "-function|stats", "-function|kill", "-script|kill")
    runner = Runner(server, "EVAL", ENDLESS, "0")
    wait_for(lambda: "+function|stats +function|kill +script|kill" in cluster.log("s1"), 30, cluster.logs)
    driver(server).execute_command("SCRIPT", "KILL")
    runner.join(10)
    assert "killed by user" in runner.said
