"""Records of version 1 and the parts that they become."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rq_sched.store.parts import ARRAY, ATTEMPT, OUTCOME, REQUEST, joined, of_attempt, of_lines
from rq_sched.upgrade.from_1 import Parts, parts_of

PLAIN = {b"c": b"1:256", b"n": b"000000000001f", b"q": b"Ab3", b"t": b"17", b"f": b"math:sqrt", b"a": b"\x92\n=\x80"}
ON_NODE = PLAIN | {b"k": b"5f.1.1", b"i": b"n1:a0", b"T": b"20", b"u": b"1"}
ELEMENT = {name: value for name, value in PLAIN.items() if name != b"q"}
HEAD = b"class=1:256\nturn=1f\ndigest=Ab3\nat=17\n"
TAIL = b"run=math:sqrt\nwith=\x92\n=\x80"


@pytest.mark.parametrize(
    ("old", "parts"),
    [
        pytest.param(PLAIN, Parts(HEAD + TAIL), id="pending"),
        pytest.param(
            PLAIN | {b"s": b"delayed", b"d": b"99", b"D": b"82", b"p": b"-3", b"w": b"c1,c2"},
            Parts(HEAD + b"watch=c1,c2\nstate=delayed\ndue=99\ndelay=82\npriority=-3\n" + TAIL),
            id="delayed",
        ),
        pytest.param(
            PLAIN
            | {b"s": b"delayed", b"d": b"99", b"u": b"2", b"r": b"3", b"y": b"2", b"m": b"retry", b"E": b"a\nb"},
            Parts(
                HEAD + b"state=delayed\ndue=99\nretries=3\nretries_used=2\nattempts=2\nreason=retry\n" + TAIL,
                outcome=b"state=retry\nat=17\nerror=a\nb",
            ),
            id="before a retry",
        ),
        pytest.param(
            PLAIN | {b"s": b"held", b"d": b"99", b"o": b"op"},
            Parts(HEAD + b"state=held\ndue=99\noperation=op\n" + TAIL),
            id="held, delayed before",
        ),
        pytest.param(
            ON_NODE | {b"s": b"assigned"}, Parts(HEAD + TAIL, b"5f.1.1 n1:a0 20 1 more=1"), id="assigned"
        ),
        pytest.param(
            ON_NODE
            | {b"s": b"running", b"u": b"3", b"S": b"21", b"A": b"2:256", b"N": b"4", b"g": b"0.5", b"w": b"c1"},
            Parts(
                HEAD + b"watch=c1\nattempts=2\n" + TAIL,
                b"5f.1.1 n1:a0 20 3 started=21 allocated=2:256 resize=4 progress=0.5 watch=c1 more=1",
            ),
            id="running, the third time",
        ),
        pytest.param(
            ON_NODE | {b"s": b"running", b"S": b"21", b"b": b"requeue", b"m": b"cancelling"},
            Parts(HEAD + TAIL, b"5f.1.1 n1:a0 20 1 started=21 after=requeue reason=cancelling more=1"),
            id="being stopped",
        ),
        pytest.param(
            ON_NODE | {b"s": b"completed", b"S": b"21", b"F": b"30", b"R": b"\xc0", b"x": b"0"},
            Parts(
                HEAD + TAIL,
                outcome=b"state=completed\nat=30\nattempt=5f.1.1 n1:a0 20 1 started=21\nexit_code=0\nresult=\xc0",
            ),
            id="completed",
        ),
        pytest.param(
            ON_NODE | {b"s": b"failed", b"F": b"30", b"m": b"not\nfound", b"rx": b"300"},
            Parts(
                HEAD + TAIL,
                outcome=b"state=failed\nat=30\nattempt=5f.1.1 n1:a0 20 1\nreason=not found\nstored=300\n",
            ),
            id="failed, with a long error",
        ),
        pytest.param(
            PLAIN | {b"s": b"cancelled", b"F": b"30", b"u": b"1", b"m": b"not_wanted"},
            Parts(HEAD + b"attempts=1\n" + TAIL, outcome=b"state=cancelled\nat=30\nreason=not_wanted\n"),
            id="cancelled while it waited",
        ),
        pytest.param(
            PLAIN | {b"c": b"1:9!n1:a0", b"Z": b"n1: no module\nn2: no file"},
            Parts(HEAD.replace(b"1:256", b"1:9!n1:a0") + b"refusal=n1: no module\nrefusal=n2: no file\n" + TAIL),
            id="refused",
        ),
        pytest.param(
            PLAIN | {b"j": b"1-9", b"jn": b"4", b"jco": b"2", b"jw": b"c1", b"b": b"end"},
            Parts(
                HEAD + b"array=1-9\n" + TAIL,
                array={b"next": b"4", b"completed": b"2", b"after": b"end", b"watch": b"c1"},
            ),
            id="array",
        ),
        pytest.param(
            ELEMENT | {b"n": b"0000000000", b"ax": b"500", b"a": b""},
            Parts(b"class=1:256\nturn=0\ndigest=\nat=17\npayload=500\nrun=math:sqrt\nwith="),
            id="an element, with the place of an earlier version",
        ),
        pytest.param(
            {b"s": b"running", b"x": b"?"},
            Parts(b"digest=\nwith=", outcome=b"state=retry\nexit_code=?\n"),
            id="damaged",
        ),
    ],
)  # fmt: skip
def test_a_record_becomes_its_parts(old: dict[bytes, bytes], parts: Parts) -> None:
    assert _with_digest(parts_of(old), b"Ab3") == parts


def _with_digest(parts: Parts, digest: bytes) -> Parts:
    """With that one where there is one: what it is, ``test_a_submit_that_is_repeated_is_known_again`` tells."""
    return replace(parts, request=re.sub(rb"\ndigest=[^\n]+", b"\ndigest=" + digest, parts.request))


def test_every_line_is_one_of_version_2() -> None:
    """Of a record with all its fields."""
    every = {letter.encode(): b"1" for letter in "cnpfaqtXYrCevduyzhGOPkTANSFmoxgwlDZ"} | {b"i": b"n:1", b"b": b"end"}
    for state in (b"delayed", b"running", b"failed"):
        parts = parts_of(every | {b"s": state, b"ax": b"1", b"rx": b"1"})
        assert {name.decode() for name in of_lines(parts.request)} <= set(REQUEST)
        assert {name.decode() for name in of_lines(parts.outcome or b"")} <= set(OUTCOME)
        assert {name.decode() for name in of_attempt(parts.attempt or b"")} <= set(ATTEMPT)
        assert joined(parts.request, parts.attempt, parts.outcome)[b"state"] == state
    of_array = [b"jn", b"ja", b"jx", b"jt", b"jv", b"jco", b"jfa", b"jca", b"jfo", b"jw", b"b"]
    array = parts_of({b"j": b"1-2"} | dict.fromkeys(of_array, b"1")).array
    assert {name.decode() for name in array or {}} == set(ARRAY) - {"cut_reason"}, "version 1 had no deadlines"
