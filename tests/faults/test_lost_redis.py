"""Whatever befalls Redis or the line to it: a scheduler and a worker live through it, say so in one line, and go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rq_sched import audit
from rq_sched.client.blocking import Client
from rq_sched.errors import RedisFull, RedisNotReady, RedisUnavailable, RqSchedError
from rq_sched.link import Link
from rq_sched.model.states import State
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.faults.proxy import Proxy
from tests.faults.servers import Server
from tests.support import wait_for

BUSY = "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < ARGV[1] + 0 do end return 1"


class World:
    """A server behind a proxy, a scheduler, a worker, a client; all but the test go through the proxy."""

    def __init__(self, server: Server, proxy: Proxy, cluster: Cluster, client: Client) -> None:
        self.server, self.proxy, self.cluster, self.client = server, proxy, cluster, client
        self.numbers = iter(range(10_000))

    def works(self, seconds: float = 25) -> None:
        """A new task is submitted and run."""
        task_id = f"t{next(self.numbers)}"

        def completed() -> bool:
            try:
                self.client.submit("math:sqrt", 4, task_id=task_id, memory=1)
                return self.client.state(task_id) is State.COMPLETED
            except RedisUnavailable:
                return False

        wait_for(completed, seconds, self.cluster.logs)

    def said(self, text: str) -> list[int]:
        return [self.cluster.log(name).count(text) for name in ("s1", "n1")]

    def lost(self) -> bool:
        return all(self.said("Redis is lost"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = {"appendfsync": "always", "busy-reply-threshold": "100", "enable-debug-command": "yes"}
    store = Store("t")
    with Server(tmp_path / "server", settings) as server, Proxy(server.url) as proxy:
        with Cluster(proxy.url, store, tmp_path) as cluster:
            cluster.scheduler("s1")
            cluster.node("n1", 2, 1024, ttl=3.0)
            world = World(server, proxy, cluster, Client(proxy.url, "t"))
            world.works()
            yield world
            world.works()
            wait_for(lambda: world.said("Redis is lost") == world.said("Redis is back"), 20, cluster.logs)
            link = Link(server.url)
            problems = audit.problems(link.run(audit.check("t")))
            link.close()
            world.client.close()
            assert not problems, problems
        assert "Traceback" not in cluster.logs()
        assert all(count <= 5 for count in world.said("Redis is lost")), cluster.logs()


def test_a_server_that_is_killed_and_restarted(world: World) -> None:
    world.server.kill()
    wait_for(world.lost, 10, world.cluster.logs)
    with pytest.raises(RedisUnavailable, match="can't be reached"):
        world.client.submit("math:sqrt", 1)
    world.server.start()
    world.works()
    assert world.said("Redis is lost") == [1, 1]


def test_scripts_that_are_flushed_and_clients_that_are_killed(world: World) -> None:
    for _ in range(5):
        world.server.ask("SCRIPT", "FLUSH")
        world.server.ask("FUNCTION", "FLUSH")
        world.works()
        for kind in ("normal", "pubsub"):
            world.server.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        world.works()


def test_a_script_that_takes_too_long(world: World) -> None:
    hog = threading.Thread(target=_eval, args=(world.server, 3))
    hog.start()
    refused = wait_for(lambda: _error(lambda: world.client.submit("math:sqrt", 1)), 10)
    assert isinstance(refused, RedisNotReady), refused
    assert "busy with a script" in str(refused)
    hog.join()
    world.works()


def _eval(server: Server, seconds: int) -> None:
    server.ask("EVAL", BUSY, 0, seconds)


def _error(call: Callable[[], object]) -> RqSchedError | None:
    try:
        call()
    except RqSchedError as error:
        return error
    return None


def test_a_server_that_loads_its_data(world: World) -> None:
    world.server.ask("DEBUG", "POPULATE", 20_000, "filler", 10)
    world.server.ask("BGREWRITEAOF")
    wait_for(lambda: "Background AOF rewrite finished" in world.server.log(), 20, world.server.log)
    world.server._settings |= {"key-load-delay": "200", "loading-process-events-interval-bytes": "1024"}
    world.server.kill()
    world.server.start(wait=False)
    refused = wait_for(lambda: _not_ready(world.client), 20, world.server.log)
    assert "loading its data" in str(refused)
    world.works(40)


def _not_ready(client: Client) -> RqSchedError | None:
    error = _error(client.ping)
    return error if isinstance(error, RedisNotReady) else None


def test_a_server_that_becomes_a_replica(world: World, tmp_path: Path) -> None:
    """Its writes are refused; when it is the master again everything goes on."""
    with Server(tmp_path / "other") as other:
        other.ask("REPLICAOF", "127.0.0.1", world.server.port)
        wait_for(lambda: other.info("master_link_status") == "up", 20, other.log)
        other.ask("REPLICAOF", "NO", "ONE")
        world.server.ask("REPLICAOF", "127.0.0.1", other.port)
        refused = wait_for(lambda: _error(lambda: world.client.submit("math:sqrt", 1)), 10)
        assert isinstance(refused, RedisNotReady), refused
        wait_for(world.lost, 15, world.cluster.logs)
        world.server.ask("REPLICAOF", "NO", "ONE")
        world.works()


def test_a_master_without_its_replicas(world: World) -> None:
    world.server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    refused = wait_for(lambda: _error(lambda: world.client.submit("math:sqrt", 1)), 10)
    assert isinstance(refused, RedisNotReady), refused
    assert "min-replicas-to-write" in str(refused)
    wait_for(world.lost, 15, world.cluster.logs)
    world.server.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    world.works()


def test_a_full_server(world: World) -> None:
    """Submits are refused; nobody is lost, and what runs ends."""
    slow = world.client.submit("exec:/bin/sleep", "1", memory=1)
    wait_for(lambda: slow.state() is State.RUNNING, 10, world.cluster.logs)
    world.server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(RedisFull):
        world.client.submit("math:sqrt", 1)
    assert slow.wait(10) is State.COMPLETED
    world.server.ask("CONFIG", "SET", "maxmemory", "0")
    world.works()
    assert world.said("Redis is lost") == [0, 0]


def test_lines_that_are_cut_refused_delayed_or_lose_a_reply(world: World) -> None:
    for _ in range(3):
        world.proxy.cut()
        world.works()
    world.proxy.drop_rate = 0.05
    for _ in range(5):
        world.works()
    world.proxy.drop_rate = 0.0
    world.proxy.refuse()
    wait_for(world.lost, 10, world.cluster.logs)
    world.proxy.heal()
    world.works()
    world.proxy.delay = 0.05
    world.works()
    world.proxy.delay = 0.0


def test_lines_that_fall_silent(world: World) -> None:
    """Half-open: nobody is told that the other end is gone. New lines are made within the patience."""
    world.proxy.vanish()
    world.works(30)
    info = world.cluster.info("n1")
    assert info is not None


def test_a_partition(world: World) -> None:
    world.proxy.partition()
    wait_for(world.lost, 25, world.cluster.logs)
    world.proxy.heal()
    world.works(30)
