"""A client that has waited listens on: the next task that it submits is told there, and of what nobody waits for
little is left."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from rq_sched import AsyncClient, Client
from rq_sched.client.doorbells import KEPT, Doorbell, Doorbells
from rq_sched.errors import TaskFailed, WaitTimeout
from rq_sched.link import Command, Link, Op
from rq_sched.model.resources import Resources
from rq_sched.store import Store
from rq_sched.testing.node import InlineNode

PATIENCE = 30.0


def asked(*commands: Command) -> Op[list[Any]]:
    return (yield list(commands))


def ask(link: Link, *command: Any) -> Any:
    return link.run(asked(command))[0]


@pytest.fixture
def work(link: Link, namespace: str) -> Callable[[], None]:
    """Has all that waits run."""
    store = Store(namespace)
    node = InlineNode(link, store, "n1", Resources(64, 65_536))

    def work() -> None:
        while link.run(store.place()).placed or node.run_next():
            pass

    return work


@pytest.fixture
def worker(redis_url: str, namespace: str) -> Iterator[None]:
    """In a thread."""
    over = threading.Event()

    def serve() -> None:
        with closing(Link(redis_url)) as link:
            store = Store(namespace)
            node = InlineNode(link, store, "n1", Resources(64, 65_536))
            while not over.is_set():
                if not (link.run(store.place()).placed or node.run_next()):
                    over.wait(0.005)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture
def client(redis_url: str, namespace: str) -> Iterator[Client]:
    with Client(redis_url, namespace) as client:
        yield client


def listens(client: Client) -> None:
    """Has this client waited once."""
    with pytest.raises(WaitTimeout):
        client.submit("math:sqrt", 1, delay=600).result(0.1)


def is_told(client: Client, link: Link, task_id: str) -> bool:
    return b"\nwatch=" in ask(link, "GET", client._store.keys.task(task_id))


def channels(client: Client, link: Link) -> int:
    return len(ask(link, "PUBSUB", "CHANNELS", client._store.keys.done("*")))


def calls(link: Link) -> dict[str, int]:
    """How often each command was sent or called so far."""
    lines = ask(link, "INFO", "commandstats").decode().splitlines()
    stats = dict(line.removeprefix("cmdstat_").split(":", 1) for line in lines if ":" in line)
    return {name: int(text.split(",")[0].removeprefix("calls=")) for name, text in stats.items()}


def test_a_result_takes_no_question_where_the_client_has_waited_before(
    client: Client, link: Link, work: Callable[[], None]
) -> None:
    listens(client)
    for number in range(3):
        handle = client.submit("math:sqrt", number * number)
        work()
        before = calls(link)
        assert handle.result(PATIENCE) == number
        assert {name for name, count in calls(link).items() if count != before.get(name)} == {"info"}
    assert is_told(client, link, handle.id)


@pytest.mark.usefixtures("worker")
def test_what_comes_of_tasks_that_return_nothing_or_much_or_fail(client: Client) -> None:
    for _ in range(2):
        assert client.submit("builtins:print").result(PATIENCE) is None
        assert client.submit("builtins:str", "x" * 300).result(PATIENCE) == "x" * 300
        with pytest.raises(TaskFailed, match="math domain error") as failure:
            client.submit("math:sqrt", -1).result(PATIENCE)
        assert (failure.value.reason, failure.value.attempt, failure.value.node_id) == ("error", 1, "n1")


@pytest.mark.usefixtures("worker")
def test_a_program_that_only_submits_pays_nothing(client: Client, link: Link) -> None:
    """Nor does one that waits now and then: of all others a few are told, and what was told doesn't pile up."""
    handles = [client.submit("math:sqrt", 1) for _ in range(3)]
    assert not any(is_told(client, link, handle.id) for handle in handles)
    assert channels(client, link) == 0
    listens(client)
    for _ in range(3 * KEPT):
        handles = [client.submit("math:sqrt", 1) for _ in range(4)]
        assert [is_told(client, link, handle.id) for handle in handles].count(True) <= 1
        assert client.submit("math:sqrt", 4).result(PATIENCE) == 2
    assert channels(client, link) <= KEPT
    assert [handle.result(PATIENCE) for handle in handles] == [1] * 4
    client.wait(handles, PATIENCE)
    client.close()
    assert channels(client, link) == 0


