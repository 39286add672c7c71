"""Real sentinels: links and listeners follow a failover; a run goes on through it, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rq_sched import audit
from rq_sched.client.blocking import Client
from rq_sched.errors import DurabilityNotReached, RedisUnavailable, RqSchedError
from rq_sched.link import AsyncLink, Link
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.faults.servers import Secured, Server, Watched, ask
from tests.support import wait_for, wait_for_async
from tests.support.certificates import make


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path / "watched") as watched:
        yield watched


def wait_until_heard(watched: Watched, link: Link, listening: Link) -> None:
    """Until what one link publishes reaches another that listens anew."""

    def heard() -> bool:
        try:
            with listening.listen("here") as ears:
                link.run(ask("PUBLISH", "here", "word"))
                return ears.get(0.1) == ("here", b"word")
        except RedisUnavailable:
            return False

    wait_for(heard, 20, watched.logs)


def test_a_link_and_its_ears_follow_a_failover(watched: Watched) -> None:
    link, ears_link = Link(watched.url), Link(watched.url)
    assert link.run(ask("SET", "k", "1")) == b"OK"
    with ears_link.listen("here") as ears:
        _, new = watched.fail_over(Server.kill)
        for _ in range(2):
            with pytest.raises(RedisUnavailable):
                ears.get(5.0)
    wait_until_heard(watched, link, ears_link)
    assert link.run(ask("SET", "k", "2")) == b"OK"
    assert new.ask("GET", "k") == b"2"
    link.close()
    ears_link.close()


def test_a_master_that_is_only_frozen_is_left_too(watched: Watched) -> None:
    """Its connections stay open and say nothing."""

    async def follow() -> None:
        link = AsyncLink(watched.url, answer_seconds=1.0)
        assert await link.run(ask("SET", "k", "1")) == b"OK"
        old, new = await asyncio.to_thread(watched.fail_over, Server.freeze)
        written: list[bytes] = []

        async def write() -> None:
            while not written:
                try:
                    written.append(await link.run(ask("SET", "k", "2")))
                except RedisUnavailable:
                    await asyncio.sleep(0.05)

        writing = asyncio.ensure_future(write())
        await wait_for_async(lambda: written, 20, watched.logs)
        await writing
        assert await asyncio.to_thread(new.ask, "GET", "k") == b"2"
        old.thaw()
        await link.close()

    asyncio.run(follow())


def test_level_replicated_says_when_it_is_not_reached(watched: Watched) -> None:
    client = Client(watched.url, "t", durability="replicated:2", durability_timeout=0.5)
    client.submit("math:sqrt", 1, task_id="safe")
    replicas = [server for server in watched.servers if server is not watched.master()]
    replicas[0].kill()
    with pytest.raises(DurabilityNotReached, match="task late is accepted") as caught:
        client.submit("math:sqrt", 1, task_id="late")
    assert caught.value.task_ids == ["late"]
    assert client.state("late") is State.PENDING
    with pytest.raises(DurabilityNotReached):  # "same" writes nothing, and waits all the same
        client.submit("math:sqrt", 1, task_id="late")
    client.close()


def test_a_run_goes_on_through_failovers_and_loses_nothing_that_was_acknowledged(
    watched: Watched, tmp_path: Path
) -> None:
    """Submits with level `replicated:2`, while masters are killed and come back as replicas."""
    store = Store("t")
    with Cluster(watched.url, store, tmp_path) as cluster:
        cluster.scheduler("s1")
        cluster.node("n1", 4, 4096, ttl=2.0)
        acknowledged: list[str] = []
        client = Client(watched.url, "t", durability="replicated:2", durability_timeout=1)
        for turn in range(2):
            for broken in (False, True):
                if broken:
                    old, _ = watched.fail_over(Server.kill)
                acknowledged += _submit(client, 100, f"{turn}-{int(broken)}")
            old.start(wait=False)
            wait_for(watched.settled, 30, watched.logs)
            acknowledged += _submit(client, 100, f"{turn}-2")
        assert len(acknowledged) >= 200

        def states() -> dict[str, State | None]:
            try:
                return dict(zip(acknowledged, client.states(acknowledged), strict=True))
            except RedisUnavailable:
                return {"": None}

        wait_for(lambda: all(state and state.final for state in states().values()), 60, cluster.logs)
        assert set(states().values()) == {State.COMPLETED}
        problems = audit.problems(cluster.run(audit.check("t")))
        assert not problems, problems
        for name in ("s1", "n1"):
            log = cluster.log(name)
            assert "Traceback" not in log, log
            assert log.count("Redis is lost") == log.count("Redis is back"), log
        client.close()


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Watched]:
    """All of them speak TLS only, ask for a certificate, and have passwords (two: one of servers, one of sentinels)."""
    binary = shutil.which("redis-server")
    assert binary is not None, "apt-get install redis-server"
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    security = Secured(make(certificates))
    with Watched(tmp_path / "watched", secured=security, binary=Path(binary)) as watched:
        yield watched


@pytest.mark.full
def test_with_tls_and_passwords_a_run_goes_on_through_a_failover(secured: Watched, tmp_path: Path) -> None:
    """Links of all kinds: a client's, a listener's, a scheduler's, a worker's."""
    link, listening = Link(secured.url), Link(secured.url)
    with Cluster(secured.url, Store("t"), tmp_path) as cluster:
        cluster.scheduler("s1")
        cluster.node("n1", 2, 1024, ttl=2.0)
        client = Client(secured.url, "t", durability="replicated:1", durability_timeout=1)
        before = client.submit("math:sqrt", 16, memory=1)
        assert before.result(60) == 4
        wait_until_heard(secured, link, listening)
        secured.fail_over(Server.kill)
        wait_until_heard(secured, link, listening)
        # Until a replica has them: it may take a while to follow the new master, or be the next master itself.
        after = wait_for(lambda: _submit(client, 20, "after"), 60, secured.logs)
        wait_for(lambda: set(client.states(after)) == {State.COMPLETED}, 60, cluster.logs)
        assert before.state() is State.COMPLETED
        assert "Traceback" not in cluster.logs()
        client.close()
    link.close()
    listening.close()


@pytest.mark.full
def test_with_tls_and_passwords_each_part_is_needed(secured: Watched) -> None:
    """Whoever leaves one out, or gives another, gets no further; who gives all of them does."""
    link = Link(secured.url)
    assert link.run(ask("PING")) == b"PONG"
    link.close()
    tls = secured.url.partition("&")[2]
    for part, instead in (
        (f"&{tls}", ""),
        ("ca.crt", "another.crt"),
        ("sentinel_password=of-sentinels&", ""),
        ("sentinel_password=of-sentinels", "sentinel_password=of-servers"),
        (":of-servers@", "@"),
        (":of-servers@", ":of-sentinels@"),
    ):
        assert part in secured.url
        link = Link(secured.url.replace(part, instead))
        with pytest.raises(RqSchedError):
            link.run(ask("PING"))
        link.close()
    plain = Link(secured.url.replace(f"&{tls}", "").replace("rediss", "redis"))
    with pytest.raises(RedisUnavailable):
        plain.run(ask("PING"))
    plain.close()


def _submit(client: Client, count: int, name: str) -> list[str]:
    """Submit, again and again while Redis is away; the ids that were acknowledged as safe."""
    safe: list[str] = []
    for start in range(0, count, 20):
        requests = [
            TaskRequest("math:sqrt", [n], task_id=f"t{name}-{n}", memory_needed=1) for n in range(start, start + 20)
        ]

        def submitted(requests: list[TaskRequest] = requests) -> bool:
            try:
                safe.extend(handle.id for handle in client.submit_many(requests))
            except DurabilityNotReached:
                return True  # accepted, and not acknowledged as safe
            except RedisUnavailable:
                return False
            return True

        wait_for(submitted, 30)
    return safe
