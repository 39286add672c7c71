"""From a callable and options to a request, and what is refused on the way."""

from __future__ import annotations

import functools
import json
import math
import operator
from typing import Any

import pytest

from rq_sched import TaskRequest
from rq_sched.errors import InvalidResources, InvalidTarget, InvalidValue, UsageError
from rq_sched.model.target import make_request, target_of
from tests.client import jobs

HERE = "tests.client.jobs"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("pkg.mod:func", "pkg.mod:func"),
        ("exec:/bin/true", "exec:/bin/true"),
        (json.dumps, "json:dumps"),
        (math.sqrt, "math:sqrt"),
        (jobs.add, f"{HERE}:add"),
        (jobs.marked, f"{HERE}:marked"),
        (jobs.marked.__wrapped__, f"{HERE}:marked"),
        (jobs.Things.static, f"{HERE}:Things.static"),
        (jobs.Things.of_class, f"{HERE}:Things.of_class"),
        (dict, "builtins:dict"),
    ],
)
def test_what_a_worker_can_find(target: Any, name: str) -> None:
    assert target_of(target) == name


def nested() -> Any:
    def inner() -> None: ...

    return inner


def of_main() -> Any:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(): pass", space)  # noqa: S102
    return space["f"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (lambda: 1, "lambda.*define it with def"),
        (nested(), "inside another function.*move it"),
        (jobs.Things().method, "method of an object.*submit a function"),
        (functools.partial(jobs.add, 1), r"functools.partial.*all arguments"),
        (of_main(), "running script.*move it to a module"),
        (jobs.original_shadowed, "isn't the function that was given"),
        (operator.itemgetter(1), "which a worker can't find"),
        ("no colon", "pkg.mod:func"),
        ("a:b:c", "pkg.mod:func"),
        (7, "not a function"),
        (None, "not a function"),
    ],
)
def test_what_no_worker_can_find(target: Any, said: str) -> None:
    with pytest.raises(InvalidTarget, match=said):
        target_of(target)


def test_options_become_fields() -> None:
    request = make_request(
        "m:f",
        [1],
        {"x": 2},
        {"cpu": 2, "memory": "2G", "max_cpu": 4, "max_memory": 4096, "retries": None, "delay": 1.5},
    )
    assert (request.function, request.args, request.kwargs) == ("m:f", [1], {"x": 2})
    assert (request.cpu_needed, request.memory_needed) == (2, 2048)
    assert (request.max_cpu_needed, request.max_memory_needed) == (4, 4096)
    assert (request.retries, request.delay) == (0, 1.5)
    assert request.task_id is not None


def test_options_of_a_marked_function_hold_unless_others_are_given() -> None:
    request = make_request(jobs.marked, [1], {}, {"cpu": 5, "priority": None})
    assert (request.cpu_needed, request.memory_needed, request.priority, request.retries) == (5, 1024, 7, 1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cpu": -1}, InvalidResources),
        ({"memory": "much"}, InvalidResources),
        ({"cpu": 2, "max_cpu": 1}, InvalidValue),
        ({"elastic": "yes"}, InvalidValue),
        ({"task_id": "a:b"}, UsageError),
    ],
)
def test_bad_options(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_request("m:f", [], {}, options)


def test_a_request_says_everything_itself() -> None:
    request = TaskRequest("m:f", task_id="t")
    assert make_request(request, (), {}, {"cpu": None}) is request
    for args, kwargs, options in (((1,), {}, {}), ((), {"a": 1}, {}), ((), {}, {"cpu": 1})):
        with pytest.raises(InvalidValue, match="already says everything"):
            make_request(request, args, kwargs, options)
