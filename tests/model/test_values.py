"""Values come back as they went, or are refused where they are given, with what to send instead."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import sys
import types
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rq_sched import testing
from rq_sched.cli import show
from rq_sched.errors import InvalidValue, NotSerializable, PayloadTooLarge, TaskFailed, UnreadableValue, Unsendable
from rq_sched.model.task import TaskRequest
from rq_sched.model.values import MAX_PAYLOAD, pack, unpack
from rq_sched.store.records import decode
from tests.support.records import alter, outcome


class Number(enum.IntEnum):
    ONE = 1


class Named(str, enum.Enum):  # noqa: UP042  str() of such a one is "Named.X"
    X = "x"


class Text(str):
    def __str__(self) -> str:
        return "something else"


class Rows(list[int]):
    pass


class Real(float):  # as numpy.float64 is one
    pass


Pair = collections.namedtuple("Pair", "a b")


@dataclasses.dataclass
class Record:
    a: int = 1


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        return 1


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def own_part() -> list[Any]:
    value: list[Any] = [1, {"a": []}]
    value[1]["a"].append(value)
    return value


def own_key_part() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


async def coroutine() -> None: ...


def numpys() -> types.ModuleType:
    """What numpy's scalars look like to us, without numpy."""
    module = types.ModuleType("numpy")
    module.generic = type("generic", (), {"__module__": "numpy"})  # type: ignore[attr-defined]
    module.int64 = type("int64", (module.generic,), {"__module__": "numpy"})  # type: ignore[attr-defined]
    module.ndarray = type("ndarray", (), {"__module__": "numpy", "__iter__": None})  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**63), 2**64 - 1, 1.5, math.inf, "", "é\0\U0001f600", b"\xff", [], {}, [1, [2, {"a": None}]],
        {1: 2, None: 3, 1.5: 4, b"k": 5}, nested(100),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_plain_data_comes_back_as_it_went(value: Any) -> None:
    back = unpack(pack(value, "it"))
    assert back == value
    assert type(back) is type(value)


def test_nan_comes_back() -> None:
    assert math.isnan(unpack(pack([math.nan], "it"))[0])


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2, ())), [1, [2, []]]),
        ({"a": (1,)}, {"a": [1]}),
        (Pair(1, 2), [1, 2]),
        (Number.ONE, 1),
        (Named.X, "x"),
        ({Named.X: Number.ONE}, {"x": 1}),
        (Text("x"), "x"),
        (Real(1.5), 1.5),
        (Rows([1, 2]), [1, 2]),
        (collections.OrderedDict(a=(1,)), {"a": [1]}),
        (collections.defaultdict(int, {1: 2}), {1: 2}),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        ([Text("x"), {"a": Number.ONE}], ["x", {"a": 1}]),
    ],
)
def test_derived_types_become_plain_ones_of_equal_value(value: Any, back: Any) -> None:
    found = unpack(pack(value, "it"))
    assert found == back
    assert type(found) is type(back)


REFUSED: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: {1, 2}, "a set", "list("),
    (lambda: [{"a": frozenset()}], "it[0]['a'] is a frozenset", "list("),
    (lambda: {(1, 2): 3}, "a tuple as a key ((1, 2))", "list(….items())"),
    (lambda: {Pair(1, 2): 3}, "a tuple as a key", "list(….items())"),
    (lambda: [1, {"x": {(): 3}}], "it[1]['x'] is a dict with a tuple", "list(….items())"),
    (lambda: "a\ud800", "'a\\ud800'", "os.fsencode("),
    (lambda: {"\udcff": 1}, "'\\udcff' is text", "os.fsencode("),
    (lambda: [Text("\ud800")], "it[0] is text", "os.fsencode("),
    (lambda: 2**64, "64 bits", "str("),
    (lambda: [-(2**63) - 1], "it[0]", "str("),
    (lambda: {10**40: 1}, "a key", "str("),
    (lambda: datetime.datetime.now(datetime.UTC), "datetime.datetime", ".isoformat()"),
    (lambda: datetime.date(2026, 1, 1), "datetime.date", ".isoformat()"),
    (lambda: datetime.timedelta(1), "datetime.timedelta", ".total_seconds()"),
    (lambda: decimal.Decimal("1.1"), "decimal.Decimal", "str("),
    (lambda: fractions.Fraction(1, 3), "fractions.Fraction", "str("),
    (lambda: uuid.uuid4(), "uuid.UUID", "str("),
    (lambda: pathlib.Path("x"), "PosixPath", "str("),
    (lambda: enum.Enum("Colour", "RED").RED, "Colour", ".value"),  # type: ignore[attr-defined]
    (lambda: Record(), "Record", "dataclasses.asdict("),
    (lambda: 1j, "a complex", "z.real"),
    (lambda: ValueError("x"), "a ValueError", "repr("),
    (lambda: range(3), "a range", "list("),
    (lambda: (i for i in [1]), "a generator", "list("),
    (lambda: {}.keys(), "a dict_keys", "list("),
    (lambda: collections.deque([1]), "collections.deque", "list("),
    (lambda: types.MappingProxyType({}), "a mappingproxy", "dict("),
    (lambda: object(), "an object", "None, bool"),
    (lambda: len, "a builtin_function_or_method", "its name"),
    (lambda: Record, "a type", "its name"),
    (lambda: numpys().int64(), "a numpy.int64", ".item()"),
    (lambda: numpys().ndarray(), "a numpy.ndarray", ".tolist()"),
    (lambda: {Rude(): 1}, "a dict with a key", "None, bool"),
    (lambda: nested(1030), "nested more than", "json.dumps"),
    (lambda: nested(100_000), "nested more than", "json.dumps"),
    (own_part, "it[1]['a'][0] is what it is part of", "once"),
    (own_key_part, "it['self'] is what", "once"),
]


