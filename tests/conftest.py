"""A real server for the session, a namespace for each test, and the invariant checker after it."""

from __future__ import annotations

import gc
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.internal.conjecture import engine

from rq_sched import audit
from rq_sched.link import AsyncLink, Command, Link, Op
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.store import Store
from rq_sched.store.keys import Keys
from tests.cli.kit import Cli, HandCell

LONG = ("docs", "faults", "system", "worker")
SHRINKING_SECONDS = 60
"""What Hypothesis has to make a failing example small. Left alone it takes five minutes, and to explain it as long."""
assert hasattr(engine, "MAX_SHRINKING_SECONDS"), "Hypothesis calls it otherwise now"
engine.MAX_SHRINKING_SECONDS = SHRINKING_SECONDS
settings.register_profile("bounded", phases=[phase for phase in Phase if phase is not Phase.explain])
settings.load_profile("bounded")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", type=Path, help="the server binary to test against; default: the embedded one")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders whose files take long come first: at the end no process is left with a long one while others idle."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def pytest_collection_finish() -> None:
    """What is there before the first test stays to the end: collections of garbage needn't look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def server_binary(pytestconfig: pytest.Config) -> Path | None:
    """The server to test against; None: what ``find_server()`` finds."""
    binary: Path | None = pytestconfig.getoption("--server")
    return binary


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, server_binary: Path | None) -> Iterator[EmbeddedServer]:
    """A real server on a private socket. Where none can be started, tests fail; they are never skipped."""
    with EmbeddedServer(tmp_path_factory.mktemp("redis"), binary=server_binary) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(server: EmbeddedServer) -> str:
    return server.url


@pytest.fixture
def namespace(request: pytest.FixtureRequest, redis_url: str) -> Iterator[str]:
    """A fresh namespace. After the test its invariants must hold, unless the test is marked ``no_audit``."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    yield name
    link = Link(redis_url)
    try:
        if request.node.get_closest_marker("no_audit") is None:
            assert_invariants(redis_url, name)
    finally:
        link.run(drop(name))  # whoever scans the server's keys later would have to pass all of them
        link.close()


def drop(namespace: str) -> Op[None]:
    """Leaves nothing of a namespace."""
    cursor: bytes | None = None
    while cursor != b"0":
        scan: Command = ("SCAN", cursor or 0, "MATCH", Keys(namespace).prefix + "*", "COUNT", 1000)
        cursor, names = (yield [scan])[0]
        if names:
            yield [("UNLINK", *names)]


def assert_invariants(url: str, namespace: str) -> None:
    """The ledgers add up, each task is in exactly the indexes of its state, nothing that fits is overlooked."""
    link = Link(url)
    try:
        problems = audit.problems(link.run(audit.check(namespace)))
    finally:
        link.close()
    assert not problems, "invariants broken:\n" + "\n".join(str(problem) for problem in problems)


@pytest.fixture
def store(namespace: str) -> Store:
    return Store(namespace)


@pytest.fixture
def link(redis_url: str) -> Iterator[Link]:
    """A link to the test's server."""
    link = Link(redis_url)
    yield link
    link.close()


@pytest.fixture
def alink(redis_url: str) -> Callable[[], AbstractAsyncContextManager[AsyncLink]]:
    """Opens an async link inside a coroutine: ``async with alink() as link: await link.run(op)``."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncLink]:
        link = AsyncLink(redis_url)
        try:
            yield link
        finally:
            await link.close()

    return opened


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
