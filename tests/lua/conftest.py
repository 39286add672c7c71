"""Every story of the scripts runs on a real server and on fakeredis, which users test their tasks with."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest

from rq_sched import audit
from rq_sched.link import Link
from rq_sched.store import Store
from tests.lua.cell import Cell


@pytest.fixture(params=["server", "fakeredis"])
def cell(request: pytest.FixtureRequest, namespace: str, redis_url: str) -> Iterator[Cell]:
    if request.param == "server":
        link = Link(redis_url)
    else:
        link = Link("redis://fakeredis", client=fakeredis.FakeRedis(version=(7,), protocol=2))
    yield Cell(link, namespace)
    problems = audit.problems(link.run(audit.check(namespace)))
    events = link.run(Store(namespace).events())
    link.close()
    assert not problems, "invariants broken:\n" + "\n".join(str(problem) for problem in problems)
    # A fill goes on after an error of its own, as after damage; the log has it.
    assert not [event.data for event in events if event.type == "damaged" and "attempt" in event.data.get("reason", "")]
