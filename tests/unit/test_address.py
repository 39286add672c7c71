"""URLs of Redis, taken apart."""

from __future__ import annotations

import pytest

from rq_sched.address import Address, parse, shown
from rq_sched.errors import InvalidValue


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", Address("redis", (("localhost", 6379),))),
        ("redis://", Address("redis", (("localhost", 6379),))),
        ("redis://h:1/3", Address("redis", (("h", 1),), database=3)),
        ("redis://h?db=4", Address("redis", (("h", 6379),), database=4)),
        ("rediss://u:p%40@h", Address("rediss", (("h", 6379),), "u", "p@")),
        ("rediss://h?ssl_ca_certs=/x", Address("rediss", (("h", 6379),), options={"ssl_ca_certs": "/x"})),
        ("redis://[::1]:7/0", Address("redis", (("::1", 7),))),
        ("unix:///run/r.sock?db=2", Address("unix", database=2)),
        ("redis+sentinel://a/main", Address("redis+sentinel", (("a", 26379),), service="main")),
        (
            "redis+sentinel://u:p@a:1,b,[::1]:3/main/2?sentinel_username=s&sentinel_password=t",
            Address("redis+sentinel", (("a", 1), ("b", 26379), ("::1", 3)), "u", "p", "main", 2, "s", "t"),
        ),
    ],
)
def test_the_parts_of_an_address(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h", "use redis://"),
        ("localhost:6379", "use redis://"),
        ("redis+cluster://h:1", "Redis Cluster isn't supported"),
        ("redis+sentinel://a:1,b:2", "name of the service"),
        ("redis+sentinel://a:1/main/x", "must be a number"),
        ("redis+sentinel://a:1/main/0/y", "use redis://"),
        ("redis://a,b/0", "several hosts"),
        ("redis://h/x", "must be a number"),
        ("redis://h:99999/0", "use redis://"),
        ("redis://h?db=x", "must be a number"),
        ("redis://h?frobnicate=1", "unknown option 'frobnicate'"),
        ("redis://h?ssl_ca_certs=/ca", "ssl_ca_certs is for TLS"),
        ("redis+sentinel://a/main/0?ssl_ca_certs=/ca", r"use rediss:// or rediss\+sentinel://"),
        ("unix:///s?ssl_certfile=/c", "ssl_certfile is for TLS"),
        ("unix://", "path of the socket"),
        ("redis://[::1", "bad Redis address"),
        ("", "use redis://"),
        ("redis://user:@h", "the password is empty"),
        ("redis://:@h", "the password is empty"),
        ("redis://user: @h", "the password is empty"),
        ("rediss+sentinel://u:@a/main", "the password is empty"),
        ("unix://user:@/s", "the password is empty"),
        ("redis://h?password=", "password is empty"),
        ("redis://h?username=", "username is empty"),
        ("redis+sentinel://a/main?sentinel_password=", "sentinel_password is empty"),
        ("rediss://h?ssl_ca_certs=", "ssl_ca_certs is empty"),
        ("rediss://h?ssl_cert_reqs=%20", "ssl_cert_reqs is empty"),
    ],
)
def test_a_bad_address_says_what_is_wrong(url: str, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        parse(url)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:geheim@h", "redis://:***@h"),
        ("redis+sentinel://u:geheim@a:1,b:2/s/0", "redis+sentinel://u:***@a:1,b:2/s/0"),
        ("redis+sentinel://a/s?sentinel_password=geheim&x=1", "redis+sentinel://a/s?sentinel_password=***&x=1"),
        ("unix:///s?password=geheim", "unix:///s?password=***"),
        ("redis://u:ge:heim@h", "redis://u:***@h"),
    ],
)
def test_no_password_is_shown(url: str, safe: str) -> None:
    assert shown(url) == safe


def test_nor_in_a_refusal() -> None:
    with pytest.raises(InvalidValue) as caught:
        parse("redis://u:geheim@h:99999/0")
    assert "geheim" not in str(caught.value)


def test_what_stays_on_this_machine() -> None:
    assert parse("redis://127.0.0.1").loopback
    assert parse("unix:///s").loopback
    assert not parse("redis+sentinel://localhost,10.0.0.1/main").loopback
