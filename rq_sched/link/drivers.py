"""The driver's clients, made from an address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from rq_sched.errors import InvalidValue
from rq_sched.link.address import Address, complete, parse
from rq_sched.process.streams import fill_missing

T = TypeVar("T")
CONNECT_SECONDS = 5.0
"""Seconds until a server that doesn't answer counts as away."""
ANSWER_SECONDS = 5.0
"""Seconds until an answer that doesn't come counts as lost: the line may be dead without anybody having said so."""
SENTINEL_SECONDS = 1.0
"""The same for a sentinel: others know as much."""
CONNECTIONS = 50
"""Connections of a link at most, where its address doesn't say (``max_connections``)."""
RETRIES = 2
"""How often the driver sends a command again by itself: every script can be repeated."""
# What urls give as text and the driver's constructors don't convert.
_KINDS: dict[str, Any] = {
    "socket_timeout": float,
    "socket_connect_timeout": float,
    "health_check_interval": int,
    "max_connections": int,
    "ssl_check_hostname": lambda text: text.lower() not in ("0", "f", "false", "n", "no"),
    "ssl_min_version": int,
}


def blocking(url: str, answer_seconds: float = ANSWER_SECONDS) -> Any:
    """A client of the driver that waits.

    Raises:
        InvalidValue: a bad URL.
    """
    fill_missing()
    address = parse(url := complete(url))
    retry = Retry(backoff_of_commands(), RETRIES)
    if not address.sentinel:
        return _made(redis.Redis, url, _options(address, answer_seconds), retry)
    sentinels: Any = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=_for_sentinels(address, Retry(NoBackoff(), 0)),
        **_for_master(address, answer_seconds),
    )
    return sentinels.master_for(address.service, retry=retry)


def awaiting(url: str, answer_seconds: float = ANSWER_SECONDS) -> Any:
    """A client of the driver for asyncio.  Raises: InvalidValue."""
    fill_missing()
    address = parse(url := complete(url))
    retry = AsyncRetry(backoff_of_commands(), RETRIES)
    if not address.sentinel:
        return _made(redis.asyncio.Redis, url, _options(address, answer_seconds), retry)
    sentinels: Any = AsyncSentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=_for_sentinels(address, AsyncRetry(NoBackoff(), 0)),
        **_for_master(address, answer_seconds),
    )
    return sentinels.master_for(address.service, retry=retry)


async def cancellable(work: Awaitable[T]) -> T:
    """Have the driver do something that ends when it is cancelled. It times what it sends to sentinels (and to a
    server, where the client is the user's) with ``asyncio.wait_for``, in which Python 3.11 may lose a cancellation:
    also that of a time limit around it."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await work
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


def backoff_of_commands() -> ExponentialWithJitterBackoff:
    """How long to wait before a command is sent again."""
    return ExponentialWithJitterBackoff(base=0.05, cap=0.5)


def _made(kind: Any, url: str, options: dict[str, Any], retry: object) -> Any:
    try:
        return kind.from_url(url, **options, retry=retry)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"bad Redis address: {error}") from None


def _options(address: Address, answer_seconds: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": answer_seconds,
        "protocol": 2,
        "max_connections": CONNECTIONS,
    }
    if not address.socket:
        options["socket_keepalive"] = True
    return options


def _given(address: Address) -> dict[str, Any]:
    """The query parameters, and TLS."""
    try:
        given = {name: _KINDS.get(name, str)(value) for name, value in address.options.items()}
    except ValueError as error:
        raise InvalidValue(f"bad Redis address: {error}") from None
    return {**given, "ssl": True} if address.tls else given


def _for_master(address: Address, answer_seconds: float) -> dict[str, Any]:
    who = {"username": address.username, "password": address.password, "db": address.database}
    return {**_options(address, answer_seconds), **_given(address), **who}


def _for_sentinels(address: Address, retry: object) -> dict[str, Any]:
    return {
        **_given(address),
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "protocol": 2,
        "retry": retry,
    }
