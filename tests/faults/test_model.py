"""Any sequence of transitions against a plain model: after each step tasks, nodes and orders are as the model says,
each placing was the right one (promise 4), and the checker finds nothing.

``RQ_SCHED_EXAMPLES=1000`` tries so many sequences, other ones each time.
"""

from __future__ import annotations

import os
from typing import Any

import fakeredis
import pytest

from rq_sched.link import Link
from tests.faults.direct import DirectLink
from tests.faults.machine import play

EXAMPLES = int(os.environ.get("RQ_SCHED_EXAMPLES", "30"))


def check(connect: Any, examples: int) -> None:
    judged = play(connect, examples)
    least = {
        "placed": 5,
        "recorded": 3,
        "stale": 1,
        "given back": 1,
        "arrays changed": 1,
    }  # a test of nothing must not pass
    assert all(judged[what] >= n * examples // 2 for what, n in least.items()), judged


@pytest.mark.timeout(600)
def test_on_a_real_server(redis_url: str) -> None:
    check(lambda: DirectLink(redis_url), EXAMPLES)


@pytest.mark.timeout(600)
def test_on_fakeredis() -> None:
    check(lambda: Link("redis://fakeredis", client=fakeredis.FakeRedis(version=(7,), protocol=2)), EXAMPLES // 5)
