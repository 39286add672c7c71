"""What a submit sends: only what isn't usual, and a digest that tells requests apart."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched.model.signing import Signer
from rq_sched.model.task import DEFAULT_MEMORY, TaskRequest
from rq_sched.store.parts import REQUEST, of_lines
from rq_sched.store.requests import encode

PLAIN: dict[str, Any] = {"task_id": "t1"}
OPTIONS: list[dict[str, Any]] = [
    {"cpu_needed": 2},
    {"memory_needed": 512},
    {"require": ["gpu"]},
    {"priority": 5},
    {"priority": -5},
    {"delay": 0.0015},
    {"retries": 2},
    {"crash_limit": 5},
    {"time_limit": 0.001},
    {"elastic": "off"},
    {"elastic": "all"},
    {"preemptible": True},
    {"max_cpu_needed": 4},
    {"max_memory_needed": 4096},
    {"array": "1-9"},
    {"array": "1-10"},
    {"chdir": "/srv"},
    {"env": {"A": "1"}},
    {"env": {"A": "2"}},
    {"stdin": "/srv"},
    {"stdin": b"/srv"},
    {"output": "x"},
    {"error": "x"},
    {"log_limit": "1M"},
    {"name": "x"},
    {"tags": {"x": "1"}},
]


def request(args: list[Any] | None = None, **options: Any) -> TaskRequest:
    return TaskRequest("m:f", args or [], **PLAIN | options).check()


def test_what_is_usual_is_left_out() -> None:
    task_id, task_class, digest, text = encode(request())
    assert (task_id, task_class, text) == ("t1", f"1:{DEFAULT_MEMORY}", b"run=m:f\nwith=")
    assert len(digest) == 11
    assert encode(request([1]))[3] == b"run=m:f\nwith=\x92\x91\x01\x80"
    assert encode(request(max_cpu_needed=1, max_memory_needed=DEFAULT_MEMORY, elastic="cpu", crash_limit=3)) == (
        encode(request())
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_option_is_another_request(options: dict[str, Any]) -> None:
    others = [encode(request(**one))[2] for one in OPTIONS if one != options]
    assert encode(request(**options))[2] not in [*others, encode(request())[2]]
    lines = of_lines(encode(request(**options))[3])
    assert {name.decode() for name in lines} <= REQUEST.keys()


def test_times_are_whole_milliseconds() -> None:
    lines = of_lines(encode(request(delay=1.5, time_limit=0.001))[3])
    assert (lines[b"delay"], lines[b"time_limit"]) == (b"1500", b"1")


def test_the_digest_is_of_the_request_alone() -> None:
    signer = Signer("a key of at least 16 characters", "default")
    plain, signed = encode(request([1])), encode(request([1]), signer)
    assert plain[2] == signed[2] == encode(request([1], task_id="t2"))[2]
    assert plain[3] != signed[3]
    assert plain[2] != encode(request([2]))[2]
    assert plain[2] != encode(TaskRequest("m:g", [1], **PLAIN).check())[2]
