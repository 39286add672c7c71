"""What tests share: waiting for a condition, with what is known printed when it doesn't come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
PAUSE = 0.01


def wait_for(condition: Callable[[], T], timeout: float = 10.0, dump: Callable[[], object] | None = None) -> T:
    """The first true value of ``condition``; after ``timeout`` seconds the test fails and prints what ``dump`` returns.

    >>> wait_for(lambda: 42)
    42
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(_late(timeout, value, dump))
        time.sleep(PAUSE)
    return value


async def wait_for_async(
    condition: Callable[[], T], timeout: float = 10.0, dump: Callable[[], object] | None = None
) -> T:
    """``wait_for`` in a coroutine."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(_late(timeout, value, dump))
        await asyncio.sleep(PAUSE)
    return value


def _late(timeout: float, value: object, dump: Callable[[], object] | None) -> str:
    state = f"\nstate: {dump()}" if dump else ""
    return f"not so within {timeout:g} s; last value {value!r}{state}"
