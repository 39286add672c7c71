"""Operations that travel together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rq_sched.errors import RqSchedError
from rq_sched.link.requests import Op, Request, is_refusal, sent
from rq_sched.link.scripts import Call


def together(*ops: Op[Any], apart: bool = False) -> Op[list[Any]]:
    """Several operations in as many round trips as the longest of them takes; their answers.

    Parameters:
        apart: whether one that is refused leaves the others alone: its answer is the error.
    """
    answers: list[Any] = [None] * len(ops)
    asked: dict[int, Sequence[Request]] = {}

    def go_on(i: int, replies: list[Any] | None) -> None:
        try:
            asked[i] = next(ops[i]) if replies is None else _told(ops[i], asked[i], replies)
        except StopIteration as stop:
            asked.pop(i, None)
            answers[i] = stop.value
        except RqSchedError as error:
            if not (apart and is_refusal(error)):
                raise
            asked.pop(i, None)
            answers[i] = error

    for i in range(len(ops)):
        go_on(i, None)
    while asked:
        replies = yield [_let(request) if apart else request for requests in asked.values() for request in requests]
        at = 0
        for i, requests in list(asked.items()):
            begin, at = at, at + len(requests)
            go_on(i, replies[begin:at])
    return answers


def _let(request: Request) -> Request:
    """The request, which may be refused."""
    return replace(request, may_refuse=True) if isinstance(request, Call) else request


def _told(op: Op[Any], requests: Sequence[Request], replies: list[Any]) -> Sequence[Request]:
    """What an operation asks next; a refusal that it doesn't expect is raised in it."""
    for request, reply in zip(requests, replies, strict=True):
        if isinstance(reply, RqSchedError) and isinstance(request, Call) and not request.may_refuse:
            return op.throw(reply)
    return sent(op, replies)
