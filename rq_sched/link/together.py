"""Operations that travel together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rq_sched.link.requests import Op, Request


def together(*ops: Op[Any]) -> Op[list[Any]]:
    """Several operations in as many round trips as the longest of them takes; their answers."""
    answers: list[Any] = [None] * len(ops)
    asked: dict[int, Sequence[Request]] = {}

    def go_on(i: int, replies: list[Any] | None) -> None:
        try:
            asked[i] = ops[i].send(replies) if replies is not None else next(ops[i])
        except StopIteration as stop:
            asked.pop(i, None)
            answers[i] = stop.value

    for i in range(len(ops)):
        go_on(i, None)
    while asked:
        replies = yield [request for requests in asked.values() for request in requests]
        at = 0
        for i, requests in list(asked.items()):
            begin, at = at, at + len(requests)
            go_on(i, replies[begin:at])
    return answers
