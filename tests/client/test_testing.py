"""``rq_sched.testing``: what users' tests see, and with it the client's methods."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from typing import Any

import pytest

from rq_sched import State, TaskRequest, testing
from rq_sched.client.decorator import default_client, set_default_client
from rq_sched.errors import (
    InvalidValue,
    NotSerializable,
    PayloadTooLarge,
    TaskExists,
    TaskFailed,
    TaskFinal,
    TaskNotFinal,
    TaskNotFound,
    UsageError,
    WaitTimeout,
    WrongState,
)
from rq_sched.testing import InlineClient
from tests.client import jobs

HERE = "tests.client.jobs"


@pytest.fixture
def client() -> Iterator[InlineClient]:
    jobs.ran.clear()
    with testing.cluster(cpu=4, memory=1024) as client:
        yield client


# -- running ----------------------------------------------------------------------------------------


def test_a_function_by_name_and_as_itself(client: InlineClient) -> None:
    assert client.submit("math:sqrt", 2.25).result() == 1.5
    assert client.submit(jobs.add, 1, b=2).result() == 3
    assert client.submit(TaskRequest("math:sqrt", [4])).result() == 2
    assert jobs.marked.submit(1, note="!").result() == "1!"


def test_coroutines_run_too_also_inside_a_loop(client: InlineClient) -> None:
    assert client.submit(jobs.add_later, 1, 2).result() == 3

    async def inside() -> Any:
        return jobs.marked_async.submit(4).result()

    assert asyncio.run(inside()) == 8


def test_nothing_runs_before_somebody_waits(client: InlineClient) -> None:
    handle = client.submit(jobs.add, 1, 2)
    assert (handle.state(), handle.done()) == (State.ASSIGNED, False)
    assert jobs.ran == []
    client.run()
    assert (handle.state(), handle.done()) == (State.COMPLETED, True)


def test_priority_decides(client: InlineClient) -> None:
    client.submit_many(TaskRequest(f"{HERE}:add", [n], priority=n, cpu_needed=4) for n in (1, 3, 2))
    client.run()
    assert [a for _, a, _ in jobs.ran] == [3, 2, 1]


def test_a_failure_is_an_error_with_its_text(client: InlineClient) -> None:
    handle = client.submit(jobs.fail, "so sad")
    with pytest.raises(TaskFailed, match=r"(?s)failed \(error\): Traceback.*jobs.*ValueError: so sad"):
        handle.result()
    assert handle.wait() == State.FAILED
    assert "inline.py" not in str(handle.status().error)


@pytest.mark.parametrize(
    ("target", "args", "reason"),
    [
        ("no_such_module:f", (), "not_found"),
        (f"{HERE}:nothing", (), "not_found"),
        (f"{HERE}:HERE_IS_NO_FUNCTION", (), "not_found"),
        (f"{HERE}:failures_left", (), "not_found"),
        (jobs.not_plain, (), "unsendable"),
        (jobs.leave, (), "error"),
        (jobs.add, (), "error"),
        ("exec:/bin/false", (), "exit_code"),
        ("exec:/no/such/command", (), "not_found"),
    ],
)
def test_how_tasks_fail(client: InlineClient, target: Any, args: tuple[Any, ...], reason: str) -> None:
    handle = client.submit(target, *args)
    assert handle.wait() == State.FAILED
    assert handle.status().reason == reason


def test_commands(client: InlineClient) -> None:
    assert client.submit("exec:/bin/true", "x", 1).result() == 0


def test_retries_wait_in_virtual_time(client: InlineClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "failures_left", 2)
    began = time.monotonic()
    handle = client.submit(jobs.fail_some_times, retries=2)
    client.run()
    assert handle.state() == State.DELAYED
    assert handle.result() == "at last"
    assert handle.status().attempt == 3
    assert time.monotonic() - began < 1.5, "back-off was waited for in real time"


def test_a_delay_is_over_when_time_passes(client: InlineClient) -> None:
    handle = client.submit(jobs.add, 1, delay=3600)
    client.run()
    assert handle.state() == State.DELAYED
    client.advance(3599)
    client.run()
    assert handle.state() == State.DELAYED
    client.advance(2)
    client.run()
    assert handle.state() == State.COMPLETED


def test_a_timeout_passes_in_virtual_time(client: InlineClient) -> None:
    handle = client.submit(jobs.add, 1, delay=3600, task_id="slow")
    with pytest.raises(WaitTimeout, match="not ended within 60 s: slow"):
        handle.result(timeout=60)
    with pytest.raises(WaitTimeout):
        handle.wait(timeout=0)
    assert handle.result(timeout=3600) == 1


def test_what_can_never_run_is_said_at_once(client: InlineClient) -> None:
    client.submit(jobs.add, 1, cpu=5, task_id="big")
    with pytest.raises(WaitTimeout, match=r"task big is pending \(infeasible\), needs 5 CPU, 256 MB"):
        client.result("big")
    client.submit(jobs.add, 1, task_id="kept", delay=1)
    client.hold("kept")
    with pytest.raises(WaitTimeout, match="task kept is held"):
        client.wait(["kept"])


def test_current_task(client: InlineClient) -> None:
    assert client.submit(jobs.who_am_i, cpu=1, max_cpu=3, task_id="me").result() == {
        "id": "me",
        "attempt": 1,
        "cpu": 1,
        "env": ["me", "1"],
        "grown": True,
        "cpu_then": 2,
    }
    assert client.status("me").progress == 0.5


def test_a_task_may_wait_for_another(client: InlineClient) -> None:
    assert client.options(cpu=1).submit(jobs.parent, 3).result() == 3
    with pytest.raises(TaskFailed, match="nothing can run any more"):
        client.options(cpu=2).submit(jobs.parent, 3).result()


def test_several_nodes() -> None:
    with testing.cluster(cpu=1, memory="1G", nodes=3) as client:
        handles = client.submit_many(TaskRequest("math:sqrt", [n]) for n in range(6))
        client.run()
        assert {handle.status().node_id for handle in handles} == {"node1", "node2", "node3"}
        assert [(node.node_id, node.running, node.total_memory) for node in client.nodes()] == [
            (f"node{n}", 0, 1024) for n in (1, 2, 3)
        ]


def test_long_arguments_and_results(client: InlineClient) -> None:
    assert client.submit("builtins:sorted", list(range(5000, 0, -1))).result() == list(range(1, 5001))


def test_without_fakeredis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "find_spec", lambda name: None if name == "lupa" else importlib.util.find_spec(name))
    with pytest.raises(ImportError, match=r"pip install 'fakeredis\[lua\]'"), testing.cluster():
        pass


def test_the_default_client_is_as_before_afterwards() -> None:
    marker = object()
    before = set_default_client(marker)  # type: ignore[arg-type]
    try:
        with testing.cluster() as client:
            assert default_client() is client
        assert default_client() is marker
    finally:
        set_default_client(before)


# -- submit -----------------------------------------------------------------------------------------


def test_submit_many_gives_handles_in_order(client: InlineClient) -> None:
    requests: list[Any] = [TaskRequest("math:sqrt", [n * n], task_id=f"t{n}") for n in range(5)]
    requests.append({"function": "math:sqrt", "args": [9], "task_id": "t5", "cpu_needed": 2})
    handles = client.submit_many(requests)
    assert [handle.id for handle in handles] == [f"t{n}" for n in range(6)]
    assert client.wait(handle.id for handle in handles) == {client.handle(f"t{n}"): State.COMPLETED for n in range(6)}
    assert [handle.result() for handle in handles] == [0, 1, 2, 3, 4, 3]


def test_the_same_requests_again_are_the_same_tasks(client: InlineClient) -> None:
    requests = [TaskRequest("math:sqrt", [n]) for n in range(3)]
    first = client.submit_many(requests)
    assert client.submit_many(requests) == first
    assert client.info().ever["submitted"] == 3


def test_taken_ids_are_named_after_all_else_is_submitted(client: InlineClient) -> None:
    client.submit("math:sqrt", 1, task_id="a")
    with pytest.raises(TaskExists, match="id a is another task's already"):
        client.submit("math:sqrt", 2, task_id="a")
    client.submit("math:sqrt", 1, task_id="b")
    requests = [TaskRequest("math:sqrt", [9], task_id=name) for name in ("a", "x", "b", "y")]
    seen: list[str] = []
    with pytest.raises(TaskExists, match="id a, b are other tasks' already"):
        seen.extend(handle.id for handle in client.submit_stream(requests))
    assert seen == ["x", "y"]
    assert client.result("y") == 3
    assert client.result("a") == 1


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (lambda: TaskRequest("m:f", cpu_needed=-1), UsageError),
        (lambda: TaskRequest("m:f", [object()]), NotSerializable),
        (lambda: TaskRequest("m:f", ["x" * 300_000]), PayloadTooLarge),
        (lambda: {"function": "m:f", "cpus": 1}, InvalidValue),
    ],
)
def test_a_bad_request_is_named_and_those_before_it_are_submitted(client: InlineClient, bad: Any, error: Any) -> None:
    requests = [*(TaskRequest("m:f", task_id=f"t{n}") for n in range(3)), bad(), TaskRequest("m:f", task_id="late")]
    with pytest.raises(error, match=r"^request 4: .* \(those before it are submitted\)$"):
        client.submit_many(requests)
    assert client.states(["t0", "t1", "t2", "late"]) == [State.ASSIGNED] * 3 + [None]


def test_a_stream_is_not_read_ahead_of_what_is_submitted(client: InlineClient) -> None:
    read = 0

    def requests() -> Iterator[TaskRequest]:
        nonlocal read
        for read in range(1, 5001):  # noqa: B007
            yield TaskRequest("m:f")

    stream = client.submit_stream(requests())
    assert read == 0
    next(stream)
    assert read <= 1000
    del stream
    assert client.info().ever["submitted"] == read


def test_what_a_broken_source_gave_is_submitted(client: InlineClient) -> None:
    def requests() -> Iterator[TaskRequest]:
        yield TaskRequest("math:sqrt", [4], task_id="t1")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        client.submit_many(requests())
    assert client.result("t1") == 2


# -- change and look --------------------------------------------------------------------------------


def test_cancel_before_it_runs(client: InlineClient) -> None:
    handle = client.submit(jobs.add, 1)
    assert handle.cancel(reason="not now").outcome == "requeued"
    assert handle.cancel(requeue=False).outcome == "cancelled"
    assert handle.cancel().outcome == "already cancelled"
    with pytest.raises(TaskFailed, match="was cancelled"):
        handle.result()
    done = client.submit(jobs.add, 1)
    done.wait()
    assert done.cancel(requeue=False).outcome == "already completed"
    for grace in (-1, "soon", float("nan")):
        with pytest.raises(InvalidValue, match="grace"):
            done.cancel(grace=grace)


def test_cancel_of_what_has_been_placed(client: InlineClient) -> None:
    first, second = client.submit(jobs.add, 1), client.submit(jobs.add, 2)
    client._cluster.run_next()  # places both
    assert second.state() == State.ASSIGNED
    assert second.cancel(requeue=False).outcome == "cancelled"
    client.run()
    assert (first.state(), second.state()) == (State.COMPLETED, State.CANCELLED)
    assert [a for _, a, _ in jobs.ran] == [1]
    assert client.nodes()[0].free_cpu == 4


def test_a_task_that_is_cancelled_while_it_runs(client: InlineClient) -> None:
    handle = client.submit(jobs.cancel_myself)
    assert handle.wait() == State.CANCELLED
    assert client.nodes()[0].running == 0


def test_hold_unhold_requeue_prioritize(client: InlineClient) -> None:
    client.drain("node1")
    handle = client.submit(jobs.add, 1)
    assert client.hold(handle.id) == State.HELD
    assert client.unhold(handle.id) == State.PENDING
    assert client.prioritize(handle.id, 5) == State.PENDING
    assert handle.status().priority == 5
    with pytest.raises(InvalidValue, match="priority"):
        client.prioritize(handle.id, "high")  # type: ignore[arg-type]
    client.undrain("node1")
    handle.wait()
    with pytest.raises(TaskFinal):
        client.prioritize(handle.id, 6)
    with pytest.raises((WrongState, TaskFinal)):
        client.hold(handle.id)
    assert not client.requeue(handle.id).final
    assert handle.result() == 1
    assert handle.status().attempt == 2


def test_unknown_tasks(client: InlineClient) -> None:
    for ask in (
        client.status,
        client.state,
        client.result,
        client.cancel,
        client.requeue,
        client.hold,
        client.unhold,
        client.explain,
        client.logs,
        lambda task_id: client.wait([task_id]),
        lambda task_id: client.forget([task_id]),
        lambda task_id: client.prioritize(task_id, 1),
        lambda task_id: client.handle(task_id).done(),
    ):
        with pytest.raises(TaskNotFound):
            ask("nobody")
    assert client.states(["nobody"]) == [None]


def test_tasks_and_explain(client: InlineClient) -> None:
    client.submit(jobs.add, 1, cpu=4, task_id="first")
    client.submit(jobs.add, 1, cpu=9, task_id="big", priority=3)
    client.submit(jobs.add, 1, task_id="small")
    assert [info.task_id for info in client.tasks()] == ["first", "big", "small"]
    assert [info.task_id for info in client.tasks(state="pending")] == ["big", "small"]
    assert [info.task_id for info in client.tasks(priority=3)] == ["big"]
    assert client.explain("big").reason == "infeasible"
    with pytest.raises(InvalidValue, match="no state 'lost'"):
        client.tasks(state="lost")


def test_forget(client: InlineClient) -> None:
    handles = client.submit_many(TaskRequest("math:sqrt", [n]) for n in range(30))
    client.run()
    failed = client.submit(jobs.fail, "x")
    failed.wait()
    waiting = client.submit(jobs.add, 1, delay=60)
    with pytest.raises(TaskNotFinal):
        client.forget([waiting.id])
    assert client.forget([handles[0].id]) == 1
    assert client.forget(state="completed", older_than=60) == 0
    assert client.forget(state="completed") == 29
    assert client.forget() == 1
    assert waiting.state() == State.DELAYED


def test_events(client: InlineClient) -> None:
    handle = client.submit(jobs.add, 1, task_id="t")
    client.submit(jobs.add, 1)
    client.run()
    assert handle.done()
    kinds = [event.type for event in client.events(task_id="t")]
    assert kinds[0] == "submitted"
    assert kinds[-1] == "completed"
    everything = list(client.events())
    assert {event.node_id for event in client.events(node_id="node1")} == {"node1"}
    later = list(client.events(after=everything[0].id))
    assert later
    assert everything[0].id not in {event.id for event in later}


def test_drain(client: InlineClient) -> None:
    assert client.drain("node1") == "draining"
    handle = client.submit(jobs.add, 1)
    client.run()
    assert handle.state() == State.PENDING
    assert client.undrain("node1") == "up"
    assert handle.result() == 1


# -- the executor, the other client -----------------------------------------------------------------


def test_an_executor(client: InlineClient) -> None:
    with client.executor(cpu=1, memory=64) as pool:
        assert list(pool.map(jobs.add, range(30), range(30))) == [2 * n for n in range(30)]
        futures = [pool.submit(jobs.add, n, b=1) for n in range(20)]
        assert sorted(future.result() for future in as_completed(futures)) == list(range(1, 21))


def test_a_stuck_executor_says_so(client: InlineClient) -> None:
    with client.executor(cpu=5) as pool:
        future = pool.submit(jobs.add, 1)
        with pytest.raises(WaitTimeout, match="infeasible"):
            future.result(timeout=10)


def test_the_async_client() -> None:
    async def story() -> None:
        async with testing.async_cluster(cpu=4) as client:
            handle = await client.submit(jobs.add, 1, b=2)
            assert await handle.result() == 3
            handles = await client.submit_many(TaskRequest("math:sqrt", [n * n]) for n in range(5))
            assert await asyncio.gather(*(handle.result() for handle in handles)) == [0, 1, 2, 3, 4]
            assert await client.wait(handles) == dict.fromkeys(handles, State.COMPLETED)
            assert await (await client.submit(jobs.marked_async, 2)).result() == 4
            late = await client.submit(jobs.add, 1, delay=60)
            await client.run()
            assert not await late.done()
            client.advance(61)
            await client.run()
            assert await late.state() == State.COMPLETED
            with pytest.raises(WaitTimeout, match="infeasible"):
                await (await client.submit(jobs.add, 1, cpu=5)).wait()

    asyncio.run(story())


def test_dry_run(client: InlineClient) -> None:
    said = client.dry_run(jobs.add, 1, cpu=9, y=3)
    assert (said.state, said.reason, said.cpu_needed) == ("pending", "infeasible", 9)
    assert client.dry_run(jobs.add, 1).state == "assigned"
    assert client.dry_run(TaskRequest("math:sqrt", [1.0], cpu_needed=2)).cpu_needed == 2
    assert client.tasks() == []
    with pytest.raises(InvalidValue):
        client.dry_run(jobs.add, 1, priority=2**40)


def test_tasks_find_what_they_hold():
    with testing.cluster(resources={"gpu": 2, "scratch": 1000}) as client:
        handles = [
            client.submit("tests.worker.places:held", resources={"gpu": need, "scratch": 500}) for need in (2, 0.5)
        ]
        two, half = [handle.result(timeout=1) for handle in handles]
        none = client.submit("tests.worker.places:held").result(timeout=1)
    assert two["resources"] == {"gpu": [2, ["0", "1"]], "scratch": [500, []]}
    assert two["env"]["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert half["resources"]["gpu"] == [0.5, ["0"]]
    assert none["resources"] == {}
