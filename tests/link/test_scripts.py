"""Scripts are put together from includes; what is wrong with one is said by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rq_sched.audit.mend import Mends
from rq_sched.link import scripts
from rq_sched.link.constants import CONSTANTS
from rq_sched.link.scripts import Call, ScriptError
from rq_sched.model.fit import Place
from rq_sched.model.resources import Resources
from rq_sched.model.signing import Signer
from rq_sched.model.task import TaskRequest
from rq_sched.model.values import MAX_PAYLOAD, pack
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from rq_sched.store.position import count_ahead
from rq_sched.upgrade import Upgrade


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.lua").write_text(text)


def test_an_include_comes_once_and_before_its_use(tmp_path: Path) -> None:
    _write(tmp_path, _a="A", _b="--@include _a\nB", main="--@include _b\n--@include _a\nM")
    assert scripts.assemble("main", tmp_path) == "A\nB\nM\n"


def test_a_missing_include_is_named(tmp_path: Path) -> None:
    _write(tmp_path, main="--@include _gone")
    with pytest.raises(ScriptError, match=r"_gone\.lua .*included by main"):
        scripts.assemble("main", tmp_path)


def test_an_include_of_itself_is_named(tmp_path: Path) -> None:
    _write(tmp_path, _a="--@include _b", _b="--@include _a", main="--@include _a")
    with pytest.raises(ScriptError, match="main → _a → _b → _a"):
        scripts.assemble("main", tmp_path)


def test_an_include_written_twice_is_named(tmp_path: Path) -> None:
    _write(tmp_path, _a="A", main="--@include _a\n--@include _a")
    with pytest.raises(ScriptError, match=r"main\.lua includes _a twice"):
        scripts.assemble("main", tmp_path)


def test_marks_cost_nothing(tmp_path: Path) -> None:
    _write(tmp_path, main="if a then\n  --@mark here\n  b()\nend")
    assert scripts.assemble("main", tmp_path) == "if a then\n  b()\nend\n"


@pytest.mark.parametrize("line", ["--@marks here", "--@mark", "b() --@mark here", "  --@include _a"])
def test_what_stands_for_nothing_is_named(line: str, tmp_path: Path) -> None:
    _write(tmp_path, _a="A", main=line)
    with pytest.raises(ScriptError, match=r"main\.lua: .* is no --@include"):
        scripts.assemble("main", tmp_path)


def test_a_line_for_an_include_is_there_with_it_only(tmp_path: Path) -> None:
    _write(tmp_path, _a="A", _end="--@with _a\nA()\nE()", one="--@include _a\n--@include _end", other="--@include _end")
    assert scripts.assemble("one", tmp_path) == "A\nA()\nE()\n"
    assert scripts.assemble("other", tmp_path) == "E()\n"


def test_a_line_for_an_include_that_comes_later_is_named(tmp_path: Path) -> None:
    _write(tmp_path, _a="A", _end="--@with _a\nA()", main="--@include _end\n--@include _a")
    with pytest.raises(ScriptError, match=r"main\.lua: _end must be included after _a"):
        scripts.assemble("main", tmp_path)


@pytest.mark.parametrize("use", ["seen[1] = 2", "local x = #seen", "return 'is ' .. seen", "f(seen)"])
def test_a_variable_of_an_include_is_its_own(use: str, tmp_path: Path) -> None:
    _write(tmp_path, _a="local more, seen = 1, {}\nlocal function f() seen[1] = more end", main=f"--@include _a\n{use}")
    with pytest.raises(ScriptError, match=r"main\.lua uses seen of _a\.lua: ask it by a function"):
        scripts.assemble("main", tmp_path)


@pytest.mark.parametrize("use", ["call('seen')", "a.seen = b:seen()", "f() -- seen", "LIMIT(call)"])
def test_what_an_include_gives_may_be_used(use: str, tmp_path: Path) -> None:
    _write(
        tmp_path,
        _a="local call = redis.call\nlocal LIMIT = 3\nlocal seen = {}\nlocal function f() end",
        main=f"--@include _a\n{use}",
    )
    assert use in scripts.assemble("main", tmp_path)


def test_a_constant_is_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "CONSTANTS", {"MOST": 12, "STEP": 2})
    _write(tmp_path, main="local MOST = PY.MOST * PY.STEP\nHAPPY.MOST()")
    assert scripts.assemble("main", tmp_path) == "local MOST = 12 * 2\nHAPPY.MOST()\n"


def test_an_unknown_constant_is_named(tmp_path: Path) -> None:
    _write(tmp_path, _a="local MOST = PY.MOST", main="--@include _a")
    with pytest.raises(ScriptError, match=r"_a\.lua: no constant MOST in rq_sched/link/constants\.py"):
        scripts.assemble("main", tmp_path)


def test_every_constant_is_used() -> None:
    text = "".join(path.read_text() for path in scripts.FOLDER.glob("*.lua"))
    unused = {name for name in CONSTANTS if f"PY.{name}" not in text}
    assert not unused


def test_a_payload_of_full_size_may_be_signed() -> None:
    """Whoever goes through the library is told before a script is called: the script must not take less."""
    packed = pack([[b"x" * (MAX_PAYLOAD - 8)], {}], "the arguments")
    assert len(packed) == MAX_PAYLOAD
    signed = Signer("a key of sixteen characters", "x").sign("t", "m:f", packed, None)
    assert MAX_PAYLOAD < len(signed) <= CONSTANTS["MOST_PAYLOAD"]


def test_an_unknown_script_is_named() -> None:
    with pytest.raises(ScriptError, match=r"no script nothing\.lua"):
        scripts.load("nothing")


SCHEDULE = ("s", 1, "1:256", "digest", "run=m:f\nwith=", "* * * * *", "UTC", "", "", "", "skip", "last")


def _calls() -> list[Call]:
    """One call of every method that runs a script."""
    store = Store("x")
    operations = [*_of_tasks(store), *_of_nodes(store), *_of_schedules(store), *_of_repairs(Mends(store.keys))]
    many = store.submit([TaskRequest("m:f", task_id="c", after=[f"t{i}" for i in range(300)]).check()])
    asked = next(many)  # whether it is here, and each that it waits for
    return [*(next(operation)[0] for operation in operations), *many.send([0, *(1 for _ in asked[1:])])]


def _of_tasks(store: Store) -> list[Any]:
    return [
        store.submit([TaskRequest("m:f").check()]),
        store.cancel("t"),
        store.hold("t"),
        store.unhold("t"),
        store.requeue("t"),
        store.prioritize("t", 1),
        store.watch(["t"], "me"),
        store.forget_ids(["t"]),
        store.forget(),
        store.submit([TaskRequest("m:f", task_id="a", array="1-2").check()]),
        store.forget_stretch("a", 1, 2),
        store.forget_nodes(older_than=1),
        store.submit([TaskRequest("m:f", task_id="b", after=["a"]).check()]),
        store.release(),
        store.place(),
        store.reserve(),
        store.promote(),
        store.expire(),
        store.use_feature("later"),
        Upgrade("x").begin(),
        count_ahead(store, Place(0.0, ""), [("1:256", 0, 1)]),
        store.events_about("t", "-", "+"),
    ]


def _of_nodes(store: Store) -> list[Any]:
    report = EndReport("k", "t", "completed", result=b"")
    return [
        store.sweep(),
        store.reap("a:1:left"),
        store.node_register("a", "1", Resources(1, 1), labels=("gpu",)),
        store.node_heartbeat("a", "1", acked=0),
        store.node_ledger("a", "1"),
        store.node_poll("a", "1", acked=0),
        store.node_drain("a"),
        store.node_undrain("a"),
        store.node_reload("a"),
        store.node_fault("a", "1", "its folder is gone"),
        store.node_leave("a", "1"),
        store.task_start("a", "1", ["k"]),
        store.task_finish("a", "1", acked=0, reports=[report]),
        store.task_output("a", "1", "k", b"x"),
        store.task_progress("a", "1", {"k": 0.5}),
        store.task_resize("a", "1", "k", number=1, cpu=1, memory=None),
        store.rooms_of(["a"]),
        store.task_grow("a", "1", ["k"]),
    ]


def _of_schedules(store: Store) -> list[Any]:
    return [
        store._one("schedule_add", *SCHEDULE),
        store.schedule_pause("s"),
        store._one("schedule_resume", "s", 1),
        store.schedule_remove("s"),
        store._one("schedule_run", "ab", 0, "s", "s.1"),
        store._one("schedule_due", 10),
        store._one("schedule_make", "ab", 0, "s", 1, "s.1", 2, 0, ""),
        store._one("schedule_postpone", "s", 1, 2, "no such zone"),
        store.limit_set("api", 1),
    ]


def _of_repairs(mends: Mends) -> list[Any]:
    return [
        mends.task("t"),
        mends.after("t"),
        mends.entry("held", "t"),
        mends.head("1:256", ["1:256"]),
        mends.ledger("a", "1"),
        mends.node_of("a", "gpu"),
        mends.key("log", "t"),
        mends.room("t"),
        mends.count_is("", 0),
        mends.sequence(1),
        mends.type_of("seq"),
        mends.stray("nodes", ":"),
        mends.give_up("t1"),
        mends.kept("k", "a"),
        mends.limit("api", "1:256@api=1"),
        mends._ask("repair_schedule", "s", "", ""),
    ]


def test_the_store_calls_every_script_as_its_contract_says() -> None:
    calls = _calls()
    assert {call.script.name for call in calls} == set(scripts.names())
    for call in calls:
        script, given = call.script, len(call.arguments)
        fixed = len(script.arguments) - script.variadic
        assert given > fixed if script.variadic else given == fixed, f"{script.name}: {script.arguments}, {given} given"
