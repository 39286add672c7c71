"""The proxy does to connections what its methods say, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from rq_sched.process.embedded import EmbeddedServer
from tests.faults.proxy import Proxy
from tests.support import wait_for

PING, PONG = b"PING\r\n", b"+PONG\r\n"


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[Proxy]:
    with Proxy(server.url) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), 5)
    connection.settimeout(5)
    return connection


def say(connection: socket.socket, data: bytes = PING) -> bytes:
    connection.sendall(data)
    return connection.recv(100)


def silent(connection: socket.socket, seconds: float = 0.2) -> bool:
    """Whether nothing comes, not even an end."""
    connection.settimeout(seconds)
    try:
        connection.recv(100)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def test_it_passes_everything_on(proxy: Proxy) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        assert say(one) == say(other) == PONG
        assert say(one, b"SET proxied 1\r\n") == b"+OK\r\n"
        assert say(other, b"GETDEL proxied\r\n") == b"$1\r\n1\r\n"
    assert proxy.connections == 2


def test_an_end_on_one_side_ends_the_other(proxy: Proxy, server: EmbeddedServer) -> None:
    with connect(proxy) as connection:
        assert say(connection, b"QUIT\r\n") == b"+OK\r\n"
        assert ended(connection)


def test_a_cut_closes_what_is_there(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert say(connection) == PONG
        proxy.cut()
        assert ended(connection)
    with connect(proxy) as connection:
        assert say(connection) == PONG


def test_who_vanished_is_silent_for_ever_and_new_connections_work(proxy: Proxy) -> None:
    with connect(proxy) as old:
        assert say(old) == PONG
        proxy.vanish()
        old.sendall(PING)
        with connect(proxy) as new:
            assert say(new) == PONG
        assert silent(old)


def test_after_a_partition_everything_flows_on(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert say(connection) == PONG
        proxy.partition()
        connection.sendall(PING)
        with connect(proxy) as new:
            new.sendall(PING)
            assert silent(connection)
            assert silent(new)
            proxy.heal()
            assert connection.recv(100) == new.recv(100) == PONG


def test_refused_until_healed(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert say(connection) == PONG
        proxy.refuse()
        assert ended(connection)
    with pytest.raises(OSError):
        connect(proxy)
    proxy.heal()
    with connect(proxy) as connection:
        assert say(connection) == PONG


def test_a_dropped_reply_was_executed(proxy: Proxy) -> None:
    with connect(proxy) as connection, connect(proxy) as other:
        proxy.drop_replies(1, b"INCR lost")
        assert say(connection) == PONG
        connection.sendall(b"INCR lost\r\n")
        assert ended(connection)
        assert say(other, b"GETDEL lost\r\n") == b"$1\r\n1\r\n"
    assert proxy.dropped == 1


def test_a_share_of_the_replies_is_dropped(proxy: Proxy) -> None:
    proxy.drop_rate = 1.0
    with connect(proxy) as connection:
        connection.sendall(PING)
        assert ended(connection)
    proxy.drop_rate = 0.0
    assert proxy.dropped == 1


def test_a_delay_delays(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        proxy.delay = 0.3
        connection.sendall(PING)
        assert silent(connection, 0.2)
        assert connection.recv(100) == PONG


def test_a_server_that_is_away_is_away_behind_the_proxy_too() -> None:
    with Proxy("redis://127.0.0.1:1/0") as proxy, connect(proxy) as connection:
        assert ended(connection)
        assert wait_for(lambda: proxy.connections) == 1
