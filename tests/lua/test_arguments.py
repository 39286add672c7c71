"""Whoever may call scripts may call them with anything: what they can't take they refuse by name, before any write."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rq_sched.errors import by_code
from rq_sched.link import Link, scripts
from tests.conftest import drop
from tests.lua.hostile import JUNK, Hostile, Value, hostile_cell, valid_calls

NAMES = scripts.names()


@pytest.fixture(scope="module")
def cell(redis_url: str) -> Iterator[Hostile]:
    namespace = f"t-{uuid.uuid4().hex[:12]}"
    with hostile_cell(redis_url, namespace) as cell:
        yield cell
        cell.sound(after="all")
    link = Link(redis_url)
    link.run(drop(namespace))
    link.close()


def test_every_script_is_tried(cell: Hostile) -> None:
    assert set(valid_calls(cell)) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_argument_may_be_anything(cell: Hostile, name: str) -> None:
    right = valid_calls(cell)[name]
    refused = 0
    for at in range(len(right)):
        for junk in JUNK:
            refused += cell.refused(name, *right[:at], junk, *right[at + 1 :]) is not None
    assert refused > len(JUNK) / 4 or name.startswith("repair_"), f"{name} took nearly all"
    cell.sound(after=name)


@pytest.mark.parametrize("name", NAMES)
def test_there_may_be_any_number_of_them(cell: Hostile, name: str) -> None:
    right = valid_calls(cell)[name]
    fixed = len(scripts.load(name).arguments) - scripts.load(name).variadic
    for number in range(fixed):
        assert cell.refused(name, *right[:number]) == "invalid_value"
    if not scripts.load(name).variadic:
        assert cell.refused(name, *right, "more") == "invalid_value"
    assert cell.refused(name, *right, *(["x"] * 60_000)) == "invalid_value"
    cell.sound(after=name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "keys", [[], ["rqs:{a}:", "rqs:{a}:"], ["rqs:{a}:task:"], ["seq"], ["rqs:{}:"], [b"\xff"], [""]]
)
def test_the_key_must_be_a_prefix(cell: Hostile, name: str, keys: list[Value]) -> None:
    assert cell.refused(name, *valid_calls(cell)[name], keys=keys) == "invalid_value"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_arguments_at_all(cell: Hostile, data: st.DataObject) -> None:
    """What is refused writes nothing; what is accepted leaves the audit clean; nobody sees an error of Lua."""
    calls = valid_calls(cell)
    name = data.draw(st.sampled_from(NAMES))
    values = [value for call in calls.values() for value in call] + JUNK
    one = st.one_of(st.sampled_from(values), st.binary(max_size=40), st.integers().map(str), st.floats().map(repr))
    arguments = list(calls[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(arguments)))
        arguments[at : at + data.draw(st.integers(0, 2))] = data.draw(st.lists(one, max_size=2))
    if cell.refused(name, *arguments) is None:
        cell.sound(after=name)


REQUEST: list[Value] = ["new", "digest", "1:256", 0, 0, ""]
REQUESTS: dict[str, tuple[list[Value], str]] = {
    # what is wrong with it: how it begins, and its fields; the code
    "a number that is none": ([*REQUEST, 4, "f", "m:f", "l", ""], "invalid_value"),
    "a field that a submit doesn't set": ([*REQUEST, 4, "f", "m:f", "s", "running"], "invalid_value"),
    "a field of an array": ([*REQUEST, 4, "f", "m:f", "j", "1-10"], "invalid_value"),
    "a field twice": ([*REQUEST, 6, "f", "m:f", "r", 1, "r", 2], "invalid_value"),
    "no function": ([*REQUEST, 2, "r", 1], "invalid_target"),
    "a function without a module": ([*REQUEST, 2, "f", "f"], "invalid_target"),
    "a function that isn't text": ([*REQUEST, 2, "f", b"m:\xff"], "invalid_target"),
    "a function with a surrogate": ([*REQUEST, 2, "f", b"m:\xed\xa0\x80"], "invalid_target"),
    "a function with control characters": ([*REQUEST, 2, "f", "m:\x1b[2J"], "invalid_target"),
    "a very long function": ([*REQUEST, 2, "f", "m:" + "f" * 5000], "invalid_target"),
    "a maximum below the need": ([*REQUEST, 4, "f", "m:f", "Y", 100], "invalid_value"),
    "arguments that are too long": ([*REQUEST, 4, "f", "m:f", "a", "x" * 300_000], "payload_too_large"),
    "long arguments that aren't there": ([*REQUEST, 4, "f", "m:f", "ax", 100], "invalid_value"),
    "long arguments of another length": ([*REQUEST[:5], "abc", 4, "f", "m:f", "ax", 4], "invalid_value"),
    "long arguments that nothing mentions": ([*REQUEST[:5], "abc", 2, "f", "m:f"], "invalid_value"),
    "fewer fields than said": ([*REQUEST, 4, "f", "m:f"], "invalid_value"),
    "half a field": ([*REQUEST, 3, "f", "m:f", "r"], "invalid_value"),
    "no cores": (["new", "digest", "0:256", 0, 0, "", 2, "f", "m:f"], "invalid_resources"),
    "memory beyond what can be told": (["new", "digest", "1:16777216", 0, 0, "", 2, "f", "m:f"], "invalid_resources"),
    "an endless amount": (["new", "digest", "9" * 400 + ":1", 0, 0, "", 2, "f", "m:f"], "invalid_resources"),
    "a class that is none": (["new", "digest", "seq", 0, 0, "", 2, "f", "m:f"], "invalid_resources"),
    "nine labels": (["new", "digest", "1:1" + "".join(f"+l{i}" for i in range(9)), 0, 0, "", 2, "f", "m:f"],
                    "invalid_label"),
    "a delay of ages": (["new", "digest", "1:256", 0, 10**13, "", 2, "f", "m:f"], "invalid_value"),
    "a priority that is none": (["new", "digest", "1:256", "nan", 0, "", 2, "f", "m:f"], "invalid_value"),
    "an id that is an element's": (["sweep/5", "digest", "1:256", 0, 0, "", 2, "f", "m:f"], "invalid_id"),
}  # fmt: skip


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_is_looked_at_before_any_of_its_batch_is_kept(cell: Hostile, what: str) -> None:
    wrong, code = REQUESTS[what]
    good: list[Value] = ["fine", "digest", "1:256", 0, 0, "", 2, "f", "m:f"]
    assert cell.refused("task_submit", "", "ab", 0, "", *good, *wrong) == code


def test_a_request_may_have_any_text_that_is_one(cell: Hostile) -> None:
    for i, function in enumerate(("größe:fläche", "exec:/tmp/日本語", "m:𝐟", "exec:/a b")):
        assert cell.call("task_submit", "", "ab", 0, "", f"text{i}", *REQUEST[1:], 2, "f", function) is None
    cell.sound(after="task_submit")


@pytest.mark.parametrize(("first", "last"), [(5, 4), (0, 10_000_000), (-1, 4), (1, 10**9), ("x", 4)])
def test_an_array_has_a_bounded_number_of_elements(cell: Hostile, first: Value, last: Value) -> None:
    call: list[Value] = ["", "ab", 0, "", first, last, "big", "digest", "1:256", 0, 0, "", "f", "m:f"]
    assert cell.refused("array_submit", *call) == "invalid_value"


def test_what_a_worker_reports_is_bounded(cell: Hostile) -> None:
    node: list[Value] = ["", "n1", "i1", 0, "ab", 4, 0.5]
    token = cell.scene.tokens["r1"]
    large: list[list[Value]] = [
        ["completed", 10, "", "x" * 300_000, "", "", ""],
        ["failed", 10, "error", "", "x" * 300_000, "", ""],
        ["completed", 10, "", "", "", "", "x" * 2_000_000],
    ]
    for report in large:
        assert cell.refused("task_finish", *node, token, "r1", *report) == "payload_too_large"
    strange: list[list[Value]] = [
        ["invented", 10, "", "", "", "", ""],
        ["failed", "soon", "", "", "", "", ""],
        ["failed", 10, "a reason", "", "", "", ""],
        ["failed", 10, "error", "", "", "none", ""],
    ]
    for report in strange:
        assert cell.refused("task_finish", *node, token, "r1", *report) == "invalid_value"


def test_every_code_that_a_script_refuses_with_is_an_exception() -> None:
    for path in scripts.FOLDER.glob("*.lua"):
        for code in re.findall(r"(?:refuse|complain)\('(\w+)'", path.read_text()):
            assert code in by_code(), f"{path.name}: {code}"