@pytest.mark.parametrize(("make", "what", "remedy"), REFUSED, ids=[f"{i}: {r[1]}" for i, r in enumerate(REFUSED)])
def test_what_cant_come_back_is_refused_with_the_remedy(make: Callable[[], Any], what: str, remedy: str) -> None:
    with pytest.raises(NotSerializable) as refused:
        pack(make(), "the result")
    message = str(refused.value)
    assert message.startswith("the result can't be sent: it")
    assert what in message
    assert remedy in message
    assert message.isascii() or "…" in message
    message.encode()


def test_a_coroutine_is_to_be_awaited() -> None:
    forgotten = coroutine()
    with pytest.raises(NotSerializable, match="a coroutine: await it"):
        pack(forgotten, "the result")
    forgotten.close()


def test_arguments_are_named_as_the_caller_knows_them() -> None:
    with pytest.raises(NotSerializable, match=r"args\[1\]\['when'\] is a datetime.date"):
        TaskRequest("m:f", [1, {"when": datetime.date(2026, 1, 1)}]).pack_arguments()
    with pytest.raises(NotSerializable, match=r"kwargs\['size'\] is a set"):
        TaskRequest("m:f", [], {"size": {1}}).pack_arguments()


def test_too_much_is_refused() -> None:
    assert len(pack(b"x" * (MAX_PAYLOAD - 5), "it")) == MAX_PAYLOAD
    with pytest.raises(PayloadTooLarge, match="the result has"):
        pack([b"x"] * MAX_PAYLOAD, "the result")
    with pytest.raises(Unsendable):
        pack((b"x",) * MAX_PAYLOAD, "the result")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()
    | st.dates() | st.complex_numbers() | st.just(Number.ONE),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.frozensets(st.integers())
    | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()) | st.just(Named.X), inner, max_size=3),
)  # fmt: skip


def as_it_comes_back(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [as_it_comes_back(item) for item in value]
    if isinstance(value, dict):
        return {key: as_it_comes_back(item) for key, item in value.items()}
    return value


@given(anything)
def test_anything_comes_back_or_is_refused(value: Any) -> None:
    try:
        packed = pack(value, "it")
    except Unsendable as refused:
        str(refused).encode()
    else:
        assert repr(pack(unpack(packed), "it")) == repr(packed)
        back, sent = unpack(packed), as_it_comes_back(value)
        assert back == sent or "nan" in repr(sent)


BROKEN = [
    b"\xc1", b"\x92\x01", b"\xa1\xff", b"\x01\x01", b"\x81\x91\x01\x01", b"\xd4\xff\x00", b"\xdd\xff\xff\xff\xff",
    b"\xd7\xff" + b"\xff" * 8, b"\x91" * 2000 + b"\x01", b"\xc7\x00", b"text",
]  # fmt: skip


@pytest.mark.parametrize("packed", BROKEN, ids=lambda packed: repr(packed)[:20])
def test_what_is_no_value_is_shown_all_the_same(packed: bytes) -> None:
    with pytest.raises(UnreadableValue) as error:
        unpack(packed)
    assert repr(packed[:40])[:-1] in str(error.value)
    info = decode("t", {b"state": b"completed", b"result": packed, b"with": packed})
    assert info.args is None
    assert repr(packed[:40])[:-1] in str(show.plain(info.to_dict())["result"])


def test_the_result_of_a_task_that_cant_be_read_is_an_error_of_ours() -> None:
    with testing.cluster() as client:
        handle = client.submit("math:sqrt", 4.0)
        assert handle.result() == 2.0
        alter(client._link.run, client._store.keys, outcome(handle.id, result=b"\x81\x91\x01\x01"))
        with pytest.raises(UnreadableValue, match=f"the result of task {handle.id} can't be read"):
            handle.result()
        assert isinstance(client.status(handle.id).result, UnreadableValue)


def test_a_result_that_cant_be_sent_fails_once() -> None:
    with testing.cluster() as client:
        info = client.submit("tests.client.jobs:a_set", retries=3)
        with pytest.raises(TaskFailed, match=r"the result can't be sent: it is a set: .* list\(") as failed:
            info.result()
    assert (failed.value.reason, failed.value.attempt) == ("unsendable", 1)


def test_deep_values_are_shown_in_part() -> None:
    arguments = msgpack.packb([[nested(900)], {}])
    info = decode("t", {b"state": b"completed", b"result": pack(nested(1000), "it"), b"with": arguments})
    assert str(show.plain(info.to_dict())).count("…") == 2


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (TaskRequest("exec:/bin/echo", ["a\0b"]), "null character"),
        (TaskRequest("exec:/bin/echo", [b"\0"]), "null character"),
        (TaskRequest("exec:/bin/echo", [None]), "text, bytes or a number"),
        (TaskRequest("exec:/bin/echo", [], {"a": 1}), "no named arguments"),
        (TaskRequest("m:f", [], {1: 2}), "names as keys"),  # type: ignore[dict-item]
    ],
)
def test_what_a_task_couldnt_be_called_with_is_refused(request_: TaskRequest, complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        request_.check()


def deep_frames(levels: int, then: Callable[[], None]) -> Iterator[None]:
    if levels:
        yield from deep_frames(levels - 1, then)
    else:
        then()


def test_a_refusal_needs_little_of_the_stack() -> None:
    def refuse() -> None:
        with pytest.raises(NotSerializable):
            pack(nested(2000), "it")

    list(deep_frames(sys.getrecursionlimit() - 300, refuse))
