"""Arrays as users of the Python client see them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from rq_sched import State, TaskRequest, testing
from rq_sched.errors import InvalidId, InvalidValue, TaskFailed, TaskNotFound
from rq_sched.testing import InlineClient
from tests.client import jobs

HERE = "tests.client.jobs"


@pytest.fixture
def client() -> Iterator[InlineClient]:
    with testing.cluster(cpu=4, memory=1024) as client:
        yield client


def test_each_element_has_its_result(client: InlineClient) -> None:
    array = client.submit(jobs.index_and_environment, array=range(3, 6), task_id="a")
    assert array.id == "a"
    assert array.wait() is State.COMPLETED
    assert array.result() is None
    assert [element.id for element in array.elements()] == ["a/3", "a/4", "a/5"]
    assert [element.result() for element in array.elements()] == [[3, "3"], [4, "4"], [5, "5"]]
    status = array.status()
    assert (status.array, status.state, status.elements) == (
        "3-5", State.COMPLETED, {"waiting": 0, "active": 0, "completed": 3, "failed": 0, "cancelled": 0}
    )  # fmt: skip
    assert client.handle("a/4").result() == [4, "4"]
    with pytest.raises(TaskNotFound):
        client.handle("a/6").result()
    with pytest.raises(InvalidId):
        client.handle("a/04")


def test_an_array_fails_with_one_of_its_elements(client: InlineClient) -> None:
    array = client.submit(jobs.fail_at, 2, array="1-3")
    with pytest.raises(TaskFailed, match="1 of 3 elements failed"):
        array.result()
    ended = {element.id: element.wait() for element in array.elements()}
    assert ended == {
        f"{array.id}/1": State.COMPLETED, f"{array.id}/2": State.FAILED, f"{array.id}/3": State.COMPLETED
    }  # fmt: skip


def test_other_tasks_have_no_index_also_inside_of_an_element(client: InlineClient) -> None:
    assert client.submit(jobs.index_and_environment).result() == [None, None]
    array = client.submit(jobs.around, array="8-8")
    assert client.handle(f"{array.id}/8").result() == [[8, "8"], [None, None], [8, "8"]]
    assert client.submit(jobs.around_array).result() == [[None, None], [[5, "5"], [6, "6"]], [None, None]]
    array = client.submit(jobs.around_array, array="9-9")
    assert client.handle(f"{array.id}/9").result() == [[9, "9"], [[5, "5"], [6, "6"]], [9, "9"]]


def test_elements_of_what_is_no_array(client: InlineClient) -> None:
    with pytest.raises(InvalidValue, match="isn't an array"):
        next(client.submit("math:sqrt", 4).elements())
    with pytest.raises(TaskNotFound):
        next(client.handle("nobody").elements())


def test_marked_functions_and_requests(client: InlineClient) -> None:
    array = jobs.always_an_array.submit()
    array.wait()
    assert [element.result() for element in array.elements()] == [1, 2, 3]
    array = jobs.always_an_array.options(array=range(2)).submit()
    array.wait()
    assert [element.result() for element in array.elements()] == [0, 1]
    handles = client.submit_many(
        [TaskRequest("math:sqrt", [4]), {"function": "math:sqrt", "args": [9], "array": "1-2"}, TaskRequest("math:pi")]
    )
    client.wait(handles)
    assert [element.result() for element in handles[1].elements()] == [3, 3]
    assert handles[0].result() == 2


@pytest.mark.parametrize("array", ["5-1", "x", "1", 5, range(0), range(0, 10, 2), "1-99999999"])
def test_what_is_no_array(client: InlineClient, array: object) -> None:
    with pytest.raises(InvalidValue, match="array"):
        client.submit("math:sqrt", 1, array=array)  # type: ignore[arg-type]


def test_an_executor_has_single_tasks(client: InlineClient) -> None:
    with pytest.raises(InvalidValue, match="a future is one task"):
        client.executor(array="1-3")
    with client.executor() as pool, pytest.raises(InvalidValue, match="a future is one task"):
        pool.submit(jobs.always_an_array)


def test_cancelled_as_a_whole(client: InlineClient) -> None:
    array = client.submit("math:sqrt", 1, array="1-1000", delay=60)
    assert array.cancel(requeue=False).outcome == "cancelled"
    assert array.wait() is State.CANCELLED
    assert client.handle(f"{array.id}/7").state() is State.CANCELLED
    client.requeue(f"{array.id}/7")
    assert client.handle(f"{array.id}/7").result() == 1
    assert client.forget([array.id]) == 1000


def test_the_same_with_await() -> None:
    async def main() -> None:
        async with testing.async_cluster() as client:
            array = await client.submit(jobs.index_and_environment, array=range(3, 6))
            assert await array.wait() is State.COMPLETED
            assert [await element.result() async for element in array.elements()] == [[3, "3"], [4, "4"], [5, "5"]]

    asyncio.run(main())
