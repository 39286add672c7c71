"""Orders are read as they stand in Redis; one that can't be read says so, and holds up nobody."""

from __future__ import annotations

import pytest

from rq_sched.model.orders import Garbled, Reload, Resize, Start, Stop, Void
from rq_sched.model.resources import Resources
from rq_sched.store.order_records import order_of

HEAD = b"7 start 5f.1.7 t1 2\n"
REQUEST = b"class=2:512+gpu!n9:a0\nturn=0000000000001\ndigest=x\nat=5\n%brun=m:f\nwith=\x92\nrun=other:f\nwith="
NEED = Resources(2, 512)


def start(rare: bytes, head: bytes = HEAD) -> Start:
    order = order_of(head + REQUEST % rare)
    assert isinstance(order, Start), order
    return order


def test_a_usual_start() -> None:
    usual = Start(7, "5f.1.7", "t1", 2, "m:f", b"\x92\nrun=other:f\nwith=", 0, NEED, NEED, None, "cpu")
    for rare in (
        b"",
        b"watch=c1,c2\n",
        b"priority=5\n",
        b"watch=c1\npriority=-5\n",
        b"retries=2\nattempts=1\n",
        b"new=1\n",
    ):
        assert start(rare) == usual, rare


def test_what_a_request_says_of_its_attempts() -> None:
    assert start(b"time_limit=1500\n").time_limit == 1.5
    assert start(b"payload=300\n").payload_bytes == 300
    assert start(b"max_cpu=4\nmax_memory=1024\n").maximum == Resources(4, 1024)
    assert start(b"max_cpu=4\n").maximum == Resources(4, 512)
    assert start(b"elastic=off\n").elastic == "off"
    assert start(b"elastic=all\nreleased=cpu\n").elastic == "cpu"
    assert start(b"elastic=all\nasked=1:100\n").elastic == "off"


def test_other_orders() -> None:
    assert order_of(b"8 stop 5f.1.7 t1 1500") == Stop(8, "5f.1.7", "t1", 1.5)
    assert order_of(b"9 resize 5f.1.7 t1 3:600") == Resize(9, "5f.1.7", "t1", Resources(3, 600))
    assert order_of(b"10 reload - -") == Reload(10)
    assert order_of(b"11 void") == Void(11)


@pytest.mark.parametrize(
    "order",
    [
        HEAD + REQUEST.replace(b"2:512", b"2:0") % b"",
        HEAD + REQUEST.replace(b"2:512", b"x") % b"",
        HEAD + REQUEST.replace(b"class=2:512", b"k=1") % b"",
        HEAD + REQUEST % b"time_limit=soon\n",
        HEAD + REQUEST % b"time_limit=-1\n",
        HEAD + REQUEST % b"max_cpu=9999999999999999999\n",
        HEAD + REQUEST % b"payload=-1\n",
        HEAD + REQUEST.replace(b"m:f", b"m:\xff") % b"",
        HEAD + b"class=1:1",
        HEAD,
        b"7 start 5f.1.7 t1",
        b"7 start 5f.1.7 t1 -2\n" + REQUEST % b"",
        b"7 stop 5f.1.7 t1 soon",
        b"7 resize 5f.1.7 t1 3",
        b"7 stop \xff t1 1",
        b"7 what 5f.1.7 t1",
        b"7",
    ],
)
def test_an_order_that_cannot_be_read_says_so(order: bytes) -> None:
    found = order_of(order)
    assert isinstance(found, Garbled), found
    assert found.number == 7
    assert found.why.startswith("its order can't be read")
    assert found.task_id == ("t1" if b" t1" in order else "")
