"""URLs of Redis, taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from rq_sched.errors import InvalidValue
from rq_sched.link.address import Address, complete, parse, shown


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


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        ("redis://h", "redis://:p%40s%2Fs@h"),
        ("redis://me@h:1/2?db=3", "redis://me:p%40s%2Fs@h:1/2?db=3"),
        ("rediss://h?ssl_ca_certs=/a/b@c", "rediss://:p%40s%2Fs@h?ssl_ca_certs=/a/b@c"),
        ("redis+sentinel://me@a:1,b/main/0", "redis+sentinel://me:p%40s%2Fs@a:1,b/main/0"),
        ("redis://me:own@h", "redis://me:own@h"),
        ("unix:///run/s", "unix:///run/s"),
    ],
)
def test_the_password_of_a_file(url: str, completed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RQ_SCHED_REDIS_PASSWORD_FILE", raising=False)
    assert complete(url) == url
    file = tmp_path / "password"
    file.write_text("p@s/s\n")
    file.chmod(0o600)
    monkeypatch.setenv("RQ_SCHED_REDIS_PASSWORD_FILE", str(file))
    assert complete(url) == completed
    if completed != url:
        assert parse(completed).password == "p@s/s"


@pytest.mark.parametrize(
    ("text", "mode", "says"), [("", 0o600, "is empty"), ("x", 0o644, "everybody can read"), (None, 0, "can't be read")]
)
def test_a_file_of_a_password_that_cant_be_used(
    text: str | None, mode: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    monkeypatch.setenv("RQ_SCHED_REDIS_PASSWORD_FILE", str(file))
    with pytest.raises(InvalidValue, match=says):
        complete("redis://h")
