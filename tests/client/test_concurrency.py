"""Many coroutines and threads on one client: all are served, on so many connections at most, and nothing is left."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from rq_sched import AsyncClient, Client, State, TaskRequest
from rq_sched.errors import ClientBusy, ClientClosed, WaitTimeout, WrongLoop
from rq_sched.link import AsyncLink, Command, Link, Op
from rq_sched.model.resources import Resources
from rq_sched.store import Store
from rq_sched.testing.node import InlineNode
from tests.support import wait_for, wait_for_async

PATIENCE = 60.0
NAME = "crowded"
HOLD: Command = ("BLPOP", "nobody-pushes-here", 0.5)
"""Keeps a connection for half a second."""


def asked(*requests: Command) -> Op[list[Any]]:
    return (yield list(requests))


def address(redis_url: str, most: int | None, name: str = NAME) -> str:
    """The server's, for a client whose connections can be told from others."""
    limit = "" if most is None else f"&max_connections={most}"
    return f"{redis_url}?client_name={name}{limit}"


def open_connections(link: Link, name: str = NAME) -> list[bytes]:
    return [line for line in link.run(asked(("CLIENT", "LIST")))[0].splitlines() if f"name={name} ".encode() in line]


@contextmanager
def played(redis_url: str, namespace: str) -> Iterator[list[int]]:
    """A scheduler and a node, in a thread; gives how many connections the clients were seen to have."""
    link, store = Link(redis_url), Store(namespace)
    node = InlineNode(link, store, "n1", Resources(64, 65_536))
    seen = [0]
    over = threading.Event()

    def play() -> None:
        while not over.is_set():
            placed = link.run(store.place()).placed
            while node.run_next():
                placed += 1
            seen.append(len(open_connections(link)))
            if not placed:
                over.wait(0.01)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        link.close()


@pytest.mark.parametrize("most", [1, None])
def test_a_thousand_coroutines_are_served(most: int | None, redis_url: str, namespace: str) -> None:
    async def one(client: AsyncClient, number: int) -> None:
        handle = await client.submit("math:sqrt", number * number)
        assert await handle.result(timeout=PATIENCE) == number

    async def all_of_them() -> None:
        async with AsyncClient(address(redis_url, most), namespace) as client:
            await asyncio.gather(*(one(client, number) for number in range(1000)))

    with played(redis_url, namespace) as seen:
        asyncio.run(all_of_them())
    assert 0 < max(seen) <= (most or 50) + 1, "those that ask, and one that listens"


@pytest.mark.parametrize("most", [10, None])
def test_three_hundred_threads_are_served(most: int | None, redis_url: str, namespace: str) -> None:
    with played(redis_url, namespace) as seen, Client(address(redis_url, most), namespace) as client:

        def one(number: int) -> float:
            value: float = client.submit("math:sqrt", number * number).result(timeout=PATIENCE)
            return value

        with ThreadPoolExecutor(300) as pool:
            assert list(pool.map(one, range(300))) == list(range(300))
    assert 0 < max(seen) <= (most or 50) + 1, "those that ask, and one that listens"


def test_a_thousand_waiters_of_one_task_hear_of_its_end(redis_url: str, namespace: str) -> None:
    async def all_of_them() -> list[State]:
        async with AsyncClient(address(redis_url, 10), namespace) as client:
            handle = await client.submit("time:sleep", 0.3, delay=0.5)
            return await asyncio.gather(*(handle.wait(PATIENCE) for _ in range(1000)))

    with played(redis_url, namespace), Client(redis_url, namespace) as client:
        promoted = threading.Event()

        def promote() -> None:
            while not promoted.wait(0.05):
                client._link.run(client._store.promote())

        thread = threading.Thread(target=promote)
        thread.start()
        try:
            assert asyncio.run(all_of_them()) == [State.COMPLETED] * 1000
        finally:
            promoted.set()
            thread.join()


def test_who_finds_all_connections_in_use_waits(redis_url: str, namespace: str) -> None:
    with Client(address(redis_url, 1), namespace) as client, ThreadPoolExecutor(1) as pool:
        held = pool.submit(client._link.run, asked(HOLD))
        wait_for(lambda: client._link._lines._permits.empty(), PATIENCE)
        client.ping()
        assert held.done()


def test_a_call_waits_no_longer_than_it_may(redis_url: str, namespace: str) -> None:
    with Client(address(redis_url, 1), namespace) as client, ThreadPoolExecutor(1) as pool:
        handle = client.submit("m:f")
        held = pool.submit(client._link.run, asked(("BLPOP", "nobody-pushes-here", 1.5)))
        wait_for(lambda: client._link._lines._permits.empty(), PATIENCE)
        before = time.monotonic()
        with pytest.raises((WaitTimeout, ClientBusy)) as late:
            handle.result(timeout=0.3)
        assert time.monotonic() - before < 1.4
        assert "can't be reached" not in str(late.value)
        held.result()
        with pytest.raises(WaitTimeout):
            handle.result(timeout=0.1)


