"""Orders as scripts give them (``_orders.lua``)."""

from __future__ import annotations

from typing import Any, NamedTuple

from rq_sched.model.classes import need_of
from rq_sched.model.orders import Garbled, Order, Reload, Resize, Start, Stop, Void
from rq_sched.model.resources import MAX_CPU, MAX_MEMORY, Resources


class StartReply(NamedTuple):
    """A start order as ``start_order`` in ``lua/_fill.lua`` gives it: the same names, in the same order."""

    number: int
    kind: bytes
    token: bytes
    task_id: bytes
    attempt: bytes | int
    target: bytes
    arguments: bytes
    payload_bytes: bytes
    task_class: bytes
    max_cpu: bytes
    max_memory: bytes
    time_limit: bytes
    elastic: bytes


class OtherReply(NamedTuple):
    """Any other order. ``amount``: the grace of a stop, the allocation of a resize. A void order has a number alone."""

    number: int
    kind: bytes
    token: bytes = b""
    task_id: bytes = b""
    amount: bytes = b""


def order_of(raw: list[Any]) -> Order:
    """An order as ``_orders.lua`` gives it. One that can't be read is one that says so: those behind it are others'."""
    try:
        return _read_start(StartReply(*raw)) if b"start" in raw[1:2] else _read_other(OtherReply(*raw))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        token, task_id = (str(part, "utf-8", "replace") for part in (*raw[2:4], b"", b"")[:2])
        return Garbled(int(raw[0]), token, task_id, f"its order can't be read ({type(error).__name__}: {error})")


def _read_other(raw: OtherReply) -> Order:
    if raw.kind == b"void":
        return Void(raw.number)
    if raw.kind == b"reload":
        return Reload(raw.number)
    token, task_id = raw.token.decode(), raw.task_id.decode()
    if raw.kind == b"stop":
        return Stop(raw.number, token, task_id, int(raw.amount) / 1000)
    if raw.kind == b"resize":
        return Resize(raw.number, token, task_id, need_of(raw.amount.decode()))
    raise ValueError(f"no kind of order: {raw.kind!r}")


def _read_start(raw: StartReply) -> Start:
    need = need_of(raw.task_class.decode())
    maximum = Resources(int(raw.max_cpu or need.cpu), int(raw.max_memory or need.memory))
    for amount in (need, maximum):
        if not (1 <= amount.cpu <= MAX_CPU and 1 <= amount.memory <= MAX_MEMORY):
            raise ValueError(f"{amount.cpu} CPU, {amount.memory} MB")
    return Start(
        number=raw.number,
        token=raw.token.decode(),
        task_id=raw.task_id.decode(),
        attempt=_within(raw.attempt, 2**52),
        function=raw.target.decode(),
        arguments=raw.arguments,
        payload_bytes=_within(raw.payload_bytes, 2**52),
        allocation=need,
        maximum=maximum,
        time_limit=_within(raw.time_limit, 10**12) / 1000 if raw.time_limit else None,
        elastic=raw.elastic.decode(),
    )


def _within(text: bytes | int, most: int) -> int:
    number = int(text)
    if not 0 <= number <= most:
        raise ValueError(f"{number} isn't between 0 and {most}")
    return number
