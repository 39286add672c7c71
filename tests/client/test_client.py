"""The client against a real server, scheduler and worker."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rq_sched import AsyncClient, Client, State, TaskRequest
from rq_sched.errors import RedisUnavailable, TaskFailed, WaitTimeout
from rq_sched.link import Link, Op
from rq_sched.model.resources import Resources
from rq_sched.store import Store
from rq_sched.testing.node import InlineNode
from tests.client.kit import PATIENCE, whole  # noqa: F401  (a fixture)
from tests.support import wait_for
from tests.support.records import record_of


@pytest.fixture
def client(redis_url: str, namespace: str) -> Iterator[Client]:
    """A client of a namespace without nodes."""
    with Client(redis_url, namespace) as client:
        yield client


@pytest.fixture
def node(link: Link, namespace: str) -> InlineNode:
    """A node that runs a task when it is told to."""
    return InlineNode(link, Store(namespace), "n1", Resources(4, 4096))


def test_the_whole_way(whole: Client) -> None:  # noqa: F811
    assert whole.submit("math:sqrt", 2.25).result(timeout=PATIENCE) == 1.5
    failed = whole.submit("math:sqrt", -1)
    with pytest.raises(TaskFailed, match=r"(?s)failed \(error\).*ValueError: math domain error"):
        failed.result(timeout=PATIENCE)
    handles = whole.submit_many(TaskRequest("math:sqrt", [n * n]) for n in range(100))
    assert set(whole.wait(handles, timeout=PATIENCE).values()) == {State.COMPLETED}
    assert list(handles.results()) == list(range(100))


def test_cancel_waits_for_the_process(whole: Client) -> None:  # noqa: F811
    handle = whole.submit("time:sleep", 60)
    wait_for(lambda: handle.state() == State.RUNNING, PATIENCE, handle.status)
    began = time.monotonic()
    assert handle.cancel(requeue=False, reason="enough").outcome == "cancelled"
    assert time.monotonic() - began < PATIENCE
    assert whole.nodes()[0].running == 0
    with pytest.raises(TaskFailed, match="was cancelled"):
        handle.result()


def test_cancel_of_a_running_task_requeues_it(whole: Client) -> None:  # noqa: F811
    handle = whole.submit("time:sleep", 60)
    wait_for(lambda: handle.state() == State.RUNNING, PATIENCE, handle.status)
    assert handle.cancel().outcome == "requeued"
    wait_for(lambda: handle.status().attempt == 2, PATIENCE, handle.status)
    assert handle.cancel(requeue=False).outcome == "cancelled"


def test_output(whole: Client) -> None:  # noqa: F811
    handle = whole.submit("builtins:print", "hello", "there")
    assert handle.result(timeout=PATIENCE) is None
    assert whole.logs(handle.id) == "hello there\n"


# -- waiting ----------------------------------------------------------------------------------------


def test_a_wait_hears_the_doorbell(client: Client, node: InlineNode) -> None:
    handle = client.submit("math:sqrt", 4)
    with ThreadPoolExecutor() as pool:
        client._flows.poll = 60.0  # only the doorbell can be in time
        waiting = pool.submit(handle.wait, PATIENCE)
        wait_until_watched(client, handle.id)
        assert node.run_next()
        assert waiting.result(timeout=10) == State.COMPLETED


def wait_until_watched(client: Client, task_id: str) -> None:
    def watched() -> bool:
        return "watch" in client._link.run(record_of(client._store.keys, task_id))

    wait_for(watched, PATIENCE)


def one(*command: str) -> Op[Any]:
    return (yield [command])[0]


def test_a_wait_survives_the_loss_of_its_connections(client: Client, node: InlineNode, link: Link) -> None:
    handle = client.submit("math:sqrt", 4)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(handle.result, PATIENCE)
        wait_until_watched(client, handle.id)
        for kind in ("pubsub", "normal"):
            link.run(one("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"))
        assert node.run_next()
        assert waiting.result(timeout=PATIENCE) == 2


def test_a_result_of_a_task_that_never_ends_times_out(client: Client) -> None:
    handle = client.submit("math:sqrt", 4)
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match=handle.id):
        handle.result(timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 5


def test_nobody_there() -> None:
    client = Client("redis://127.0.0.1:1/0", "nobody")
    for ask in (lambda: client.submit("m:f"), lambda: client.wait(["t"]), client.executor, client.ping):
        with pytest.raises(RedisUnavailable, match="rq-sched up"):
            ask()


# -- threads, forks, loops --------------------------------------------------------------------------


def test_threads_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(lambda n: client.submit("math:sqrt", n), range(400)))
        states = list(pool.map(lambda handle: handle.state(), handles))
    assert len({handle.id for handle in handles}) == 400
    assert set(states) == {State.PENDING}


def _in_child(client: Client, task_id: str, answers: multiprocessing.SimpleQueue[list[str]]) -> None:
    answers.put([str(client.state(task_id)) for _ in range(200)] + [client.submit("math:sqrt", 1).id])


def test_a_client_may_be_used_after_a_fork(client: Client) -> None:
    handle = client.submit("math:sqrt", 4)
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.SimpleQueue[list[str]] = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(client, handle.id, answers))
    child.start()
    here = [client.state(handle.id) for _ in range(200)]
    *there, submitted = answers.get()
    child.join()
    assert set(here) == set(there) == {State.PENDING}
    assert client.state(submitted) == State.PENDING


def test_the_async_client(redis_url: str, namespace: str, node: InlineNode) -> None:
    async def story() -> None:
        async with AsyncClient(redis_url, namespace) as client:
            handles = await client.submit_many(TaskRequest("math:sqrt", [n * n]) for n in range(4))
            waiting = asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))
            runs = asyncio.create_task(asyncio.to_thread(run_all, node, 4))
            assert await waiting == [0, 1, 2, 3]
            await runs
            assert [event.type async for event in client.events(task_id=handles[0].id)][-1] == "completed"
            with pytest.raises(WaitTimeout):
                await (await client.submit("math:sqrt", 1, cpu=9)).result(timeout=0.1)

    asyncio.run(story())


def run_all(node: InlineNode, count: int) -> None:
    done = 0
    while done < count:
        done += node.run_next()


# -- events -----------------------------------------------------------------------------------------


def test_following_events(client: Client, node: InlineNode) -> None:
    client.submit("math:sqrt", 1, task_id="before")
    seen: list[str] = []
    listening = threading.Event()

    def follow() -> None:
        events = client.events(follow=True)
        listening.set()
        for event in events:
            if event.task_id:
                seen.append(f"{event.task_id} {event.type}")
            if seen and seen[-1] == "after completed":
                return

    with ThreadPoolExecutor() as pool:
        done = pool.submit(follow)
        listening.wait()
        wait_for(lambda: blocked(client), PATIENCE)
        client.submit("math:sqrt", 1, task_id="after")
        run_all(node, 2)
        done.result(timeout=PATIENCE)
    assert "before submitted" not in seen
    assert seen[0] == "after submitted"


def blocked(client: Client) -> bool:
    return b"cmd=xread" in bytes(client._link.run(one("CLIENT", "LIST")))
