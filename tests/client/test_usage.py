"""What a client is given that makes no sense is refused in a word of ours, before anything is asked of Redis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rq_sched import Client, testing
from rq_sched.errors import UsageError

CALLS: dict[str, Callable[[Any], Any]] = {
    "grace inf": lambda c: c.cancel("t", grace=math.inf),
    "grace nan": lambda c: c.cancel("t", grace=math.nan),
    "grace text": lambda c: c.cancel("t", grace="soon"),
    "reason": lambda c: c.cancel("t", reason=5),
    "drain": lambda c: c.drain("n1", grace=math.inf),
    "timeout text": lambda c: c.wait(["t"], timeout="soon"),
    "timeout nan": lambda c: c.result("t", timeout=math.nan),
    "no id": lambda c: c.states([None]),
    "one task for several": lambda c: c.wait("t"),
    "one handle for several": lambda c: c.wait(c.handle("t")),
    "no id to wait for": lambda c: c.wait([5]),
    "older nan": lambda c: c.forget(older_than=math.nan),
    "older inf": lambda c: c.forget(older_than=math.inf),
    "older text": lambda c: c.forget(older_than="x"),
    "limit text": lambda c: c.tasks(limit="x"),
    "limit huge": lambda c: c.tasks(limit=10**30),
    "limit below 0": lambda c: c.tasks(limit=-1),
    "no request": lambda c: c.submit_many([None]),
    "text for requests": lambda c: c.submit_many("abc"),
    "an address": lambda c: Client("redis://\ud800"),
    "no connections": lambda c: Client("redis://localhost?max_connections=-1"),
    "a namespace": lambda c: Client("redis://localhost", "\ud800"),
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with testing.cluster() as client:
        client.submit("math:sqrt", 4.0, task_id="t")
        yield client


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_it_is_refused(client: Client, call: Callable[[Any], Any]) -> None:
    with pytest.raises(UsageError) as refused:
        call(client)
    str(refused.value).encode()
