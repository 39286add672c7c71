"""The list of a task's options, and that all who speak of them say the same."""

from __future__ import annotations

import dataclasses
import inspect
from datetime import timedelta
from typing import Any

import pytest

from rq_sched import TaskRequest
from rq_sched.cli.submit import submit_command
from rq_sched.client.awaiting import AsyncClient
from rq_sched.client.blocking import Client
from rq_sched.errors import InvalidValue, UsageError
from rq_sched.model.options import NAMES, OPTIONS, Options, RequestOptions, by_keyword
from rq_sched.model.target import make_request, parted, short_form
from rq_sched.model.task import TaskInfo, request_from_json
from tests.client import jobs

SAMPLES: dict[str, Any] = {
    "cpu": 2, "memory": "1G", "max_cpu": 4, "max_memory": 2048, "require": ["gpu"],
    "resources": ["scratch=5000", "gpu=2"], "limits": ["api"], "array": "1-9", "priority": -3,
    "task_id": "t", "retries": 4, "crash_limit": 5, "time_limit": "10m", "delay": timedelta(hours=1), "elastic": "all",
    "preemptible": True, "chdir": "/srv", "env": ["B=2", "A=1"], "stdin": "in", "output": "%i.out", "error": "%t.err",
    "log_limit": "512K", "name": "a name", "tags": {"run": "17"},
    "after": ["prep", "clean:any"], "after_each": "sweep", "on_failure": "keep", "deadline": "2h", "infeasible": "fail",
}  # fmt: skip
PARSED = SAMPLES | {
    "memory": 1024, "require": ("gpu",), "resources": {"gpu": 2, "scratch": 5000}, "limits": {"api": 1},
    "time_limit": 600.0, "delay": 3600.0, "env": {"A": "1", "B": "2"},
    "log_limit": 524288, "deadline": 7200.0, "after": ("prep", "clean:any"),
}  # fmt: skip


def test_there_is_a_sample_of_each() -> None:
    assert SAMPLES.keys() == OPTIONS.keys() == Options.__annotations__.keys()


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_submit_has_them(client: type) -> None:
    named = {
        p.name: p
        for p in inspect.signature(client.submit).parameters.values()  # type: ignore[attr-defined]
        if p.kind is p.KEYWORD_ONLY
    }
    assert list(named) == list(OPTIONS)
    assert all(p.default is None for p in named.values())
    described = " ".join(inspect.getdoc(client.options) or "")  # type: ignore[attr-defined]
    for name in OPTIONS:
        assert " ".join(name) in described, f"the docstring of options doesn't tell of {name}"


def test_a_request_has_them_by_all_their_names() -> None:
    own = ["function", "args", "kwargs", "hints"]
    fields = [field.name for field in dataclasses.fields(TaskRequest)]
    assert sorted(fields) == sorted([*own, *(option.long for option in OPTIONS.values())])
    assert set(RequestOptions.__optional_keys__) == NAMES.keys()
    for option in OPTIONS.values():
        assert getattr(TaskRequest("m:f"), option.long) == option.default
        for name in {option.keyword, option.short, option.long}:
            needs: Any = {"cpu": 2, "memory": 1024} if option.keyword.startswith("max") else {}
            needs |= {"array": "1-9"} if option.keyword in ("output", "after_each") else {}
            given: Any = {**needs, name: SAMPLES[option.keyword]}
            assert getattr(TaskRequest("m:f", **given).check(), option.long) == PARSED[option.keyword], name
            assert getattr(request_from_json({"function": "m:f", **given}), option.long) == PARSED[option.keyword]


def test_a_request_can_be_copied_with_changes() -> None:
    request = TaskRequest("m:f", [1], cpu=2, tags={"a": "b"})
    copy = dataclasses.replace(request, task_id="t1", memory_needed=5)
    assert (copy.task_id, copy.args, copy.cpu_needed, copy.memory_needed, copy.tags) == ("t1", [1], 2, 5, {"a": "b"})
    assert dataclasses.replace(copy) == copy


def test_the_output_has_their_long_names() -> None:
    fields = {field.name for field in dataclasses.fields(TaskInfo)}
    assert {option.long for option in OPTIONS.values()} <= fields


