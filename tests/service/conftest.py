"""Fixtures for tests of the command line."""

from __future__ import annotations

import socket

import pytest

from rq_sched.link import Link
from tests.service.cli_kit import Cli, HandCell


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, redis_url: str, namespace: str) -> Cli:
    """Types command lines at the test's server, in its namespace."""
    monkeypatch.setenv("RQ_SCHED_REDIS_URL", redis_url)
    monkeypatch.setenv("RQ_SCHED_NAMESPACE", namespace)
    return Cli(capsys, monkeypatch)


@pytest.fixture
def hand(link: Link, namespace: str) -> HandCell:
    """The test's namespace, with nodes that the test plays."""
    return HandCell(link, namespace)


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