def test_an_async_call_waits_no_longer_than_it_may(redis_url: str, namespace: str) -> None:
    async def calls() -> None:
        async with AsyncClient(address(redis_url, 1), namespace) as client:
            handle = await client.submit("m:f")
            held = asyncio.ensure_future(client._link.run(asked(("BLPOP", "nobody-pushes-here", 1.5))))
            await asyncio.sleep(0)
            before = time.monotonic()
            with pytest.raises((WaitTimeout, ClientBusy)):
                await handle.result(timeout=0.3)
            assert time.monotonic() - before < 1.4
            await held
            await client.ping()

    asyncio.run(calls())


def test_nobody_waits_behind_those_who_follow(redis_url: str, namespace: str) -> None:
    async def calls() -> None:
        async with AsyncClient(address(redis_url, 4), namespace) as client:

            async def follow() -> None:
                async for _ in client.events(follow=True):
                    pass

            await client.ping()
            followers = [asyncio.ensure_future(follow()) for _ in range(100)]
            await wait_for_async(lambda: client._link._following._permits.locked(), PATIENCE)
            async with asyncio.timeout(5):
                await client.submit("m:f")
            for follower in followers:
                follower.cancel()
            await asyncio.wait(followers)

    asyncio.run(calls())


def test_who_waits_gives_up_when_nobody_is_answered(redis_url: str) -> None:
    link = Link(address(redis_url, 1))
    link.run(asked(("PING",)))
    link._lines._stalled = 0.2
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(link.run, asked(("BLPOP", "nobody-pushes-here", 1)))
        wait_for(lambda: link._lines._permits.empty(), PATIENCE)
        with pytest.raises(ConnectionError, match=r"no answer on any of 1 connections within 0\.2 s"):
            link.run(asked(("PING",)))
        held.result()
    link.close()


# -- cut short ------------------------------------------------------------------------------------


def test_who_is_cancelled_leaves_neither_a_gap_nor_a_reply(redis_url: str) -> None:
    async def calls() -> None:
        link = AsyncLink(address(redis_url, 3))
        wrong: list[Any] = []

        async def echo(number: int) -> None:
            while True:
                replies = await link.run(asked(("ECHO", number), ("ECHO", -number)))
                if replies != [b"%d" % number, b"%d" % -number]:
                    wrong.append((number, replies))

        async def listen(number: int) -> None:
            while True:
                async with link.listen(f"channel-{number}") as ears:
                    await link.run(asked(("PUBLISH", f"channel-{number}", number)))
                    if (message := await ears.get(5.0)) != (f"channel-{number}", b"%d" % number):
                        wrong.append((number, message))

        chance = random.Random(1)
        for _ in range(100):
            running = [asyncio.ensure_future(job(n)) for n in range(1, 9) for job in (echo, listen)]
            await asyncio.sleep(chance.random() * 0.01)
            for call in running:
                call.cancel()
            await asyncio.wait(running, timeout=PATIENCE)
            assert [call for call in running if not call.cancelled()] == []
        assert wrong == []
        begun = time.monotonic()
        await asyncio.gather(*(link.run(asked(HOLD)) for _ in range(3)))
        assert time.monotonic() - begun < 1.4, "all three connections are to be had at the same time"
        await link.close()

    asyncio.run(calls())


class Interrupted(BaseException):
    """What is thrown into threads here, as Ctrl-C is into the main one."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of those hit between two calls
def test_who_is_interrupted_leaves_neither_a_gap_nor_a_reply(redis_url: str) -> None:
    link = Link(address(redis_url, 3))
    wrong: list[Any] = []
    interrupted: list[int] = []
    over = threading.Event()

    def calls(number: int) -> None:
        while not over.is_set():
            try:
                replies = link.run(asked(("ECHO", number), ("ECHO", -number)))
                if replies != [b"%d" % number, b"%d" % -number]:
                    wrong.append((number, replies))
            except Interrupted:
                interrupted.append(number)

    def interrupt(thread: threading.Thread) -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupted))

    threads = [threading.Thread(target=calls, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    chance = random.Random(1)
    for _ in range(100):
        time.sleep(chance.random() * 0.005)
        interrupt(chance.choice([thread for thread in threads if thread.is_alive()]))
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(interrupted) > 20, "most are in the middle of a call"
    begun = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: link.run(asked(HOLD)), range(3)))
    assert time.monotonic() - begun < 1.4, "all three connections are to be had at the same time"
    link.close()


# -- other processes, other loops, the end --------------------------------------------------------


def in_a_child(work: Callable[[], None]) -> int:
    """How a forked process ends that does this."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_process_has_connections_of_its_own(redis_url: str, namespace: str) -> None:
    with played(redis_url, namespace), Client(address(redis_url, 2), namespace) as client:
        first = client.submit("math:sqrt", 4.0)
        waits: Any = client.as_completed([first.id, client.submit("math:sqrt", 5.0, delay=100).id])
        assert next(waits) == first  # it listens, and goes on to

        def works() -> None:
            assert client.submit("math:sqrt", 9.0).result(timeout=PATIENCE) == 3.0
            waits.close()

        assert in_a_child(works) == 0
        assert client.submit("math:sqrt", 16.0).result(timeout=PATIENCE) == 4.0
        client._link.run(asked(("PUBLISH", "x", "")))
        waits.close()


