"""The same task for every peer: nothing, with two small arguments. Each runs where its system runs it."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

URL = os.environ.get("BENCH_URL", "redis://localhost:6379/0")
EVERY = 100
"""One task in so many says in Redis that it ran: how the bench knows how far a peer is, at hardly any cost."""
DONE, BACK = "bench:done", "bench:back"


@cache
def line() -> Any:
    """A plain connection, one a process."""
    import redis

    return redis.Redis.from_url(URL, socket_timeout=None)


def f(number: int, text: str) -> None:
    """Nothing, but that one in ``EVERY`` is counted, and a negative one answers at once."""
    if number < 0:
        line().rpush(BACK, number)
    elif number % EVERY == EVERY - 1:
        line().incr(DONE)
