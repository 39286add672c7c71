"""Orders as scripts give them (``_orders.lua``)."""

from __future__ import annotations

from typing import Any

from rq_sched.model.classes import need_of
from rq_sched.model.orders import Garbled, Order, Reload, Resize, Start, Stop, Void
from rq_sched.model.resources import MAX_CPU, MAX_MEMORY, Resources
from rq_sched.store.base import BATCH as BATCH


def order_of(raw: list[Any]) -> Order:
    """An order as ``_orders.lua`` gives it. One that can't be read is one that says so: those behind it are others'."""
    try:
        return _read_order(raw)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        token, task_id = (str(part, "utf-8", "replace") for part in (*raw[2:4], b"", b"")[:2])
        return Garbled(int(raw[0]), token, task_id, f"its order can't be read ({type(error).__name__}: {error})")


def _read_order(raw: list[Any]) -> Order:
    number, kind = raw[0], raw[1]
    if kind == b"void":
        return Void(number)
    if kind == b"reload":
        return Reload(number)
    token, task_id = raw[2].decode(), raw[3].decode()
    if kind == b"stop":
        return Stop(number, token, task_id, int(raw[4]) / 1000)
    if kind == b"resize":
        return Resize(number, token, task_id, need_of(raw[4].decode()))
    need = need_of(raw[8].decode())
    maximum = Resources(int(raw[9] or need.cpu), int(raw[10] or need.memory))
    for amount in (need, maximum):
        if not (1 <= amount.cpu <= MAX_CPU and 1 <= amount.memory <= MAX_MEMORY):
            raise ValueError(f"{amount.cpu} CPU, {amount.memory} MB")
    return Start(
        number=number,
        token=token,
        task_id=task_id,
        attempt=_within(raw[4], 2**52),
        function=raw[5].decode(),
        arguments=raw[6],
        payload_bytes=_within(raw[7], 2**52),
        allocation=need,
        maximum=maximum,
        time_limit=_within(raw[11], 10**12) / 1000 if raw[11] else None,
        elastic=raw[12].decode(),
    )


def _within(text: bytes, most: int) -> int:
    number = int(text)
    if not 0 <= number <= most:
        raise ValueError(f"{number} isn't between 0 and {most}")
    return number
