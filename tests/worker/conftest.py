"""Fixtures for tests of the worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rq_sched.link import Link
from tests.worker.kit import Desk, Node


@pytest.fixture
def desk(link: Link, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[Desk]:
    """The test's namespace. After the test no process of a worker is left, and none has printed a traceback."""
    desk = Desk(link, redis_url, namespace, tmp_path)
    try:
        yield desk
    finally:
        wrong = list(desk.close())
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def node(desk: Desk) -> Node:
    """A worker with 4 cores and 4 GB that may run everything."""
    return desk.node()
