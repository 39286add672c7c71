"""Functions that the client's tests submit."""

from __future__ import annotations

import os
from typing import Any

from rq_sched import Client, current_task, task
from rq_sched.client.decorator import default_client

ran: list[Any] = []
"""What ran, in order. Tests clear it."""
failures_left = 0


def add(a: int, b: int = 0) -> int:
    ran.append(("add", a, b))
    return a + b


def with_option_names(cpu: int, priority: str) -> list[Any]:
    """Its own arguments have the names of options."""
    return [cpu, priority]


def fail(text: str) -> None:
    raise ValueError(text)


def fail_some_times() -> str:
    global failures_left
    if failures_left:
        failures_left -= 1
        raise RuntimeError(f"{failures_left} more")
    return "at last"


def not_plain() -> object:
    return object()


def leave() -> None:
    raise SystemExit(3)


async def add_later(a: int, b: int) -> int:
    return a + b


def who_am_i() -> dict[str, Any]:
    me = current_task()
    me.progress(0.5)
    return {
        "id": me.id,
        "attempt": me.attempt,
        "cpu": me.cpu,
        "env": [os.environ["RQ_SCHED_TASK_ID"], os.environ["RQ_SCHED_CPUS"]],
        "grown": me.try_grow_to(cpu=2),
        "cpu_then": me.cpu,
    }


def parent(cpu: int) -> int:
    """Waits for a task of its own."""
    child = default_client().submit(add, 1, 1, cpu=cpu)
    return 1 + int(child.result(timeout=60))


def cancel_myself() -> str:
    default_client().cancel(current_task().id, requeue=False, wait=False)
    return "not heard"


@task(cpu=2, memory="1G", priority=7, retries=1)
def marked(a: int, *, note: str = "") -> str:
    """Doc of marked."""
    return f"{a}{note}"


@task
def bare(cpu: int) -> int:
    return cpu


@task(cpu=3)
async def marked_async(a: int) -> int:
    return a * 2


class Things:
    def method(self) -> None: ...

    @staticmethod
    def static(a: int) -> int:
        return -a

    @classmethod
    def of_class(cls, a: int) -> list[Any]:
        return [cls.__name__, a]


def shadowed() -> int:
    return 1


original_shadowed = shadowed


def shadowed() -> int:  # type: ignore[no-redef]
    return 2


def index_and_environment() -> list[Any]:
    return [current_task().index, os.environ.get("RQ_SCHED_ARRAY_INDEX")]


def around() -> list[Any]:
    """What it finds before and after another task runs inside it, and what that found."""
    before = index_and_environment()
    inside = default_client().submit(f"{__name__}:index_and_environment").result()
    return [before, inside, index_and_environment()]


def around_array() -> list[Any]:
    before = index_and_environment()
    array = default_client().submit(f"{__name__}:index_and_environment", array=range(5, 7))
    array.wait()
    return [before, [element.result() for element in array.elements()], index_and_environment()]


def fail_at(index: int) -> int | None:
    here = current_task().index
    if here == index:
        raise ValueError(f"at {here}")
    return here


@task(array="1-3")
def always_an_array() -> int | None:
    return current_task().index


def a_set() -> set[int]:
    return {1}


TOLD = "tests.client.jobs:told"


def told(*args: object, **kwargs: object) -> list[object]:
    """What it was called with."""
    return [args, kwargs]


def lengths(parts: list[bytes], last: bytes) -> list[int]:
    return [*map(len, parts), len(last)]


def drive(url: str, namespace: str, number: int) -> list[object]:
    """It waits for others, one after the other: what it has itself, and their sum."""
    with Client(url, namespace) as client:
        roots = [client.submit("math:sqrt", 4).result(timeout=30) for _ in range(number)]
    threads = os.environ["OMP_NUM_THREADS"]
    return [current_task().cpu, os.environ["RQ_SCHED_CPUS"], threads, sum(roots)]
