"""Whole graphs, in whatever order and batches they come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rq_sched import State, TaskRequest, testing
from rq_sched.client import steps
from rq_sched.errors import DependencyNotFound, InvalidValue
from rq_sched.testing import InlineClient


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[InlineClient]:
    monkeypatch.setattr(steps, "BATCH", 5)
    monkeypatch.setattr(steps.batches, "__defaults__", (5,))
    with testing.cluster(cpu=4, memory=4096) as client:
        yield client


def chain(names: str, *last: str) -> list[TaskRequest]:
    """Each waits for the one before it."""
    before = [None, *names]
    return [
        TaskRequest("math:sqrt", [4.0], task_id=name, after=[*([one] if one else []), *last])
        for one, name in zip(before, names, strict=False)
    ]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1), slice(None, None, 7)])
def test_a_graph_comes_in_batches_in_any_order(client: InlineClient, order: slice) -> None:
    requests = chain("abcdefghijklmnopqrstuvwxyz")[order]
    if order.step == 7:
        requests = [request for first in range(7) for request in chain("abcdefghijklmnopqrstuvwxyz")[first::7]][::-1]
    handles = client.submit_many(requests)
    assert [handle.id for handle in handles] == [request.task_id for request in requests]
    assert set(handles.results(timeout=30)) == {2.0}


def test_what_waits_for_nothing_there_is_told_at_the_end(client: InlineClient) -> None:
    requests = [*chain("abc", "nobody"), *chain("xyz")]
    with pytest.raises(DependencyNotFound, match="task a isn't submitted: there is no task nobody to wait for"):
        client.submit_many(requests)
    assert client.states(["a", "x", "z"]) == [None, State.PENDING, State.WAITING]


def test_a_cycle_over_several_batches_is_named(client: InlineClient) -> None:
    requests = chain("abcdefghijkl")
    requests[0].after = ["l"]
    with pytest.raises(InvalidValue, match="a -> l -> k -> j"):
        client.submit_many(requests)
