"""``client.set_limit`` and ``client.limits``, blocking and awaiting."""

from __future__ import annotations

import asyncio

import pytest

from rq_sched import testing
from rq_sched.errors import InvalidValue, LimitUnknown
from rq_sched.model.limits import LimitInfo


def test_limits() -> None:
    with testing.cluster() as client:
        with pytest.raises(LimitUnknown, match="there is no limit api"):
            client.submit("math:sqrt", 4, limits={"api": 1})
        client.set_limit("api", 2)
        handles = [client.options(limits=["api"]).submit("math:sqrt", 4) for _ in range(5)]
        client.run()
        assert [handle.result() for handle in handles] == [2.0] * 5
        assert client.limits() == [LimitInfo("api", 2, 0)]
        with pytest.raises(InvalidValue, match="a limit must be a whole number"):
            client.set_limit("api", -1)
        client.set_limit("api", None)
        assert client.limits() == []


def test_awaiting() -> None:
    asyncio.run(awaiting())


async def awaiting() -> None:
    async with testing.async_cluster() as client:
        await client.set_limit("api", 1)
        assert await client.limits() == [LimitInfo("api", 1, 0)]
