"""What ``import rq_sched`` gives, and that the twins are twins."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rq_sched
from rq_sched.client.awaiting import AsyncClient, AsyncTaskHandle
from rq_sched.client.blocking import Client, TaskHandle

ROOT = Path(__file__).parents[2]
ONLY_SYNC = {"executor"}


def public(cls: type) -> dict[str, str]:
    """Public methods with their parameters as text; the types of awaiting ones by the names of their twins."""
    return {
        name: str(inspect.signature(member).replace(return_annotation=inspect.Signature.empty)).replace("Async", "")
        for name, member in inspect.getmembers(cls, callable)
        if not name.startswith("_")
    }


def test_the_clients_are_twins() -> None:
    here, there = public(Client), public(AsyncClient)
    assert {name: text for name, text in here.items() if name not in ONLY_SYNC} == there


def test_the_handles_are_twins() -> None:
    assert public(TaskHandle) == public(AsyncTaskHandle)


@pytest.mark.parametrize(("sync", "twin"), [(Client, AsyncClient), (TaskHandle, AsyncTaskHandle)])
def test_twins_say_the_same(sync: type, twin: type) -> None:
    """Every public method is described; the twin's are awaited or iterated with ``async for``."""
    for name in public(twin):
        assert getattr(sync, name).__doc__, name
        assert getattr(twin, name).__doc__, name
        member = getattr(twin, name)
        asynchronous = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        assert asynchronous == (name not in {"handle", "options", "schedule", "watch"}), name


def in_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_it_is_quick_because_it_leaves_redis_alone() -> None:
    heavy = "{'redis', 'asyncio', 'click', 'rich', 'psutil', 'fakeredis'}"
    assert in_new_process(f"import rq_sched, sys; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_task_is_the_decorator_whatever_is_imported_before() -> None:
    code = "import rq_sched.model.task; from rq_sched import task; print(type(task).__name__)"
    assert in_new_process(code) == "function"


def test_everything_named_is_there() -> None:
    for name in rq_sched.__all__:
        assert getattr(rq_sched, name) is not None
        assert name in dir(rq_sched)
    assert not hasattr(rq_sched, "no_such_thing")


def test_the_version_is_the_packages() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert rq_sched.__version__ == tomllib.load(file)["project"]["version"]
