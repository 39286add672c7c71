"""Whole graphs, in whatever order and batches they come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from rq_sched import Client, State, TaskRequest, testing
from rq_sched.client import steps
from rq_sched.errors import DependencyNotFound, InvalidValue, NotSerializable, TaskCancelled, TaskFailed
from rq_sched.model.references import ResultOf
from rq_sched.model.values import pack
from rq_sched.testing import InlineClient
from tests.client import jobs
from tests.client.kit import whole  # noqa: F401  (a fixture)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[InlineClient]:
    monkeypatch.setattr(steps, "BATCH", 5)
    monkeypatch.setattr(steps.batches, "__defaults__", (5,))
    with testing.cluster(cpu=4, memory=4096) as client:
        yield client


def chain(names: str, *last: str) -> list[TaskRequest]:
    """Each waits for the one before it."""
    before = [None, *names]
    return [
        TaskRequest("math:sqrt", [4.0], task_id=name, after=[*([one] if one else []), *last])
        for one, name in zip(before, names, strict=False)
    ]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1), slice(None, None, 7)])
def test_a_graph_comes_in_batches_in_any_order(client: InlineClient, order: slice) -> None:
    requests = chain("abcdefghijklmnopqrstuvwxyz")[order]
    if order.step == 7:
        requests = [request for first in range(7) for request in chain("abcdefghijklmnopqrstuvwxyz")[first::7]][::-1]
    handles = client.submit_many(requests)
    assert [handle.id for handle in handles] == [request.task_id for request in requests]
    assert set(handles.results(timeout=30)) == {2.0}


def test_what_waits_for_nothing_there_is_told_at_the_end(client: InlineClient) -> None:
    requests = [*chain("abc", "nobody"), *chain("xyz")]
    with pytest.raises(DependencyNotFound, match="task a isn't submitted: there is no task nobody to wait for"):
        client.submit_many(requests)
    assert client.states(["a", "x", "z"]) == [None, State.PENDING, State.WAITING]


def test_a_cycle_over_several_batches_is_named(client: InlineClient) -> None:
    requests = chain("abcdefghijkl")
    requests[0].after = ["l"]
    with pytest.raises(InvalidValue, match="a -> l -> k -> j"):
        client.submit_many(requests)


# -- handles among arguments --------------------------------------------------------------------------


def test_a_handle_stands_for_its_result(client: InlineClient) -> None:
    two, three = client.map("math:sqrt", [4, 9])
    request = TaskRequest(jobs.TOLD, [client.handle("five"), two, "two"], {"x": three}, task_id="six")
    six, _ = client.submit_many([request, TaskRequest("math:sqrt", [25], task_id="five")])
    nested = client.submit(jobs.told, [two, {"a": (three, 7)}, [[two]]], b={"c": client.map("math:sqrt", [1, 4])})
    assert sorted(six.status().after or []) == sorted([f"{two.id}:result", f"{three.id}:result", "five:result"])
    assert nested.state() is State.WAITING
    assert nested.status().args == [[ResultOf(two.id), {"a": [ResultOf(three.id), 7]}, [[ResultOf(two.id)]]]]
    assert six.result(timeout=30) == [[5.0, 2.0, "two"], {"x": 3.0}]
    assert nested.result(timeout=30) == [[[2.0, {"a": [3.0, 7]}, [[2.0]]]], {"b": {"c": [1.0, 2.0]}}]
    assert client.dry_run("math:sqrt", two).state is State.ASSIGNED


def test_a_graph_of_results_by_every_way_to_submit(client: InlineClient) -> None:
    first = client.submit("math:sqrt", 16)
    assert client.options(cpu=2).submit("math:sqrt", first).result(timeout=30) == 2.0
    assert list(client.map("math:sqrt", [first, first]).results(timeout=30)) == [2.0, 2.0]
    with client.executor() as pool:
        assert pool.submit("math:sqrt", first).result(timeout=30) == 2.0
    again = client.submit("math:sqrt", first, after=[first], array="1-2")
    assert list(again.results(timeout=30)) == [2.0, 2.0]
    assert client.dry_run("math:sqrt", client.submit("math:sqrt", 1, delay=60)).reason == "after"


def test_element_by_element(client: InlineClient) -> None:
    """In one batch with the array that it waits for, and after it; a failure is its own element's."""
    bad = client.submit("math:sqrt", -1, array="1-2")
    good, then = client.submit_many(
        [TaskRequest("math:sqrt", [4], array="0-1", after_each="good", id="then"),
         TaskRequest("math:sqrt", [9], array="0-1", id="good")]
    )[::-1]  # fmt: skip
    last = client.submit("math:sqrt", 1, array=range(2), after_each=then)
    assert list(last.results(timeout=30)) == [1.0, 1.0]
    assert (good.state(), then.status().after_each, last.status().after_each) == (State.COMPLETED, "good", "then")
    with pytest.raises(TaskCancelled):
        client.submit("math:sqrt", 1, array="1-2", after_each=bad).result(timeout=30)
    with pytest.raises(InvalidValue, match="good is no array with the same indexes"):
        client.submit("math:sqrt", 1, array="1-2", after_each=good)
    with pytest.raises(InvalidValue, match="good is no array with the same indexes"):
        client.options(array="1-2", after_each=good).dry_run("math:sqrt", 1)