@pytest.mark.usefixtures("worker")
def test_many_at_a_time(client: Client, link: Link) -> None:
    wrong: list[object] = []

    def one(number: int) -> None:
        for _ in range(3):
            if client.submit("math:sqrt", number * number).result(PATIENCE) != number:
                wrong.append(number)

    listens(client)
    threads = [threading.Thread(target=one, args=(number,)) for number in range(3 * KEPT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert channels(client, link) <= KEPT


@pytest.mark.usefixtures("worker")
def test_a_line_that_is_lost_after_the_submit(client: Client, link: Link) -> None:
    for _ in range(2):
        listens(client)
        handle = client.submit("math:sqrt", 9)
        assert is_told(client, link, handle.id)
        ask(link, "CLIENT", "KILL", "TYPE", "pubsub")
        assert handle.result(PATIENCE) == 3


def test_who_gives_up_waiting_may_begin_again(client: Client, work: Callable[[], None]) -> None:
    listens(client)
    handle = client.submit("math:sqrt", 9)
    for timeout in (0, 0.05, 0.05):
        with pytest.raises(WaitTimeout):
            handle.result(timeout)
    work()
    assert [handle.result(PATIENCE), handle.result(0)] == [3, 3]


@pytest.mark.usefixtures("worker")
def test_a_forked_process_listens_by_itself(client: Client) -> None:
    listens(client)
    handle = client.submit("math:sqrt", 9)
    pid = os.fork()
    if pid == 0:
        try:
            right = handle.result(PATIENCE) == 3 and client.submit("math:sqrt", 16).result(PATIENCE) == 4
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert handle.result(PATIENCE) == 3
    assert os.waitpid(pid, 0)[1] == 0
    assert client.submit("math:sqrt", 25).result(PATIENCE) == 5


@pytest.mark.usefixtures("worker")
def test_another_event_loop_listens_by_itself(redis_url: str, namespace: str) -> None:
    async def some(client: AsyncClient, *numbers: int) -> list[float]:
        handles = [await client.submit("math:sqrt", number) for number in numbers]
        return [await handle.result(PATIENCE) for handle in handles]

    client = AsyncClient(redis_url, namespace)
    assert asyncio.run(some(client, 1, 4, 9)) == [1, 2, 3]
    assert asyncio.run(some(client, 16, 25)) == [4, 5]


@pytest.mark.usefixtures("worker")
def test_kept_ones_do_not_hold_the_connection(client: Client, link: Link) -> None:
    """Where a server isn't the one for us any more, nobody may listen there longer than he must."""
    listens(client)
    handle = client.submit("math:sqrt", 9)
    assert channels(client, link) == 1
    client._link._leave()
    assert channels(client, link) == 0
    assert handle.result(PATIENCE) == 3


# -- the parts ------------------------------------------------------------------------------------


def bell(name: str, lasts: bool = True) -> Doorbell[Any]:
    return Doorbell(name, SimpleNamespace(name=name, idle=False, messages=["old"]), lasts)


def test_which_doorbells_are_taken() -> None:
    deaf: set[str] = set()
    kept: Doorbells[Any] = Doorbells(lambda ears: ears.name not in deaf)
    assert (kept.spare(), kept.any(), kept.of("t")) == (None, None, None)
    assert not kept.rest(bell("own", lasts=False))
    bells = [bell(f"c{n}") for n in range(KEPT)]
    assert all(kept.rest(one) and one.ears.idle for one in bells)
    assert not kept.rest(bell("one too many"))
    other: Doorbells[Any] = Doorbells(lambda _: True)
    other._counting.acquire()  # by a thread that a fork has left behind
    assert not other.rest(bell("c"))
    taken = [kept.spare() for _ in bells]
    assert taken == bells[::-1], "the one that was used last is the likeliest to hear"
    assert not any(one.ears.idle or one.ears.messages for one in bells)
    for number, one in enumerate(bells):
        kept.hang(f"t{number}", one)
        one.ears.messages.append("news")
    assert kept.spare() is None, "a submit takes none from another task"
    assert kept.of("t1") is bells[1]
    assert bells[1].ears.messages == ["news"]
    assert (kept.of("t1"), kept.any()) == (None, None), "there is room for another one"
    kept.rest(bells[1])
    assert kept.any() is bells[1]
    kept.rest(bells[1])
    kept.hang("t1", kept.spare() or bell("none"))
    assert kept.any() is bells[0], "a wait takes that of the oldest task"
    assert bells[0].ears.messages == []
    kept.rest(bells[0])
    deaf |= {"c0", "c5"}
    assert (kept.spare(), kept.of("t5")) == (None, None)
    assert kept.of("t6") is bells[6]
