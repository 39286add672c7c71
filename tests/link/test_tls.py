"""``rediss://`` against a real server with TLS (Debian's redis-server), with certificates made here by openssl."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rq_sched.errors import InvalidValue, RedisUnavailable
from rq_sched.link import AsyncLink, Link
from rq_sched.store import Store
from tests.cli.kit import Cli
from tests.faults.cluster import Cluster
from tests.faults.servers import Server, ask
from tests.support import wait_for
from tests.support.certificates import make

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secured(tmp_path: Path, certificates: Path) -> Iterator[Server]:
    """A server that speaks TLS only, and asks for a client's certificate."""
    binary = shutil.which("redis-server")
    assert binary is not None, "apt-get install redis-server"
    server = Server(tmp_path / "server", binary=Path(binary))
    tls = {"tls-cert-file": "server.crt", "tls-key-file": "server.key", "tls-ca-cert-file": "ca.crt"}
    server._settings |= {name: str(certificates / file) for name, file in tls.items()}
    server._settings |= {"port": "0", "tls-port": str(server.port), "tls-auth-clients": "yes"}
    server.url = url(server, certificates)
    with server:
        yield server


def url(server: Server, certificates: Path, ca: str = "ca", certificate: str = "client") -> str:
    files = f"ssl_ca_certs={certificates}/{ca}.crt"
    if certificate:
        files += f"&ssl_certfile={certificates}/{certificate}.crt&ssl_keyfile={certificates}/{certificate}.key"
    return f"rediss://127.0.0.1:{server.port}/0?{files}"


def test_both_links(secured: Server) -> None:
    assert secured.ask("PING") == b"PONG"

    async def awaited() -> bytes:
        link = AsyncLink(secured.url)
        try:
            reply: bytes = await link.run(ask("PING"))
            return reply
        finally:
            await link.close()

    assert asyncio.run(awaited()) == b"PONG"


@pytest.mark.parametrize(("ca", "certificate"), [("another", "client"), ("ca", "")], ids=["server", "client"])
def test_who_cannot_be_trusted(secured: Server, certificates: Path, ca: str, certificate: str) -> None:
    link = Link(url(secured, certificates, ca, certificate))
    with pytest.raises(RedisUnavailable, match="can't be reached"):
        link.run(ask("PING"))
    link.close()


def test_plain_words_are_not_understood(secured: Server) -> None:
    with pytest.raises(RedisUnavailable):
        Link(f"redis://127.0.0.1:{secured.port}/0").run(ask("PING"))


def test_an_option_that_does_not_exist(secured: Server) -> None:
    with pytest.raises(InvalidValue, match="ssl_frobnicate"):
        Link(secured.url + "&ssl_frobnicate=1")


def test_a_scheduler_a_worker_and_the_command_line(secured: Server, tmp_path: Path, cli: Cli) -> None:
    with Cluster(secured.url, Store("tls"), tmp_path) as cluster:
        cluster.scheduler("s1")
        cluster.node("n1", 2, 1024)
        base = ("--redis", secured.url, "--namespace", "tls")
        cli(*base, "submit", "--id", "t", "math:sqrt", ":=16", "--wait")
        assert cli.json(*base, "result", "t").one["result"] == 4
        cli(*base, "submit", "--id", "large", "--cpu", "2", "math:sqrt", ":=1", "--delay", "1ms")
        wait_for(lambda: cli.json(*base, "status", "large").json[0]["state"] == "completed", 20, cluster.logs)
        findings = {one["check"]: one for one in cli("--json", *base, "doctor", code=1).one["findings"]}
        assert findings["encryption"] == {"check": "encryption", "ok": True, "message": "TLS"}