def test_with_await() -> None:
    async def scene() -> None:
        async with testing.async_cluster(cpu=1, memory=1024) as client:
            array = await client.submit("math:sqrt", 4, array="1-2")
            await (await client.submit("math:sqrt", 4, array="1-2", after_each=array)).wait(timeout=30)
            first = await client.submit("math:sqrt", 16)
            assert await (await client.submit("math:sqrt", first)).result(timeout=30) == 2.0

    asyncio.run(scene())


def test_a_result_that_there_is_not(client: InlineClient) -> None:
    bad = client.submit("math:sqrt", -1)
    after = client.submit("math:sqrt", bad, task_id="x")
    with pytest.raises(TaskCancelled):
        after.result(timeout=30)
    client.requeue("x")
    with pytest.raises(TaskFailed, match=f"needs the result of task {bad.id} as an argument, which has none: it is fa"):
        after.result(timeout=30)
    large = [client.submit("builtins:bytes", 2**18 - 8) for _ in range(70)]
    with pytest.raises(TaskFailed, match=r"results among its arguments have [\d,]+ bytes, at most 16,777,216"):
        client.submit(jobs.told, large).result(timeout=30)


def test_what_is_no_argument_is_refused(client: InlineClient) -> None:
    first = client.submit("math:sqrt", 16, task_id="first")
    sweep = client.submit("math:sqrt", 4, array="1-3", task_id="sweep")
    with pytest.raises(InvalidValue, match="sweep is an array, which has no result of its own: pass its elements"):
        client.submit("math:sqrt", sweep)
    assert client.submit("builtins:sum", list(sweep.elements())).result(timeout=30) == 6.0
    with pytest.raises(InvalidValue, match="after names first as any, and its result is an argument"):
        client.submit("math:sqrt", first, after="first:any")
    with pytest.raises(NotSerializable, match=r"a dict with a key that can't be sent"):
        client.submit(jobs.told, {first: 1})
    with pytest.raises(NotSerializable, match=r"it\[0\] is an? .*TaskHandle: send its \.id"):
        pack([first], "the result")
    with pytest.raises(InvalidValue, match="the tasks of a schedule wait for no others"):
        client.every("nightly", "math:sqrt", first, interval="1h")
    with pytest.raises(InvalidValue, match="one of namespace testing: a task can use results of its own"):
        Client("redis://nobody.invalid", "else").submit("math:sqrt", first)
    with pytest.raises(InvalidValue, match="request 1: task first, whose result is an .*, is one of another Redis"):
        Client("redis://nobody.invalid", "testing").submit_many([TaskRequest("math:sqrt", [first])])


@pytest.mark.parametrize("size", [10, 200_000])
def test_results_of_any_size_reach_real_processes(whole: Client, size: int) -> None:  # noqa: F811
    parts = [whole.submit("builtins:bytes", size) for _ in range(3)]
    joined = whole.submit(jobs.lengths, parts, last=parts[0])
    assert joined.result(timeout=30) == [size] * 4
    assert whole.submit("exec:/bin/echo", whole.submit("builtins:str", "x")).result(timeout=30) == 0
    broken = whole.submit("math:sqrt", whole.submit("math:sqrt", 4), task_id="broken", retries=1)
    assert broken.result(timeout=30) == 2**0.5


@pytest.mark.parametrize("cpu", [0, 1])
def test_a_driver_that_holds_cores_is_told_once(whole: Client, cpu: int) -> None:  # noqa: F811
    driver = whole.submit(jobs.drive, whole._link.url, whole.namespace, 4, cpu=cpu)
    assert driver.result(timeout=30) == [cpu, "1" if cpu else "0", "1", 2.0 * 4]
    told = b"this task waits for others, and holds a core meanwhile. Submit it with --cpu 0"
    assert whole.logs(driver.id).count(told.decode()) == cpu
