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
from rq_sched.store.parts import joined, of_attempt, of_lines, to_attempt, to_lines, with_array

ODD = [
    b"", b"x", b"-1", b"1e9", b"inf", b"nan", b"9" * 400, b"9" * 5000, b"\xff\xfe", b"\x1b[31m", b"1:2:3", b":", b"-",
    b"0-0", b"\x81\x91\x01\x01", b"\x91" * 3000, b" ",
]  # fmt: skip
REQUEST = (
    b"class=2:512+gpu\nturn=0000000000001\ndigest=x\nat=1000\nwatch=c\nstate=delayed\ndue=1\ndelay=5\npriority=1\nretries=2\n"
    b"retries_used=1\ncrashes=0\ncrash_limit=3\ntime_limit=500\nelastic=cpu\npreemptible=1\nmax_cpu=4\nmax_memory=1024\n"
    b"attempts=0\nreason=retry\narray=1-9\nrun=m:f\nwith=\x92\x91\x01\x80"
)
ATTEMPT = b"k.1.1 n1:inc 1 1 started=2 allocated=1:100 progress=0.5"
OUTCOME = b"state=failed\nat=3\nattempt=k.1.1 n1:inc 1 1 started=2\nreason=error\nexit_code=1\nerror=boom"
ARRAY = [b"next", b"3", b"apart", b"1", b"completed", b"1"]
TASK = with_array(joined(REQUEST, ATTEMPT, OUTCOME), ARRAY)


@pytest.mark.parametrize("array", [False, True])
def test_a_field_that_cannot_be_read_costs_itself(array: bool) -> None:
    for name, odd in product(TASK, ODD):
        fields = {key: value for key, value in TASK.items() if array or key != b"array"} | {name: odd}
        info = records.decode("t1", fields)
        json.dumps(show.plain(info.to_dict()), allow_nan=False)
        assert info.priority == 1 or name == b"priority"
        assert info.state is State.RUNNING or name == b"state"


def test_parts_are_written_as_they_are_read() -> None:
    assert to_lines(of_lines(REQUEST)) == REQUEST
    assert to_lines(of_lines(OUTCOME)) == OUTCOME
    assert to_attempt(of_attempt(ATTEMPT)) == ATTEMPT
    refused = b"class=1:1\nrefusal=n1: no\nrefusal=n2: never\nrun=m:f\nwith=a\nrefusal=b"
    assert of_lines(refused)[b"refusal"] == b"n1: no\nn2: never"
    assert to_lines(of_lines(refused)) == refused


def test_where_an_id_stands_says_its_state() -> None:
    waits = REQUEST.replace(b"state=delayed\n", b"").replace(b"array=1-9\n", b"")
    retried = OUTCOME.replace(b"state=failed", b"state=retry")
    states = {
        (waits, None, None): b"pending",
        (waits, None, retried): b"pending",
        (REQUEST, None, retried): b"delayed",
        (REQUEST, None, OUTCOME): b"failed",
        (REQUEST, ATTEMPT, OUTCOME): b"running",
        (waits, b"k.1.1 n1:inc 1 1", retried): b"assigned",
        (waits, b"k.1.1", None): b"pending",  # no attempt
    }
    for parts, state in states.items():
        assert joined(*parts)[b"state"] == state, parts
    assert joined(None, ATTEMPT, OUTCOME) == {}
    assert joined(b"", None, None) == {b"state": b"pending"}
    assert joined(waits, None, retried)[b"error"] == b"boom"
    left = [b"next", b"9", b"apart", b"1"]
    assert with_array(joined(REQUEST.replace(b"state=delayed\n", b""), None, None), left)[b"state"] == b"running"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_parts_may_be_anything(part: int) -> None:
    for odd in (
        *ODD,
        b"=",
        b"\n\n",
        b"with=",
        b"refusal=\n" * 9,
        b"a=" * 9,
        REQUEST[:-40],
        ATTEMPT[:-40],
        OUTCOME[:40],
    ):
        parts: list[bytes | None] = [REQUEST, None, OUTCOME]
        parts[part] = odd
        info = records.decode("t1", joined(*parts))
        json.dumps(show.plain(info.to_dict()), allow_nan=False)


def test_a_row_as_a_dict_and_by_its_old_name() -> None:
    task = records.decode("t1", TASK)
    node = node_records.decode("n1", {b"state": b"up", b"incarnation": b"i"}, 1500.0)
    assert (task.to_dict()["submitted_at"], task.to_dict()["priority"]) == ("1970-01-01T00:00:01.000Z", 1)
    assert node.to_dict()["last_heartbeat"] == "1970-01-01T00:00:01.500Z"
    for info in (task, node):
        with pytest.warns(DeprecationWarning, match="to_dict"):
            assert info.to_json() == info.to_dict()


def test_a_row_says_what_of_it_cannot_be_read() -> None:
    info = records.decode("t1", TASK | {b"time_limit": b"soon", b"state": b"elsewhere"})
    assert info.reason == Reason.UNREADABLE
    assert info.error is not None
    assert "can't be read in full: state, time_limit;" in info.error
    assert records.decode("t1", joined(REQUEST.replace(b"array=1-9\n", b""), None, OUTCOME)).reason == "error"


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
