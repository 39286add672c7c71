"""``@task``: the function stays what it was, and can be submitted."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from rq_sched import Client, task, testing
from rq_sched.client.decorator import default_client, set_default_client
from rq_sched.errors import InvalidTarget, InvalidValue
from rq_sched.model.target import TASK_MARK
from tests.client import jobs


def test_it_still_runs_here_and_now() -> None:
    assert jobs.marked(1, note="!") == "1!"
    assert jobs.bare(2) == 2


def test_it_looks_like_the_function() -> None:
    assert str(inspect.signature(jobs.marked)) == "(a: 'int', *, note: 'str' = '') -> 'str'"
    assert jobs.marked.__doc__ == "Doc of marked."
    assert repr(jobs.marked) == "<task tests.client.jobs:marked>"
    assert TASK_MARK in vars(jobs.marked)


def test_a_coroutine_function_gives_a_coroutine() -> None:
    coroutine = jobs.marked_async(1)
    assert inspect.iscoroutine(coroutine)
    coroutine.close()


def test_submit_takes_only_the_functions_own_arguments() -> None:
    with testing.cluster() as client:
        handle = jobs.bare.submit(cpu=3)
        assert client.status(handle.id).kwargs == {"cpu": 3}
        assert handle.result() == 3


def test_options_make_another_one() -> None:
    with testing.cluster(cpu=8):
        changed = jobs.marked.options(cpu=4, task_id="t1")
        info = changed.submit(1, note="x").status()
        assert (info.task_id, info.cpu_needed, info.memory_needed, info.priority) == ("t1", 4, 1024, 7)
        assert jobs.marked.submit(1).status().cpu_needed == 2
        assert changed.submit(1, note="x").result() == "1x"


def test_which_client() -> None:
    with testing.cluster() as first, testing.cluster() as second:
        assert jobs.bare.submit(1).client is second
        on_first = jobs.bare.options(client=first)
        assert on_first.submit(1).client is first
        assert on_first.options(cpu=2).submit(1).client is first
        assert task(client=first)(jobs.add).submit(1).client is first
    with testing.cluster() as third:
        assert jobs.bare.submit(1).client is third


def test_a_default_client_is_made_once_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQ_SCHED_REDIS_URL", "redis://nobody.invalid")
    monkeypatch.setenv("RQ_SCHED_NAMESPACE", "mine")
    before = set_default_client(None)
    try:
        made = default_client()
        assert type(made) is Client
        assert made.namespace == "mine"
        assert default_client() is made
    finally:
        set_default_client(before)


def test_request_isnt_submitted() -> None:
    request = jobs.marked.request(1, note="y")
    assert (request.function, list(request.args), request.kwargs) == (
        "tests.client.jobs:marked",
        [1],
        {"note": "y"},
    )
    assert (request.cpu_needed, request.memory_needed, request.priority) == (2, 1024, 7)


def nested() -> Any:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (nested(), "inside another function"),
        (lambda: 1, "lambda"),
        (jobs.Things.method, "is a method"),
        (jobs.Things.static, "is a method"),
        (jobs.Things().method, "method of an object"),
        (3, "not a function"),
    ],
)
def test_what_cant_be_marked(function: Any, said: str) -> None:
    with pytest.raises(InvalidTarget, match=said):
        task(function)
    with pytest.raises(InvalidTarget, match=said):
        task(cpu=1)(function)


def test_unknown_options_are_named() -> None:
    with pytest.raises(InvalidValue, match="unknown option 'cpus': did you mean cpu?"):
        task(cpus=2)  # type: ignore[call-overload]
    with pytest.raises(InvalidValue, match="'cpus'"):
        jobs.marked.options(cpus=2)  # type: ignore[call-arg]
    with pytest.raises(InvalidValue, match="same for every call"):
        task(task_id="t")
    with pytest.raises(InvalidValue, match="same for every call"):
        task(id="t")  # type: ignore[call-overload]