def test_the_command_line_has_them() -> None:
    params = {str(p.name): p for p in submit_command.params}
    for option in OPTIONS.values():
        assert "--" + option.short.replace("_", "-") in params[option.long].opts
        assert params[option.long].default is None


def test_all_at_once_from_everywhere() -> None:
    samples: Any = {name: value for name, value in SAMPLES.items() if name != "after_each"}  # what has it has no after
    expected = TaskRequest("m:f", [1], {"x": 2}, **samples).check()
    assert make_request("m:f", [1], {"x": 2}, samples) == expected
    assert short_form("m:f", [1], samples, {"x": 2}) == expected
    by_long = {OPTIONS[name].long: value for name, value in samples.items() if name != "delay"}
    assert request_from_json({"function": "m:f", "args": [1], "kwargs": {"x": 2}, "delay": "1h", **by_long}) == expected


@pytest.mark.parametrize("twice", [{"cpu": 1, "cpu_needed": 1}, {"id": "t", "task_id": "t"}])
def test_both_names_are_an_error(twice: Any) -> None:
    with pytest.raises(InvalidValue, match="are the same: give one of them"):
        TaskRequest("m:f", **twice)
    with pytest.raises(InvalidValue, match="are the same: give one of them"):
        request_from_json({"function": "m:f", **twice})


@pytest.mark.parametrize(
    ("name", "near"),
    [("cpus", "cpu"), ("memroy", "memory"), ("timelimit", "time_limit"), ("prio", "priority"), ("retry", "retries"),
     ("functoin", "function"), ("max_cpus", "max_cpu")],
)  # fmt: skip
def test_an_unknown_field_is_told_the_near_one(name: str, near: str) -> None:
    with pytest.raises(InvalidValue, match=f"unknown field '{name}': did you mean {near}?"):
        request_from_json({"function": "m:f", name: 1})


def test_an_unknown_field_like_no_other_is_told_all() -> None:
    with pytest.raises(
        InvalidValue, match=r"unknown field 'xyzzy'; known are after, after_each, args, array, chdir, cpu, "
    ):
        request_from_json({"function": "m:f", "xyzzy": 1, "self": 2})
    with pytest.raises(InvalidValue, match="unknown option 'cpus': did you mean cpu?"):
        by_keyword({"cpus": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [("time_limit", 0), ("time_limit", "10x"), ("delay", -1), ("delay", timedelta(seconds=-1)), ("delay", 1e10),
     ("delay", float("nan")), ("delay", True), ("delay", [1]), ("priority", True), ("priority", "5"), ("retries", -1),
     ("crash_limit", 0), ("preemptible", 1), ("elastic", ["cpu"]), ("require", 5), ("array", 5), ("task_id", 5),
     ("after", 5), ("after", ["a", 5]), ("after", ["a", "a:any"]), ("after", "a:never"), ("after", "a b"),
     ("on_failure", "x"), ("infeasible", "x"), ("infeasible", True), ("deadline", 0), ("deadline", -1),
     ("deadline", "soon")],
)  # fmt: skip
def test_what_they_cant_be(name: str, value: Any) -> None:
    with pytest.raises(UsageError):
        TaskRequest("m:f", **{name: value}).check()


# -- the short form ----------------------------------------------------------------------------------


def resize(image: str, memory: str = "low", **more: Any) -> None:
    """Has a parameter that is called like an option, and takes any others."""


class Evil:
    def __repr__(self) -> str:
        raise ValueError("not even this")


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    "value",
    [Evil(), 10**5000, "x" * 10**6, ["GPU"] * 10**5, [10**5000], range(10**12), "a\nb\x1b[31m", "\udce9", float("nan")],
    ids=lambda value: type(value).__name__,
)
def test_whatever_it_is_the_error_is_one_short_line(name: str, value: Any) -> None:
    """And nothing is looked at further than it can be right."""
    with pytest.raises(UsageError) as refused:
        OPTIONS[name].parse(value, name)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_an_option_that_is_also_a_parameter_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"memory is an option.*resize has a parameter.*client\.options\(memory=…\)"):
        short_form(resize, ["a.png"], {"memory": 512}, {})
    request = make_request(resize, ["a.png"], {"memory": "high"}, {"memory": 512})
    assert (request.memory_needed, request.kwargs) == (512, {"memory": "high"})
    assert short_form(resize, ["a.png"], {"cpu": 2, "memory": None}, {"memroy": 1}).kwargs == {"memroy": 1}


