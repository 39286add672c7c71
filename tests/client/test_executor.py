"""The executor against a real server."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, as_completed, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rq_sched import Client, State
from rq_sched.client.executor import TaskFuture
from rq_sched.errors import InvalidTarget, InvalidValue, NotSerializable, TaskFailed
from rq_sched.link import Link
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store import Store
from rq_sched.testing.node import InlineNode
from tests.client.kit import PATIENCE, whole  # noqa: F401  (a fixture)
from tests.client.test_client import one
from tests.support import wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(redis_url: str, namespace: str) -> Iterator[Client]:
    with Client(redis_url, namespace) as client:
        yield client


@contextmanager
def working(redis_url: str, namespace: str) -> Iterator[InlineNode]:
    """A node whose thread places and runs whatever comes."""
    link, store = Link(redis_url), Store(namespace)
    node = InlineNode(link, store, "n1", Resources(64, 64_000))
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            if not node.run_next() and not link.run(store.place()).placed:
                time.sleep(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield node
    finally:
        end.set()
        thread.join()
        link.close()


def square(n: Any) -> Any:
    return n * n


def test_map_on_a_real_worker(whole: Client) -> None:  # noqa: F811
    with whole.executor(cpu=1, memory=16) as pool:
        assert list(pool.map(square, range(500), timeout=PATIENCE)) == [n * n for n in range(500)]


def test_cancel_of_what_runs(whole: Client) -> None:  # noqa: F811
    with whole.executor(memory=16) as pool:
        future = pool.submit(time.sleep, 60)
        wait_for(future.running, PATIENCE, lambda: whole.status(future.task_id))
        assert future.cancel()
        assert not future.running()
        assert whole.wait([future.task_id], PATIENCE) == {whole.handle(future.task_id): State.CANCELLED}


def test_futures_are_futures(client: Client, redis_url: str, namespace: str) -> None:
    with working(redis_url, namespace), client.executor() as pool:
        futures = [pool.submit(square, n) for n in range(20)]
        assert sorted(future.result() for future in as_completed(futures, timeout=PATIENCE)) == [
            n * n for n in range(20)
        ]
        done, open_ = wait(futures)
        assert (len(done), len(open_)) == (20, 0)
        called: list[Future[Any]] = []
        later = pool.submit(square, 3)
        later.add_done_callback(called.append)
        assert later.result(timeout=PATIENCE) == 9
    assert called == [later]


def test_failures(client: Client, redis_url: str, namespace: str) -> None:
    with working(redis_url, namespace), client.executor() as pool:
        good, failing, bad = pool.submit(square, 2), pool.submit(square, "x"), pool.submit(square, object())
        also_good = pool.submit(square, 4)
        with pytest.raises(TaskFailed, match="TypeError"):
            failing.result(timeout=PATIENCE)
        with pytest.raises(NotSerializable):
            bad.result(timeout=PATIENCE)
        assert (good.result(timeout=PATIENCE), also_good.result(timeout=PATIENCE)) == (4, 16)
        with pytest.raises(InvalidTarget):
            pool.submit(lambda: 1)
        with pytest.raises(TaskFailed):
            list(pool.map(square, [1, "x", 3]))
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(square, 1)


def test_options(client: Client) -> None:
    with pytest.raises(InvalidValue, match="'cpus'"):
        client.executor(cpus=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidValue, match="task_id"):
        client.executor(task_id="t")
    pool = client.executor(cpu=2, memory="1G", priority=3)
    future = pool.submit(square, 1)
    wait_for(lambda: client.states([future.task_id]) != [None])
    info = client.status(future.task_id)
    assert (info.cpu_needed, info.memory_needed, info.priority, info.args) == (2, 1024, 3, [1])
    assert future.cancel()
    pool.shutdown()


def test_cancel_ends_the_task_for_good(client: Client, namespace: str) -> None:
    pool = client.executor()
    future = pool.submit(square, 1)
    assert future.cancel()
    assert future.cancel()
    assert future.cancelled()
    assert client.states([future.task_id])[0] in (None, State.CANCELLED)
    with pytest.raises(CancelledError):
        future.result()
    sent = pool.submit(square, 2)
    wait_for(lambda: client.states([sent.task_id]) != [None])
    assert sent.cancel()
    assert client.state(sent.task_id) == State.CANCELLED
    done, _ = wait([future, sent], timeout=1)
    assert done == {future, sent}
    pool.shutdown()


def test_cancel_of_what_is_done_or_runs(client: Client, link: Link, namespace: str) -> None:
    node = InlineNode(link, Store(namespace), "n1", Resources(4, 4096))
    pool = client.executor()
    done, placed = pool.submit(square, 1), None
    wait_for(node.run_next)
    assert done.result(timeout=PATIENCE) == 1
    assert not done.cancel()
    placed = pool.submit(square, 2)
    wait_for(lambda: client.states([placed.task_id]) == [State.ASSIGNED])
    assert placed.cancel()
    assert placed.cancelled()
    while node.run_next():
        pass
    assert client.state(placed.task_id) == State.CANCELLED
    pool.shutdown()


def test_a_task_cancelled_by_somebody_else(client: Client) -> None:
    with client.executor() as pool:
        future = pool.submit(square, 1)
        wait_for(lambda: client.states([future.task_id]) != [None])
        client.cancel(future.task_id, requeue=False)
        with pytest.raises(CancelledError):
            future.result(timeout=PATIENCE)


def test_shutdown_cancels_what_no_node_has_begun(client: Client, link: Link, namespace: str) -> None:
    node = InlineNode(link, Store(namespace), "n1", Resources(1, 256))
    pool = client.executor()
    futures = [pool.submit(square, n) for n in range(50)]
    wait_for(lambda: client.states([futures[0].task_id]) == [State.ASSIGNED])
    pool.shutdown(wait=False, cancel_futures=True)
    assert [future.cancelled() for future in futures] == [False] + [True] * 49
    assert {event.type for event in client.events()} & {"held", "cancelling"} == set()  # each in one call
    while node.run_next():
        pass
    assert futures[0].result(timeout=PATIENCE) == 0
    pool.shutdown(wait=True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rq-sched")]


def test_lost_doorbells_and_connections(client: Client, link: Link, redis_url: str, namespace: str) -> None:
    pool = client.executor()
    futures = [pool.submit(square, n) for n in range(200)]
    wait_for(lambda: None not in client.states([future.task_id for future in futures]))
    link.run(one("CLIENT", "KILL", "TYPE", "pubsub"))
    link.run(one("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
    with working(redis_url, namespace):
        assert [future.result(timeout=PATIENCE) for future in futures] == [n * n for n in range(200)]
        pool.shutdown()


def test_an_exit_without_shutdown_still_sends(redis_url: str, namespace: str, client: Client) -> None:
    code = (
        "from rq_sched import Client\n"
        f"pool = Client({redis_url!r}, {namespace!r}).executor()\n"
        "futures = [pool.submit('math:sqrt', n) for n in range(3000)]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    assert client.info().ever["submitted"] == 3000


def test_a_fork_needs_an_executor_of_its_own(client: Client) -> None:
    with client.executor() as pool:
        child = os.fork()
        if child == 0:
            try:
                pool.submit(square, 1)
            except RuntimeError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def of_tasks() -> set[int]:
    """The live objects that belong to single tasks."""
    gc.collect()
    return {id(thing) for thing in gc.get_objects() if type(thing) in (TaskFuture, TaskRequest, TaskInfo)}


def test_nothing_is_kept_of_what_was_delivered(client: Client, redis_url: str, namespace: str) -> None:
    before = of_tasks()
    with working(redis_url, namespace), client.executor() as pool:
        for _ in range(3):
            futures = [pool.submit("builtins:str", f"argument {n}") for n in range(20)]
            assert [future.result(timeout=PATIENCE) for future in futures] == [f"argument {n}" for n in range(20)]
            assert [future._request for future in futures] == [None] * 20
            del futures
        wait_for(lambda: of_tasks() <= before)


def test_a_shutdown_that_cancels_lets_go_on_what_a_node_has(whole: Client, tmp_path: Path) -> None:  # noqa: F811
    pool = whole.executor(cpu=4)
    begun = pool.submit("time:sleep", 1.0)
    wait_for(lambda: begun.running(), PATIENCE)
    waiting = [pool.submit("time:sleep", 60) for _ in range(3)]
    wait_for(lambda: all(whole.states([f.task_id])[0] is State.PENDING for f in waiting), PATIENCE)
    pool.shutdown(cancel_futures=True)
    assert begun.result(timeout=0) is None
    assert [future.cancelled() for future in waiting] == [True] * 3
    assert whole.states([future.task_id for future in [begun, *waiting]]) == [State.COMPLETED, *[State.CANCELLED] * 3]


def test_what_a_task_failed_with_comes_with_its_facts(whole: Client) -> None:  # noqa: F811
    def facts(error: TaskFailed) -> tuple[Any, ...]:
        return error.task_id, error.reason, error.exit_code, error.node_id, error.attempt

    with whole.executor(retries=0) as pool:
        future = pool.submit("math:sqrt", -1)
        error = future.exception(timeout=PATIENCE)
    assert isinstance(error, TaskFailed)
    assert facts(error) == (future.task_id, "error", None, "n1", 1)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert (facts(again), str(again)) == (facts(error), str(error))
    with pytest.raises(TaskFailed) as failed:
        whole.submit("exec:/bin/sh", "-c", "exit 7").result(timeout=PATIENCE)
    assert facts(failed.value)[1:] == ("exit_code", 7, "n1", 1)
    never = whole.submit("math:sqrt", 1.0, delay=1000)
    never.cancel(requeue=False)
    with pytest.raises(TaskFailed) as failed:
        never.result()
    assert facts(failed.value) == (never.id, None, None, None, 0)


def test_short_results_come_with_the_news(
    client: Client, redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only of what is long, or failed, the record is read."""
    read: list[str] = []
    outcomes = client._flows.outcomes

    def recorded(task_ids: Sequence[str]) -> Any:
        read.extend(task_ids)
        return outcomes(task_ids)

    with working(redis_url, namespace), client.executor() as pool:
        assert pool.submit("math:sqrt", 4).result(PATIENCE) == 2  # from here on it listens
        monkeypatch.setattr(client._flows, "outcomes", recorded)
        short = [pool.submit("math:sqrt", number * number) for number in range(50)]
        long, bad = pool.submit("builtins:str", "x" * 300), pool.submit("math:sqrt", -1)
        assert [future.result(PATIENCE) for future in short] == list(range(50))
        assert long.result(PATIENCE) == "x" * 300
        with pytest.raises(TaskFailed):
            bad.result(PATIENCE)
    assert {long.task_id, bad.task_id} <= set(read)
    assert len(read) < 10, "now and then one is found to have ended before its news was heard"
