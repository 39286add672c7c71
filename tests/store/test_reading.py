"""What stands in Redis may be anything: every field in turn is, and each row is still a row that says so."""

from __future__ import annotations

import json
from itertools import product

import pytest

from rq_sched.cli import show
from rq_sched.model.classes import group_of
from rq_sched.model.events import events_of
from rq_sched.model.fit import Reservation, Room
from rq_sched.model.states import Reason, State
from rq_sched.store import node_records, records

ODD = [
    b"", b"x", b"-1", b"1e9", b"inf", b"nan", b"9" * 400, b"9" * 5000, b"\xff\xfe", b"\x1b[31m", b"1:2:3", b":", b"-",
    b"0-0", b"\x81\x91\x01\x01", b"\x91" * 3000, b" ",
]  # fmt: skip
TASK = dict(
    pair.split(b"=", 1)
    for pair in (
        b"s=running c=2:512+gpu n=0000000001 p=1 f=m:f a=\x92\x91\x01\x80 t=1000 X=4 Y=1024 r=2 C=3 l=500 "
        b"e=cpu v=1 d=1 D=5 u=1 y=1 z=0 k=k.1.1 i=n1:inc A=1:100 T=1 S=2 F=3 m=error R=\x01 E=boom x=1 g=0.5 j=1-9 jn=3 ja=1 jco=1"  # noqa: E501
    ).split(b" ")
)


@pytest.mark.parametrize("array", [False, True])
def test_a_field_that_cannot_be_read_costs_itself(array: bool) -> None:
    for name, odd in product(TASK, ODD):
        fields = {key: value for key, value in TASK.items() if array or not key.startswith(b"j")} | {name: odd}
        info = records.decode("t1", fields)
        json.dumps(show.plain(info.to_dict()), allow_nan=False)
        assert info.priority == 1 or name == b"p"
        assert info.state is State.RUNNING or name == b"s"


def test_a_row_as_a_dict_and_by_its_old_name() -> None:
    task = records.decode("t1", TASK)
    node = node_records.decode("n1", {b"state": b"up", b"incarnation": b"i"}, 1500.0)
    assert (task.to_dict()["submitted_at"], task.to_dict()["priority"]) == ("1970-01-01T00:00:01.000Z", 1)
    assert node.to_dict()["last_heartbeat"] == "1970-01-01T00:00:01.500Z"
    for info in (task, node):
        with pytest.warns(DeprecationWarning, match="to_dict"):
            assert info.to_json() == info.to_dict()


def test_a_row_says_what_of_it_cannot_be_read() -> None:
    info = records.decode("t1", TASK | {b"l": b"soon", b"s": b"elsewhere"})
    assert info.reason == Reason.UNREADABLE
    assert info.error is not None
    assert "s (state), l (time_limit, ms (none))" in info.error
    assert records.decode("t1", {k: v for k, v in TASK.items() if k[:1] != b"j"}).reason == "error"


def test_a_node_that_cannot_be_read_is_a_row() -> None:
    sound = {b"state": b"up", b"incarnation": b"i", b"ttl": b"1000"}
    sound |= dict.fromkeys((b"total_cpu", b"total_memory", b"free_cpu", b"free_memory", b"running"), b"4")
    for name, odd, runs_out in product(node_records.FIELDS, ODD, (None, 5.0, float("inf"), float("-inf"), 1e300)):
        info = node_records.decode("n1", sound | {name.encode(): odd}, runs_out)
        json.dumps(show.plain(info.to_dict()), allow_nan=False)
    assert node_records.decode("n1", sound, None).state == "up"
    assert node_records.decode("n1", sound | {b"free_cpu": b"x"}, None).state == "unreadable"


@pytest.mark.parametrize("odd", ODD)
def test_other_rows(odd: bytes) -> None:
    events_of(odd, {odd: odd})
    events_of(b"1-1", {b"placed": b"t1@n1#" + odd + b"=" + odd})
    text = odd.decode("latin-1")
    Room.parse(text)
    Room.parse(f"n1 {text} 1 512 8 4096 big +gpu")
    names = ("first", "since", "task", "score", "sequence", "node", "at", "until", "spare_cpu", "spare_memory")
    for name in names:
        Reservation.of(dict.fromkeys(names, "1") | {name: text})
    assert group_of(odd) == ""
