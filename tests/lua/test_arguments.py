"""Whoever may call scripts may call them with anything: what they can't take they refuse by name, before any write."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rq_sched.errors import by_code
from rq_sched.link import scripts
from tests.lua.hostile import JUNK, Hostile, Value, hostile_cell, valid_calls

NAMES = scripts.names()


@pytest.fixture(scope="module")
def cell(redis_url: str) -> Iterator[Hostile]:
    with hostile_cell(redis_url) as cell:
        yield cell
        cell.sound(after="all")


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


@pytest.mark.parametrize(
    "keys", [[], ["rqs:{a}:", "rqs:{a}:"], ["rqs:{a}:task:"], ["seq"], ["rqs:{}:"], [b"\xff"], [""]]
)
def test_the_key_must_be_a_prefix(cell: Hostile, keys: list[Value]) -> None:
    for name, right in valid_calls(cell).items():
        assert cell.refused(name, *right, keys=keys) == "invalid_value", name


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


NEW: list[Value] = ["new", "1:256", "digest"]
REQUESTS: dict[str, tuple[list[Value], str]] = {
    # what is wrong with it: its id, class, digest and text; the code
    "a number that is none": ([*NEW, "time_limit=\nrun=m:f\nwith="], "invalid_value"),
    "a line that a submit doesn't set": ([*NEW, "state=held\nrun=m:f\nwith="], "invalid_value"),
    "a line that the script sets": ([*NEW, "class=9:9\nrun=m:f\nwith="], "invalid_value"),
    "a line of an array": ([*NEW, "array=1-10\nrun=m:f\nwith="], "invalid_value"),
    "a line twice": ([*NEW, "retries=1\nretries=2\nrun=m:f\nwith="], "invalid_value"),
    "a function twice": ([*NEW, "run=m:f\nrun=m:g\nwith="], "invalid_value"),
    "a line without a name": ([*NEW, "retries=1\nm:f\nrun=m:f\nwith="], "invalid_value"),
    "an empty line": ([*NEW, "run=m:f\n\nwith="], "invalid_value"),
    "a name that is none": ([*NEW, "Retries=1\nrun=m:f\nwith="], "invalid_value"),
    "nothing": ([*NEW, ""], "invalid_value"),
    "no function": ([*NEW, "retries=1\nwith="], "invalid_target"),
    "no function before the arguments": ([*NEW, "with=run=m:f\n"], "invalid_target"),
    "a function without a module": ([*NEW, "run=f\nwith="], "invalid_target"),
    "a function that isn't text": ([*NEW, b"run=m:\xff\nwith="], "invalid_target"),
    "a function with a surrogate": ([*NEW, b"run=m:\xed\xa0\x80\nwith="], "invalid_target"),
    "a function with control characters": ([*NEW, "run=m:\x1b[2J\nwith="], "invalid_target"),
    "a very long function": ([*NEW, f"run=m:{'f' * 5000}\nwith="], "invalid_target"),
    "a maximum below the need": ([*NEW, "max_memory=100\nrun=m:f\nwith="], "invalid_value"),
    "arguments that are too long": ([*NEW, "run=m:f\nwith=" + "x" * 300_000], "payload_too_large"),
    "arguments that are said to be elsewhere": ([*NEW, "payload=100\nrun=m:f\nwith="], "invalid_value"),
    "no arguments": ([*NEW, "run=m:f\n"], "invalid_value"),
    "arguments that don't begin a line": ([*NEW, "run=m:fwith="], "invalid_value"),
    "fewer arguments than a task has": (["new", "1:256", "digest"], "invalid_value"),
    "no digest": (["new", "1:256", "", "run=m:f\nwith="], "invalid_value"),
    "a digest that ends its line": (["new", "1:256", "x\nstate=held", "run=m:f\nwith="], "invalid_value"),
    "a long digest": (["new", "1:256", "x" * 65, "run=m:f\nwith="], "invalid_value"),
    "a class that ends its line": (["new", "1:256\nat=0", "digest", "run=m:f\nwith="], "invalid_label"),
    "no cores": (["new", "00:256", "digest", "run=m:f\nwith="], "invalid_resources"),
    "memory beyond what can be told": (["new", "1:16777216", "digest", "run=m:f\nwith="], "invalid_resources"),
    "an endless amount": (["new", "9" * 400 + ":1", "digest", "run=m:f\nwith="], "invalid_resources"),
    "a class that is none": (["new", "seq", "digest", "run=m:f\nwith="], "invalid_resources"),
    "nine labels": (["new", "1:1" + "".join(f"+l{i}" for i in range(9)), "digest", "run=m:f\nwith="], "invalid_label"),
    "a delay of ages": ([*NEW, "delay=10000000000000\nrun=m:f\nwith="], "invalid_value"),
    "a priority that is none": ([*NEW, "priority=nan\nrun=m:f\nwith="], "invalid_value"),
    "an id that is an element's": (["sweep/5", "1:256", "digest", "run=m:f\nwith="], "invalid_id"),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_is_looked_at_before_any_of_its_batch_is_kept(cell: Hostile, what: str) -> None:
    wrong, code = REQUESTS[what]
    good: list[Value] = ["fine", "1:256", "digest", "run=m:f\nwith="]
    assert cell.refused("task_submit", "", "ab", 0, "", *good, *wrong) == code


def test_a_request_may_have_any_text_that_is_one(cell: Hostile) -> None:
    for i, function in enumerate(("größe:fläche", "exec:/tmp/日本語", "m:𝐟", "exec:/a b")):
        request = f"run={function}\nwith="
        assert cell.call("task_submit", "", "ab", 0, "", f"text{i}", "1:256", "digest", request) is None
    cell.sound(after="task_submit")


def test_arguments_may_be_any_bytes(cell: Hostile) -> None:
    """What stands behind the last name isn't looked at, be it like lines; if it is long, it goes beside the request."""
    given = {
        "raw-lines": b"\nwith=\nstate=held\nrun=m:g\nwith=x\n",
        "raw-zeros": b"\x00\xff\n",
        "raw-long": b"\nwith=" * 100,
    }
    for name, arguments in given.items():
        assert cell.call("task_submit", "", "ab", 0, "", name, "1:256", "digest", b"run=m:f\nwith=" + arguments) is None
        text: bytes = cell.redis.get(f"{cell.prefix}task:{name}")  # type: ignore[assignment]
        inline = text.partition(b"\nrun=m:f\nwith=")[2]
        assert (inline or cell.redis.get(f"{cell.prefix}payload:{name}")) == arguments
        assert (b"\npayload=600\n" in text) == (name == "raw-long") == (not inline)
    cell.sound(after="task_submit")