def test_a_client_works_in_one_event_loop_after_the_other(redis_url: str, namespace: str) -> None:
    client = AsyncClient(address(redis_url, 3), namespace)

    async def works() -> None:
        handles = await asyncio.gather(*(client.submit("math:sqrt", 4.0) for _ in range(20)))
        assert [await handle.result(timeout=PATIENCE) for handle in handles] == [2.0] * 20

    with played(redis_url, namespace):
        for _ in range(3):
            asyncio.run(works())
    asyncio.run(client.close())


def test_two_event_loops_at_once_are_refused(redis_url: str, namespace: str) -> None:
    client = AsyncClient(redis_url, namespace)

    async def second() -> None:
        with pytest.raises(WrongLoop, match="make an AsyncClient for each loop"):
            await client.ping()

    async def first() -> None:
        await client.ping()
        await asyncio.to_thread(asyncio.run, second())
        await client.ping()
        await client.close()

    asyncio.run(first())


def test_a_closed_client_says_so(redis_url: str, namespace: str, link: Link) -> None:
    with Client(address(redis_url, 3, namespace), namespace) as client:
        handle = client.submit("m:f", 1)
    for call in (client.ping, handle.status, lambda: handle.result(timeout=1)):
        with pytest.raises(ClientClosed, match="make a new one"):
            call()
    client.close()  # once more is no error

    async def closed() -> None:
        async with AsyncClient(address(redis_url, 3, namespace), namespace) as client:
            await client.ping()
        with pytest.raises(ClientClosed):
            await client.ping()
        with pytest.raises(ClientClosed):
            await client.handle(handle.id).wait(timeout=1)
        await client.close()

    asyncio.run(closed())
    wait_for(lambda: open_connections(link, namespace) == [], PATIENCE)


def test_what_is_in_flight_when_a_client_is_closed_ends(redis_url: str, namespace: str, link: Link) -> None:
    client = Client(address(redis_url, 2, namespace), namespace)
    handle = client.submit("m:f", 1)
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(handle.result, timeout=PATIENCE) for _ in range(5)]
        wait_for(lambda: len(client._link._listener._heard.all()) == 5, PATIENCE)
        client.close()
        for one in waiting:
            assert isinstance(one.exception(timeout=PATIENCE), ClientClosed)
    wait_for(lambda: open_connections(link, namespace) == [], PATIENCE)


def test_memory_stays_as_it_is_over_ten_rounds(redis_url: str, namespace: str) -> None:
    async def one(client: AsyncClient, handle_id: str) -> None:
        with pytest.raises(WaitTimeout):
            await client.handle(handle_id).result(timeout=0.01)

    async def rounds() -> list[int]:
        counts = []
        async with AsyncClient(address(redis_url, 10), namespace) as client:
            handle = await client.submit("m:f")
            for _ in range(10):
                await asyncio.gather(*(one(client, handle.id) for _ in range(300)))
                gc.collect()
                counts.append(len(gc.get_objects()))
        return counts

    counts = asyncio.run(rounds())
    assert counts[-1] - counts[2] < 300, f"less than one object for each wait: {counts}"


def test_many_requests_are_made_in_bounded_pieces(redis_url: str, namespace: str) -> None:
    sizes: list[int] = []

    class Counted(Client):
        pass

    with Counted(redis_url, namespace) as client:
        send = client._link._send

        def counted(commands: Any, *how: Any) -> list[Any]:
            sizes.append(sum(len(part) for command in commands for part in command if isinstance(part, (bytes, str))))
            return send(commands, *how)

        client._link._send = counted  # type: ignore[assignment, method-assign]
        handles = client.submit_many(TaskRequest("m:f", task_id=f"t{n:04d}", delay=1000) for n in range(3000))
        with pytest.raises(WaitTimeout):
            client.wait(handles, timeout=0)
    assert max(sizes) < 1_000_000


def test_who_has_no_time_to_wait_is_served_where_a_connection_is_free(redis_url: str, namespace: str) -> None:
    with played(redis_url, namespace), Client(redis_url, namespace) as client:
        client.submit("math:sqrt", 4.0, task_id="t1").result(timeout=PATIENCE)
        assert client.result("t1", timeout=0) == 2.0
