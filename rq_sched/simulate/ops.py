"""Operations of one request."""

from __future__ import annotations

from typing import Any

from rq_sched.link import Op, Request


def one(request: Request) -> Op[Any]:
    """An operation of one request; its result is the reply."""
    return (yield [request])[0]
