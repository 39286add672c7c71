"""Operations that travel together."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from rq_sched.errors import RqSchedError
from rq_sched.link import Op, Request


def one(request: Request) -> Op[Any]:
    """An operation of one request; its result is the reply."""
    return (yield [request])[0]


def together(ops: Sequence[Op[Any]]) -> Generator[Sequence[Request], list[Any], list[Any]]:
    """Several operations of one round trip each, in one round trip; their results, in order."""
    asked = [next(op) for op in ops]
    replies = yield [request for requests in asked for request in requests]
    results = []
    at = 0
    for op, requests in zip(ops, asked, strict=True):
        try:
            op.send(replies[at : at + len(requests)])
        except StopIteration as stop:
            results.append(stop.value)
        else:
            raise RqSchedError("an operation of several round trips can't travel with others")
        at += len(requests)
    return results