@pytest.mark.parametrize(("first", "last"), [(5, 4), (0, 10_000_000), (-1, 4), (1, 10**9), ("x", 4)])
def test_an_array_has_a_bounded_number_of_elements(cell: Hostile, first: Value, last: Value) -> None:
    call: list[Value] = ["", "ab", 0, "", first, last, "big", "1:256", "digest", "run=m:f\nwith="]
    assert cell.refused("array_submit", *call) == "invalid_value"


def test_what_a_worker_reports_is_bounded(cell: Hostile) -> None:
    node: list[Value] = ["", "n1", "i1", 0, "ab", 4, 0.5, ""]
    attempt = f"{cell.scene.tokens['r1']} r1"
    large: list[list[Value]] = [
        [f"{attempt} completed 10", "x" * 300_000, ""],
        [f"{attempt} failed 10 reason=error", "x" * 300_000, ""],
        [f"{attempt} completed 10", "", "x" * 3_000_000],
    ]
    for report in large:
        assert cell.refused("task_finish", *node, *report) == "payload_too_large"
    strange = [
        f"{attempt} invented 10", f"{attempt} failed soon", f"{attempt} failed", f"{attempt} failed 10 reason=a reason",
        f"{attempt} failed 10 exit_code=none", f"{attempt} failed 10 exit_code=1 reason=error",
        f"{attempt} completed 10 ", f"{attempt} completed 1e3", f"{attempt} completed {'9' * 13}",
        f"{attempt} completed 10 cause=error", "completed",
        f"{attempt} failed 10 reason={'x' * 129}", f"{attempt} failed 10\nreason=error",
    ]  # fmt: skip
    for head in strange:
        assert cell.refused("task_finish", *node, head, "", "") == "invalid_value", head


def test_every_code_that_a_script_refuses_with_is_an_exception() -> None:
    for path in scripts.FOLDER.glob("*.lua"):
        for code in re.findall(r"(?:refuse|complain)\('(\w+)'", path.read_text()):
            assert code in by_code(), f"{path.name}: {code}"
