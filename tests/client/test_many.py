"""Many tasks at once: cancelled by their state, watched as they start and end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from rq_sched import AsyncClient, Client, State, TaskRequest
from rq_sched.client.flows.watch import Watched
from rq_sched.errors import InvalidValue, TaskNotFound
from rq_sched.link import Link
from rq_sched.model.resources import Resources
from rq_sched.model.states import CancelOutcome
from rq_sched.store import Store
from rq_sched.testing.node import InlineNode
from tests.client.kit import PATIENCE, whole  # noqa: F401  (a fixture)
from tests.support import wait_for


@pytest.fixture
def client(redis_url: str, namespace: str) -> Iterator[Client]:
    with Client(redis_url, namespace) as client:
        yield client


class Node(InlineNode):
    """A node that runs what there is when it is told to."""

    def run(self) -> None:
        while self.run_next():
            pass


@pytest.fixture
def node(link: Link, namespace: str) -> Node:
    return Node(link, Store(namespace), "n1", Resources(4, 4096))


# -- cancelling -----------------------------------------------------------------------------------


def test_what_is_pending_is_cancelled_as_a_whole(client: Client) -> None:
    handles = client.submit_many(TaskRequest("math:sqrt", [n], priority=n % 3) for n in range(500))
    held = client.submit("math:sqrt", 1)
    client.hold(held.id)
    assert client.cancel_many(state="pending") == {CancelOutcome.REQUEUED: 500}
    assert client.cancel_many(state="pending", requeue=False) == {CancelOutcome.CANCELLED: 500}
    assert set(client.states(handles)) == {State.CANCELLED}
    assert held.state() is State.HELD
    assert client.cancel_many(state=State.PENDING) == {}


def test_those_with_a_tag(client: Client) -> None:
    tagged = client.submit_many(
        TaskRequest("math:sqrt", [n], tags={"run": "17", "part": str(n % 2)}) for n in range(300)
    )
    other = client.submit("math:sqrt", 1)
    assert len(client.tasks(tag="run=17", limit=1000)) == 300
    assert client.cancel_many(tag={"run": "17", "part": "0"}, requeue=False) == {CancelOutcome.CANCELLED: 150}
    assert client.cancel_many(tag=["run=17"], state="pending") == {CancelOutcome.REQUEUED: 150}
    assert sorted(map(str, client.states(tagged))) == [State.CANCELLED] * 150 + [State.PENDING] * 150
    assert other.state() is State.PENDING
    with pytest.raises(InvalidValue, match="tag"):
        client.cancel_many(tag="17")


def test_those_that_are_named(client: Client) -> None:
    handles = client.map("math:sqrt", range(3))
    outcomes = client.cancel_many([*handles, "absent", handles[0].id], requeue=False)
    assert outcomes == {CancelOutcome.CANCELLED: 3}
    assert client.cancel_many(handles, requeue=False) == {CancelOutcome.ALREADY_CANCELLED: 3}


def test_which_ones_must_be_said(client: Client) -> None:
    for which in ({}, {"tasks": ["a"], "state": "pending"}):
        with pytest.raises(InvalidValue, match="either tasks, or a state, a tag or both"):
            client.cancel_many(**which)  # type: ignore[arg-type]
    for state in ("failed", "lost"):
        with pytest.raises(InvalidValue, match="state"):
            client.cancel_many(state=state)


def test_one_that_cannot_be_read_keeps_nobody(client: Client, link: Link, namespace: str) -> None:
    handles = client.map("math:sqrt", range(3))
    key = Store(namespace).keys.task(handles[1].id)
    text = link.run(iter_one("GET", key))
    link.run(iter_one("DEL", key))
    link.run(iter_one("SADD", key, "x"))
    assert client.cancel_many(handles) == {CancelOutcome.REQUEUED: 2}
    link.run(iter_one("DEL", key))
    link.run(iter_one("SET", key, text))


def iter_one(*words: object):
    return (yield [words])[0]


# -- watching -------------------------------------------------------------------------------------


def test_starts_and_ends_are_told(whole: Client) -> None:  # noqa: F811
    slow = whole.submit("time:sleep", 1.5)
    bad = whole.submit("math:sqrt", -1)
    told = [(info.task_id, info.state) for info in whole.watch([slow, bad.id])]
    assert [state for task_id, state in told if task_id == slow.id] == [State.RUNNING, State.COMPLETED]
    assert [state for task_id, state in told if task_id == bad.id][-1] is State.FAILED


def test_more_may_be_added_while_it_is_iterated(client: Client, node: Node) -> None:
    first = client.submit("math:sqrt", 4.0)
    node.run()
    found = []
    watch = client.watch([first])
    for info in watch:
        found.append(info.result)
        if len(found) < 5:
            more = client.submit("math:sqrt", 4.0)
            node.run()
            watch.add([more])
    assert found == [2.0] * 5


def test_another_thread_adds_and_closes(client: Client, node: Node) -> None:
    """It goes on when nothing is left, until it is closed."""
    found: list[str] = []
    with client.watch(until_closed=True) as watch:
        listener = threading.Thread(target=lambda: found.extend(info.task_id for info in watch))
        listener.start()
        for _ in range(2):
            handle = client.submit("math:sqrt", 4.0)
            watch.add([handle])
            node.run()
            wait_for(lambda: handle.id in found, PATIENCE, lambda: found)  # noqa: B023
        watch.close()
        listener.join(PATIENCE)
        assert not listener.is_alive()


def test_iterating_may_be_stopped_and_begun_again(client: Client, node: Node) -> None:
    handles = client.map("math:sqrt", range(4))
    node.run()
    watch = client.watch(handles)
    seen = [next(iter(watch)).task_id for _ in range(3)]
    seen += [info.task_id for info in watch]
    assert sorted(seen) == sorted(handle.id for handle in handles)


def test_one_that_is_not_there_is_told_after_the_others(client: Client, node: Node) -> None:
    handle = client.submit("math:sqrt", 4.0)
    node.run()
    watch = client.watch([handle.id, "absent"])
    found = iter(watch)
    assert next(found).task_id == handle.id
    with pytest.raises(TaskNotFound, match="absent"):
        next(found)
    assert list(watch) == []


def test_what_is_watched_no_more_is_not_told(client: Client, node: Node) -> None:
    handles = client.map("math:sqrt", range(2))
    watch = client.watch(handles)
    watch.discard(handles[:1])
    node.run()
    assert [info.task_id for info in watch] == [handles[1].id]


def test_awaiting(redis_url: str, namespace: str, node: Node) -> None:
    async def scene() -> None:
        async with AsyncClient(redis_url, namespace) as client:
            handles = await client.map("math:sqrt", range(3))
            await asyncio.to_thread(node.run)
            async with client.watch(handles) as watch:
                assert sorted([info.result async for info in watch]) == [0.0, 1.0, 2**0.5]
            assert await client.cancel_many(handles) == {CancelOutcome.ALREADY_COMPLETED: 3}

    asyncio.run(scene())


def test_each_attempt_is_told_once() -> None:
    watched = Watched(until_closed=False)
    watched.add(["t"])
    for attempt in (1, 2):
        assert watched.is_news("t", State.RUNNING, attempt)
        watched.tell("t", State.RUNNING, attempt)
        assert not watched.is_news("t", State.RUNNING, attempt)
        assert not watched.is_news("t", State.PENDING, attempt)
    watched.tell("t", State.FAILED, 2)
    assert not watched.goes_on()
    assert not watched.is_news("t", State.FAILED, 2)
