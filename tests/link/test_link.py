"""What a server may answer, and what a user is told; scripts that the server has forgotten."""

from __future__ import annotations

import asyncio
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import pytest
import redis.asyncio

from rq_sched import errors
from rq_sched.link import AsyncLink, Link, Op, awaiting, blocking, shown
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from tests.support import wait_for


def asked(*requests: Any) -> Op[list[Any]]:
    return (yield list(requests))


def tasks(n: int) -> list[TaskRequest]:
    return [TaskRequest("m:f", task_id=f"t{i:05d}").check() for i in range(n)]


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that gives this answer to everything but the driver's greeting."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while first := self.rfile.readline():
                words = []
                for _ in range(int(first[1:])):
                    size = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(size + 2)[:size].upper())
                self.wfile.write(b"+OK\r\n" if words[0] in (b"CLIENT", b"SELECT", b"HELLO") else reply)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()


def info(version: str) -> bytes:
    text = f"# Server\r\nredis_version:{version}\r\n".encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (info("6.2.14"), errors.ServerTooOld, "version 6.2.14: rq-sched needs Redis 7"),
        (b"-NOAUTH Authentication required.\r\n", errors.RedisRefused, "give user and password"),
        (b"-WRONGPASS invalid username-password pair\r\n", errors.RedisRefused, "give user and password"),
        (b"-NOPERM this user has no permissions\r\n", errors.RedisRefused, "see deploy/"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", errors.RedisRefused, "loading its data"),
        (b"-READONLY You can't write against a read only replica.\r\n", errors.RedisRefused, "read-only replica"),
        (b"-OOM command not allowed\r\n", errors.RedisFull, "wait until tasks have drained"),
        (b"-WRONGTYPE Operation against a key\r\n", errors.WrongType, "choose another --namespace"),
        (b"-ERR something else\r\n", errors.RedisRefused, "something else"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_a_server_says_becomes_one_clear_line(reply: bytes, error: type[Exception], says: str) -> None:
    with answering(reply) as url:
        link = Link(url)
        with pytest.raises(error, match=says) as caught:
            link.run(asked(("PING",)))
        assert "\n" not in str(caught.value)


async def _ask_async(url: str) -> None:
    link = AsyncLink(url)
    try:
        await link.run(asked(("PING",)))
    finally:
        await link.close()


def test_the_async_link_says_the_same() -> None:
    with answering(info("6.0.0")) as url, pytest.raises(errors.ServerTooOld):
        asyncio.run(_ask_async(url))


def test_nobody_there() -> None:
    link = Link("redis://127.0.0.1:1/0")
    with pytest.raises(errors.RedisUnavailable, match="rq-sched up"):
        link.run(asked(("PING",)))


@pytest.mark.parametrize("url", ["http://example.com", "localhost:6379", "redis+cluster://x"])
def test_a_bad_address(url: str) -> None:
    with pytest.raises(errors.InvalidValue, match="redis://HOST:PORT/DB"):
        Link(url)


def test_a_password_is_never_shown() -> None:
    assert shown("redis://me:secret@host:6379/0") == "redis://me:***@host:6379/0"


def test_scripts_that_the_server_forgot_are_sent_again_also_in_a_pipeline(link: Link, store: Store) -> None:
    link.run(store.submit(tasks(10)))
    link.run(asked(("FUNCTION", "FLUSH")))
    assert set(link.run(store.submit(tasks(1500)))) == {"same", "new"}
    assert link.run(store.counts())["submitted"] == 1500


def test_the_async_link_too(
    alink: Callable[[], AbstractAsyncContextManager[AsyncLink]], link: Link, store: Store
) -> None:
    async def flushed() -> list[str]:
        async with alink() as other:
            await other.run(store.submit(tasks(10)))
            await other.run(asked(("FUNCTION", "FLUSH")))
            return await other.run(store.submit(tasks(500)))

    assert len(asyncio.run(flushed())) == 500


def test_one_refusal_in_a_pipeline_is_told_and_the_others_are_done(link: Link, store: Store) -> None:
    link.run(store.submit(tasks(2)))
    with pytest.raises(errors.TaskNotFound):
        link.run(asked(*(store.call("task_hold", t) for t in ("t00000", "nobody", "t00001"))))
    assert link.run(store.states(["t00000", "t00001"])) == ["held", "held"]


def test_a_full_server_refuses_submits_and_lets_running_tasks_end(link: Link, store: Store) -> None:
    link.run(store.node_register("a", "1", Resources(1, 1000), ttl=600))
    link.run(store.submit(tasks(2)))
    (start,) = link.run(store.node_poll("a", "1", acked=0))
    link.run(asked(("CONFIG", "SET", "maxmemory", "1")))
    try:
        with pytest.raises(errors.RedisFull):
            link.run(store.submit([TaskRequest("m:f", task_id="late").check()]))
        report = EndReport(start.token, "t00000", "completed", ran=0.1, result=b"\xc0")  # type: ignore[union-attr]
        finished = link.run(store.task_finish("a", "1", acked=start.number, reports=[report]))
        assert finished.outcomes == ["recorded"]
        assert len(finished.orders) == 1
        link.run(store.node_heartbeat("a", "1", acked=finished.orders[0].number))
    finally:
        link.run(asked(("CONFIG", "SET", "maxmemory", "0")))
    assert link.run(store.states(["late"])) == [None]


def test_a_connection_that_was_cut_is_made_anew(link: Link, store: Store, redis_url: str) -> None:
    link.run(store.counts())
    Link(redis_url).run(asked(("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")))
    assert link.run(store.submit(tasks(1))) == ["new"]


def test_a_forked_process_leaves_its_parents_connections_alone(link: Link) -> None:
    (mine,) = link.run(asked(("CLIENT", "ID")))
    seen, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(told, b"%d" % link.run(asked(("CLIENT", "ID")))[0])
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(seen, 20)) != mine
    assert link.run(asked(("CLIENT", "ID"))) == [mine]


def test_who_is_interrupted_leaves_no_reply_for_the_next_one(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    read = blocking._reply

    def interrupted(connection: Any) -> Any:
        if (reply := read(connection)) == b"1":
            raise KeyboardInterrupt
        return reply

    monkeypatch.setattr(blocking, "_reply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        link.run(asked(("ECHO", "1"), ("ECHO", "2")))
    assert link.run(asked(("ECHO", "3"))) == [b"3"]


def test_threads_share_a_link(link: Link) -> None:
    def echo(n: int) -> bool:
        return link.run(asked(*[("ECHO", f"{n}.{i}") for i in range(20)])) == [b"%d.%d" % (n, i) for i in range(20)]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(echo, range(400)))


def test_ears_hear_what_is_said_after_they_listen(link: Link, redis_url: str) -> None:
    with link.listen("here") as ears:
        Link(redis_url).run(asked(("PUBLISH", "here", "word")))
        assert wait_for(lambda: ears.get(0.1)) == ("here", b"word")
        assert ears.get(0.01) is None


def test_who_listens_next_hears_on_the_same_connection_and_only_his_own(link: Link, redis_url: str) -> None:
    other = Link(redis_url)

    def listeners() -> list[bytes]:
        lines = other.run(asked(("CLIENT", "LIST")))[0].splitlines()
        return sorted(line.split()[0] for line in lines if b"cmd=subscribe" in line or b"cmd=unsubscribe" in line)

    before = listeners()
    with link.listen("one"):
        (mine,) = set(listeners()) - set(before)
        other.run(asked(("PUBLISH", "one", "left unread")))
    with link.listen("two") as ears:
        assert listeners() == sorted([*before, mine])
        other.run(asked(("PUBLISH", "one", "for nobody")))
        other.run(asked(("PUBLISH", "two", "word")))
        assert ears.get(5.0) == ("two", b"word")
        with link.listen("three") as more:  # at the same time: another one
            other.run(asked(("PUBLISH", "three", "words")))
            assert more.get(5.0) == ("three", b"words")


def test_a_kept_connection_that_was_cut_is_not_listened_on(link: Link, redis_url: str) -> None:
    with link.listen("one"):
        pass
    other = Link(redis_url)
    other.run(asked(("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")))
    with link.listen("two") as ears:
        other.run(asked(("PUBLISH", "two", "word")))
        assert ears.get(5.0) == ("two", b"word")


READONLY = ("EVAL", "return redis.error_reply('READONLY no writes here')", 0)


def listening(link: Link) -> int:
    """How many connections have listened, and are open."""
    lines = link.run(asked(("CLIENT", "LIST")))[0].splitlines()
    return sum(b"cmd=subscribe" in line or b"cmd=unsubscribe" in line for line in lines)


def test_a_server_that_may_no_longer_be_the_master_is_not_listened_to(
    link: Link, alink: Callable[[], AbstractAsyncContextManager[AsyncLink]], redis_url: str
) -> None:
    other = Link(redis_url)
    before = listening(other)
    with link.listen("one"):
        pass
    assert listening(other) == before + 1
    with pytest.raises(errors.RedisNotReady):
        link.run(asked(READONLY))
    assert wait_for(lambda: listening(other) == before)

    async def leaves() -> None:
        async with alink() as awaiting:
            async with awaiting.listen("one"):
                pass
            assert listening(other) == before + 1
            with pytest.raises(errors.RedisNotReady):
                await awaiting.run(asked(READONLY))
            assert wait_for(lambda: listening(other) == before)

    asyncio.run(leaves())


def test_the_async_link_keeps_what_it_listens_on_too(
    alink: Callable[[], AbstractAsyncContextManager[AsyncLink]], link: Link
) -> None:
    async def heard() -> list[Any]:
        messages = []
        async with alink() as other:
            for channel in ("one", "two"):
                async with other.listen(channel) as ears:
                    link.run(asked(("PUBLISH", "one", "1"), ("PUBLISH", channel, "word")))
                    messages.append(await ears.get(5.0))
            link.run(asked(("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")))
            async with other.listen("three") as ears:
                link.run(asked(("PUBLISH", "three", "again")))
                messages.append(await ears.get(5.0))
        return messages

    assert asyncio.run(heard()) == [("one", b"1"), ("two", b"word"), ("three", b"again")]


def test_an_address_says_how_long_the_async_link_waits_for_an_answer() -> None:
    with answering(b"") as url:

        async def asks() -> None:
            await AsyncLink(f"{url}?socket_timeout=0.1").run(asked(("PING",)))

        with pytest.raises(errors.RedisUnavailable, match=r"no answer within 0\.1 s"):
            asyncio.run(asyncio.wait_for(asks(), 20))


def test_who_is_cancelled_ends_also_while_he_sends(
    alink: Callable[[], AbstractAsyncContextManager[AsyncLink]], store: Store
) -> None:
    """The driver times its sending with ``asyncio.wait_for``: where that is done just then, Python 3.11 loses it."""

    async def all_end() -> int:
        async with alink() as other:

            async def call_on() -> None:
                while True:
                    await other.run(store.counts())

            for _ in range(20):
                calls = [asyncio.ensure_future(call_on()) for _ in range(25)]
                await asyncio.sleep(0.01)
                for call in calls:
                    call.cancel()
                _, left = await asyncio.wait(calls, timeout=5.0)
                if left:
                    return len(left)
        return 0

    assert asyncio.run(all_end()) == 0


async def loses_its_cancellation(connect: Callable[[], Any]) -> None:
    """What ``asyncio.wait_for`` does in Python 3.11 to whoever is cancelled in the moment when there is an answer."""
    try:
        await asyncio.sleep(20.0)
    except asyncio.CancelledError:
        await connect()


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection loses a cancellation while it is made."""
    kind: Any = redis.asyncio.connection.AbstractConnection
    connect = kind.connect
    monkeypatch.setattr(kind, "connect", lambda connection: loses_its_cancellation(lambda: connect(connection)))


@pytest.mark.usefixtures("losing")
def test_a_time_limit_holds_though_the_driver_loses_it(redis_url: str) -> None:
    async def asks() -> None:
        link = AsyncLink(redis_url, patience=0.1)
        try:
            await link.run(asked(("PING",)))
        finally:
            await link.close()

    with pytest.raises(errors.RedisUnavailable, match=r"no answer within 0\.1 s"):
        asyncio.run(asks())


@pytest.mark.usefixtures("losing")
def test_the_limit_of_each_try_holds_though_the_driver_loses_it(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting, "CONNECTING", 0.0)

    async def asks() -> None:
        link = AsyncLink(redis_url, answer_seconds=0.1)
        try:
            await link.run(asked(("PING",)))
        finally:
            await link.close()

    with pytest.raises(errors.RedisUnavailable, match=r"no answer within 0\.1 s"):
        asyncio.run(asks())


@pytest.mark.usefixtures("losing")
@pytest.mark.parametrize("what", ["asks", "listens", "pops"])
def test_who_is_cancelled_ends_though_the_driver_loses_it(redis_url: str, what: str) -> None:
    async def asks(link: AsyncLink) -> None:
        if what == "asks":
            await link.run(asked(("PING",)))
        elif what == "listens":
            async with link.listen("here"):
                pass
        else:
            await link.pop("nothing", 0.01)

    async def ends() -> None:
        link = AsyncLink(redis_url)
        asking = asyncio.ensure_future(asks(link))
        await asyncio.sleep(0.01)
        asking.cancel()
        try:
            await asking
        finally:
            await link.close()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ends())
