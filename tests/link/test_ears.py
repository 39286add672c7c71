"""Who hears what on the connection that all listeners of a client share."""

from __future__ import annotations

import time
from types import SimpleNamespace

from rq_sched.link import Link
from rq_sched.link.ears import Heard


def ears(*channels: bytes) -> SimpleNamespace:
    return SimpleNamespace(channels=list(channels), messages=[], number=0)


def test_what_came_before_the_server_confirmed_is_for_those_before() -> None:
    heard, first, second = Heard(), ears(b"x"), ears(b"x", b"y")
    heard.add(first)
    assert heard.deal([b"message", b"x", b"0"]) == []
    heard.deal([b"subscribe", b"x", 1])
    heard.add(second)
    assert heard.deal([b"message", b"x", b"1"]) == [first]
    heard.deal([b"subscribe", b"x", 1])
    assert not heard.confirmed(second), "one of its channels isn't"
    heard.deal([b"subscribe", b"y", 2])
    heard.deal([b"message", b"x", b"2"])
    heard.deal([b"message", b"y", b"3"])
    heard.deal([b"message", b"z", b"for nobody"])
    heard.deal([b"pong", b""])
    assert first.messages == [("x", b"1"), ("x", b"2")]
    assert second.messages == [("x", b"2"), ("y", b"3")]


def test_only_channels_that_nobody_hears_any_more_are_given_up() -> None:
    heard, first, second = Heard(), ears(b"x"), ears(b"x", b"y")
    heard.add(first)
    heard.add(second)
    assert heard.remove(second) == [b"y"]
    assert heard.remove(second) == []
    assert heard.remove(first) == [b"x"]
    assert heard.all() == []


def test_a_reader_that_was_interrupted_holds_nobody_up(link: Link) -> None:
    with link.listen("x") as listening:
        link._listener._reading_until = time.monotonic() + 0.2  # as one leaves it who was interrupted just then
        link._redis.publish("x", "word")
        assert listening.get(5.0) == ("x", b"word")
