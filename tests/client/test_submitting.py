"""Options apart from arguments, calls for each item, results in batches, and handles that stand for tasks."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rq_sched import AsyncClient, CancelOutcome, Client, State, TaskHandle, TaskHandles, TaskRequest, testing
from rq_sched.client import steps
from rq_sched.errors import (
    DependencyNotFound,
    InvalidTarget,
    InvalidValue,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    WaitTimeout,
)
from rq_sched.testing import InlineClient
from tests.client import jobs


@pytest.fixture
def client() -> Iterator[InlineClient]:
    with testing.cluster(cpu=4, memory=4096) as client:
        yield client


# -- options -----------------------------------------------------------------------------------------


def test_every_keyword_is_the_functions(client: InlineClient) -> None:
    handle = client.options(cpu=2, memory="1G", time_limit="10m", delay=timedelta(0)).submit("m:f", 1, cpu=7, prio=2)
    status = handle.status()
    assert (status.args, status.kwargs) == ([1], {"cpu": 7, "prio": 2})
    assert (status.cpu_needed, status.memory_needed, status.time_limit) == (2, 1024, 600)


def test_options_are_added_to(client: InlineClient) -> None:
    small = client.options(cpu=1, priority=5)
    large = small.options(cpu=4, task_id="large")
    assert [s.submit(jobs.add, 1).status().cpu_needed for s in (small, large)] == [1, 4]
    assert client.status("large").priority == 5
    assert "'cpu': 4" in repr(large)
    with pytest.raises(InvalidValue, match="unknown option 'cpus': did you mean cpu?"):
        small.options(cpus=3)  # type: ignore[call-arg]
    with pytest.raises(InvalidValue, match="unknown option 'cpus': did you mean cpu?"):
        client.options(cpus=3)  # type: ignore[call-arg]


def test_marked_functions_keep_their_options(client: InlineClient) -> None:
    status = client.options(cpu=3).submit(jobs.marked, 1, note="x").status()
    assert (status.cpu_needed, status.memory_needed, status.kwargs) == (3, 1024, {"note": "x"})


def test_dry_run_has_them_too(client: InlineClient) -> None:
    found: Any = client.options(cpu=64).dry_run("m:f", 1, cpu=2)
    assert found.to_dict()["reason"] == "infeasible"
    assert client.dry_run("m:f", 1, cpu=64).reason == "infeasible"
    assert client.tasks() == []


def test_the_short_form_refuses_what_isnt_clear(client: InlineClient) -> None:
    with pytest.raises(InvalidValue, match="cpu is an option of the task, and parent has a parameter of that name"):
        client.submit(jobs.parent, cpu=2)
    with pytest.raises(InvalidValue, match="memroy looks like the option memory"):
        client.submit("m:f", memroy=2)
    with pytest.raises(InvalidValue, match="cpu is an option of the task"):
        client.dry_run(jobs.parent, cpu=2)
    assert client.tasks() == []


# -- map and results ---------------------------------------------------------------------------------


def test_a_call_for_each_item(client: InlineClient) -> None:
    handles = client.map("math:hypot", [3, 6], [4, 8, 100])
    assert list(handles.results()) == [5, 10]
    wide = client.options(cpu=2).map("math:sqrt", (n * n for n in range(5)))
    assert list(wide.results()) == [0, 1, 2, 3, 4]
    assert wide[0].status().cpu_needed == 2
    assert list(client.map("math:sqrt", []).results()) == []


def test_what_no_map_takes(client: InlineClient) -> None:
    with pytest.raises(InvalidValue, match="task_id can't be the same"):
        client.options(task_id="t").map("m:f", [1])
    with pytest.raises(InvalidTarget):
        client.map(lambda n: n, [1])
    with pytest.raises(InvalidValue, match="request 3"):
        client.submit_many([{"function": "m:f"}, {"function": "m:f"}, {"function": "m:f", "delay": "soon"}])


def test_results_come_in_batches_and_in_order(client: InlineClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    size = 20
    monkeypatch.setattr(steps.batches, "__defaults__", (size,))

    def noted(ids: list[str]) -> list[str]:
        asked.append(len(ids))
        return ids

    status = client._store.status
    monkeypatch.setattr(client._store, "status", lambda ids: status(noted(ids)))
    handles = client.map("math:sqrt", [n * n for n in range(size + 5)])
    client.wait(handles)
    asked.clear()
    assert list(handles.results()) == list(range(size + 5))
    assert asked == [size, 5]


def test_the_results_before_an_error_come_first(client: InlineClient) -> None:
    handles = client.map("math:sqrt", [4, 9, -1, 16])
    results = handles.results()
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(TaskFailed, match="math domain error") as failed:
        next(results)
    assert failed.value.task_id == handles[2].id
    two, three, error, four = handles.results(return_exceptions=True)
    assert (two, three, four) == (2, 3, 4)
    assert isinstance(error, TaskFailed)


def test_results_of_an_array(client: InlineClient) -> None:
    array = client.submit(jobs.index_and_environment, array="3-5")
    assert list(array.results()) == [[3, "3"], [4, "4"], [5, "5"]]
    array = client.submit(jobs.fail_at, 2, array="1-3")
    outcomes = list(array.results(return_exceptions=True))
    assert [isinstance(outcome, TaskFailed) for outcome in outcomes] == [False, True, False]
    with pytest.raises(InvalidValue, match="isn't an array"):
        next(client.submit("math:sqrt", 4).results())


def test_results_that_dont_come(client: InlineClient) -> None:
    with pytest.raises(WaitTimeout):
        list(client.options(delay="1h").map("math:sqrt", [1]).results(timeout="1m"))
    handles = client.map("math:sqrt", [1])
    client.wait(handles)
    client.forget(handles)
    with pytest.raises(TaskNotFound):
        list(handles.results())


# -- handles in, handles out -------------------------------------------------------------------------


def test_handles_stand_for_tasks(client: InlineClient) -> None:
    one, two = client.map("math:sqrt", [1, 4])
    numbers = {one: 1, two: 2}
    assert [numbers[task] for task in client.as_completed([one, two.id])] == [1, 2]
    assert client.handle(one.id) == one != two
    ended = client.wait([one, two.id], timeout="10s")
    assert ended == {one: State.COMPLETED, two: State.COMPLETED}
    assert ended[one] is ended[one.id] is State.COMPLETED
    with pytest.raises(KeyError):
        ended["nobody"]
    assert client.states([one, two.id, "nobody"]) == [State.COMPLETED, State.COMPLETED, None]
    assert client.forget([one, two.id]) == 2


def test_what_has_ended_says_how(client: InlineClient) -> None:
    good, bad = client.map("math:sqrt", [1, -1])
    ended = list(client.as_completed([good, bad]))
    assert [(task.id, task.ended) for task in ended] == [(good.id, State.COMPLETED), (bad.id, State.FAILED)]
    assert ended[0].result() == 1
    assert isinstance(ended[0], TaskHandle)


def test_pairs_as_before_are_told_the_new_way(client: InlineClient) -> None:
    handle = client.submit("math:sqrt", 1)
    with pytest.warns(DeprecationWarning, match="use task.id and task.ended"):
        assert dict(client.as_completed([handle.id])) == {handle.id: State.COMPLETED}  # type: ignore[arg-type]


def test_the_same_with_await() -> None:
    async def main() -> None:
        async with testing.async_cluster() as client:
            handles = await client.options(cpu=2).map("math:sqrt", [1, 4, 9])
            assert [value async for value in handles.results(timeout="1m")] == [1, 2, 3]
            assert [task.ended async for task in client.as_completed(handles)] == [State.COMPLETED] * 3
            assert await client.wait(handles) == dict.fromkeys(handles, State.COMPLETED)
            assert (await client.options(cpu=64).dry_run("m:f", cpu=1)).reason == "infeasible"
            array = await client.submit(jobs.index_and_environment, array="1-2")
            assert [value async for value in array.results()] == [[1, "1"], [2, "2"]]

    asyncio.run(main())


# -- how tasks end -----------------------------------------------------------------------------------


def test_a_cancelled_task_has_an_error_of_its_own(client: InlineClient) -> None:
    client.drain("node1")
    handle = client.submit("math:sqrt", 1)
    assert handle.cancel(requeue=False).outcome is CancelOutcome.CANCELLED
    again = handle.cancel().outcome
    assert again is CancelOutcome.ALREADY_CANCELLED
    assert again == "already cancelled"  # type: ignore[comparison-overlap]
    with pytest.raises(TaskCancelled, match="was cancelled") as cancelled:
        handle.result()
    assert isinstance(cancelled.value, TaskFailed)
    assert (cancelled.value.task_id, cancelled.value.attempt, cancelled.value.node_id) == (handle.id, 0, None)
    copy = pickle.loads(pickle.dumps(cancelled.value))  # noqa: S301
    assert (type(copy), copy.task_id) == (TaskCancelled, handle.id)
    (error,) = TaskHandles([handle]).results(return_exceptions=True)
    assert type(error) is TaskCancelled


def test_a_failed_one_says_what_it_failed_with(client: InlineClient) -> None:
    with pytest.raises(TaskFailed) as failed:
        client.submit("exec:/bin/sh", "-c", "exit 7").result()
    error = failed.value
    assert type(error) is TaskFailed
    assert (error.reason, error.exit_code, error.node_id, error.attempt) == ("exit_code", 7, "node1", 1)


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
def test_each_end_has_its_outcome(state: State) -> None:
    assert CancelOutcome.already(state) == f"already {state}"


# -- keys --------------------------------------------------------------------------------------------


def test_the_signing_key_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("a key of at least sixteen characters\n")
    file.chmod(0o600)
    for name in (file, str(file)):
        assert Client("redis://nobody.invalid", signing_key_file=name)._store._signer is not None
    with pytest.raises(InvalidValue, match="give one of them"):
        Client("redis://nobody.invalid", signing_key="x" * 20, signing_key_file=file)
    file.chmod(0o644)
    with pytest.raises(InvalidValue):
        Client("redis://nobody.invalid", signing_key_file=file)
    with pytest.raises(InvalidValue):
        AsyncClient("redis://nobody.invalid", signing_key_file=tmp_path / "no")


def test_tasks_that_wait_for_others(client: InlineClient) -> None:
    first = client.submit("math:sqrt", 4.0)
    second = client.submit("math:sqrt", 9.0, after=[first], task_id="second")
    graph = client.submit_many(
        [
            TaskRequest("math:sqrt", [2.0], task_id="last", after=["second", "third:any"]),
            TaskRequest("math:sqrt", [2.0], task_id="third", after=[second]),
        ]
    )
    assert [handle.id for handle in graph] == ["last", "third"]
    assert [info.awaited for info in (second.status(), graph[0].status())] == [1, 2]
    assert graph[0].status().after == ["second", "third:any"]
    assert graph[0].explain().awaited_of == 2
    with pytest.raises(DependencyNotFound, match="there is no task nobody to wait for"):
        client.submit("math:sqrt", 2.0, after="nobody")
    with pytest.raises(InvalidValue, match="wait for each other"):
        client.submit("math:sqrt", 2.0, task_id="me", after="me")
    assert [round(value, 3) for value in graph.results(timeout=30)] == [1.414, 1.414]
    assert second.result() == 3.0