@pytest.mark.parametrize(
    ("name", "meant"), [("memroy", "memory"), ("cpus", "cpu"), ("cpu_needed", "cpu"), ("id", "task_id")]
)
def test_what_looks_like_a_misspelt_option_is_refused(name: str, meant: str) -> None:
    with pytest.raises(InvalidValue, match=rf"{name} looks like the option {meant}, and add has no such parameter"):
        short_form(jobs.add, [1], {}, {name: 1})
    with pytest.raises(InvalidValue, match=rf"{name} looks like the option {meant}\. For the option say {meant}=…"):
        short_form("m:f", [1], {}, {name: 1})


def test_other_keywords_are_the_functions() -> None:
    assert short_form("m:f", [1], {"cpu": 2}, {"depth": 3, "timeout": 1}).kwargs == {"depth": 3, "timeout": 1}
    assert short_form(max, [1, 2], {"cpu": 2}, {"key": 3}).kwargs == {"key": 3}, "its signature isn't known"
    assert parted({"cpu": 1, "x": 2, "cpu_needed": 3}) == ({"cpu": 1}, {"x": 2, "cpu_needed": 3})


# -- where a task runs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chdir": ""}, "chdir must be a path"),
        ({"chdir": "a\nb"}, "chdir must be a path"),
        ({"chdir": 5}, "chdir must be a path"),
        ({"output": "out/%j"}, "%j in 'out/%j' means nothing: write %t"),
        ({"error": "50%"}, "% in '50%' means nothing"),
        ({"output": "%i.txt"}, "this is no array"),
        ({"array": "1-9", "output": "x"}, "all elements of the array would write into 'x': put %i into it"),
        ({"env": "A=1"}, "env must be names with texts"),
        ({"env": ["NOT_SET_HERE"]}, "'NOT_SET_HERE' isn't set here: write NAME=TEXT"),
        ({"env": {"A-B": "1"}}, "'A-B' can't be a variable's name"),
        ({"env": {"A": "\0"}}, "A must be text without null characters"),
        ({"env": {"A": 10**5000}}, "A must be text"),
        ({"env": [10**5000]}, "env must be words such as TZ=UTC"),
        ({"log_limit": 1000}, "log_limit must be between 64K and 1M"),
        ({"log_limit": "2M"}, "log_limit must be between 64K and 1M"),
        ({"log_limit": 10**5000}, "log_limit must be between 64K and 1M"),
        ({"name": ""}, "name must be 1 to 128 characters"),
        ({"name": "a\nb"}, "name must be 1 to 128 characters"),
        ({"tags": ["run"]}, "tags must be up to 16 times NAME=TEXT, such as run=17, not 'run'"),
        ({"tags": {"1": "x"}}, "a tag's name must be 1 to 32 letters"),
        ({"tags": {f"t{n}": "x" for n in range(17)}}, "up to 16 times"),
        ({"tags": {"run": "a\tb"}}, "the text of the tag run must be 1 to 128 characters"),
    ],
)
def test_what_cannot_be_asked_for_says_what_to_do(options: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    with pytest.raises(InvalidValue) as caught:
        TaskRequest("m:f", **options).check()
    assert said in str(caught.value)


def test_a_variable_is_copied_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "red=1")
    assert TaskRequest("m:f", env=["COLOUR", "A=b=c"]).check().env == {"A": "b=c", "COLOUR": "red=1"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "give the array its indexes"),
        ({"array": "1-9", "after": ["b"]}, "can't wait for others, too"),
        ({"array": "1-9", "after_each": "a/1"}, "must be the id of an array, not that of an element"),
        ({"array": "1-9", "after_each": None, "after": ["a:each"]}, "write after_each"),
    ],
)
def test_what_waits_element_by_element_is_an_array_and_waits_for_nothing_else(options: Any, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        TaskRequest("m:f", **({"after_each": "a"} | options)).check()
