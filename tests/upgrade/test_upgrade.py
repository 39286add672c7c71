"""An upgrade loses nothing, whenever it is killed; nobody else reads or writes meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rq_sched import audit
from rq_sched.errors import NamespaceInUse, OtherSchema, Refused, StaleIncarnation
from rq_sched.link import Link, scripts
from rq_sched.link.constants import CONSTANTS
from rq_sched.link.functions import KNOWS_VERSIONS, library, name_of
from rq_sched.link.scripts import Call, Script
from rq_sched.model.resources import Resources
from rq_sched.model.schema import SCHEMA
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from rq_sched.upgrade import Upgrade, from_1
from rq_sched.upgrade.fence import fence
from tests.cli.kit import Cli
from tests.lua.cell import Cell
from tests.upgrade.kit import Old, asked, version_1


@pytest.fixture
def old(link: Link, store: Store) -> Old:
    return Old(link, store)


def _shown(old: Old) -> dict[str, Any]:
    ids = sorted(version_1()["shown"]["tasks"])
    infos = old.link.run(old.store.status(ids))
    return {task_id: info.to_dict() if info else None for task_id, info in zip(ids, infos, strict=True)}


def _as_before(task: dict[str, Any]) -> dict[str, Any]:
    """Without why it waits, as its nodes are gone, and what version 2 doesn't show of an attempt before."""
    hidden = {"pending": {"reason", "started_at", "exit_code"}, "delayed": {"started_at", "exit_code"}}
    return {name: value for name, value in task.items() if name not in hidden.get(task["state"], ())}


def test_every_task_is_shown_as_before(old: Old) -> None:
    old.upgrade()
    assert old.schema() == str(SCHEMA)
    before, now = version_1()["shown"]["tasks"], json.loads(json.dumps(_shown(old), default=repr))
    for task_id, task in before.items():
        shown = {name: value for name, value in now[task_id].items() if name in task}  # without what is new
        assert _as_before(shown) == _as_before(task), task_id
    assert {task["state"] for task in before.values()} == set(State) - {State.WAITING}  # there was no such state


def test_all_stand_in_their_places(old: Old) -> None:
    old.upgrade()
    listed = old.link.run(old.store.list_tasks(limit=1000)).tasks
    assert [info.task_id for info in listed] == version_1()["shown"]["list"]
    tasks = old.link.run(old.store.info()).to_dict()["tasks"]
    before = version_1()["shown"]["info"]["tasks"]
    active = {"assigned", "running"}  # their nodes are gone: nobody counts them until they are given back
    others = {s: n for s, n in tasks.items() if s not in active}
    assert others == {s: n for s, n in before.items() if s not in active} | {"waiting": 0}  # that state is new


def test_it_may_be_killed_after_each_bite(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_1, "BATCH", 8)
    keys = old.store.keys
    before = {key for key in old.everything() if key != keys.events.encode()}
    bites, killed = 0, 0
    while True:  # each goes on for one bite more than the one before, and is killed
        taken = old.upgrade(bites)
        if taken is not None:
            break
        killed += 1
        bites += 1
        assert old.schema() == f"1>{SCHEMA}"
        with pytest.raises(OtherSchema, match="they are being converted"):
            old.link.run(old.store.check_schema())
        with pytest.raises(OtherSchema):
            old.link.run(old.store.place())
    assert killed > 3
    pieces = old.readable()
    assert old.schema() == str(SCHEMA)
    assert before <= set(old.everything()) | {keys.free.encode(), keys.totals.encode(), keys.nodes.encode()} | {
        key for key in before if key.endswith((b":gpu", b":alive"))
    }
    old.link.run(asked(*(("DEL", key) for key in old.everything())))
    monkeypatch.undo()
    whole = Old(old.link, old.store)
    assert whole.upgrade() is not None
    assert whole.readable() == pieces


def _as_asked(task_id: str, args: list[Any] | None = None, memory: int = 100, **fields: Any) -> TaskRequest:
    return TaskRequest("m:f", args or [], task_id=task_id, cpu_needed=1, memory_needed=memory, **fields).check()


def test_a_submit_that_is_repeated_is_known_again(old: Old) -> None:
    """Whatever has become of the task since: refused by a node, grown, suspect, ended."""
    requests = [
        _as_asked("short", [b"\xff\n=", "x"], priority=3),
        _as_asked("payload", ["y" * 500]),
        _as_asked("given-up", retries=1),
        _as_asked("suspect", crash_limit=1, retries=2, priority=30),
        *(_as_asked(task_id, max_memory_needed=400) for task_id in ("refused", "grows", "released")),
        _as_asked("goes-on", ["a"], memory=10, array="5-12", retries=1, preemptible=True),
    ]
    others = [_as_asked("short", ["x"], priority=3), _as_asked("payload", ["y" * 501]), _as_asked("given-up")]
    old.upgrade()
    assert old.link.run(old.store.submit(requests)) == ["same"] * len(requests)
    assert old.link.run(old.store.submit(others)) == ["conflict"] * len(others)


def test_keys_that_others_have_put_there_are_not_in_its_way(old: Old) -> None:
    """Version 1 had no keys of these names."""
    keys = old.store.keys
    old.link.run(
        asked(("SET", keys.placed, "x"), ("RPUSH", keys.array("cut"), "x"), ("HSET", keys.ended("short"), "x", "y"))
    )
    old.upgrade()
    assert old.link.run(old.store.states(["short", "running", "cut"])) == [
        State.COMPLETED,
        State.RUNNING,
        State.CANCELLED,
    ]


def test_once_upgraded_there_is_nothing_to_do(old: Old) -> None:
    old.upgrade()
    done = old.everything()
    assert old.link.run(Upgrade(old.store.keys.namespace).begin()) is None
    assert old.everything() == done


@pytest.mark.parametrize("said", [True, False], ids=["says version 1", "says no version"])
def test_data_of_version_1_are_refused_until_they_are_upgraded(old: Old, cli: Cli, said: bool) -> None:
    """Also those that were there before there were versions."""
    if not said:
        old.link.run(asked(("HDEL", old.store.keys.settings, "schema")))
    untouched = old.everything()
    submit = old.store.submit([TaskRequest("m:f", task_id="new").check()])
    for op in (submit, old.store.place(), old.store.node_register("n9", "i", Resources(1, 100)), old.store.sweep()):
        with pytest.raises(OtherSchema, match="data of version 1, .*: stop all its processes, then run `rq-sched"):
            old.link.run(op)
    assert "rq-sched upgrade" in cli("list", code=69).err
    assert old.everything() == untouched
    done = cli.json("upgrade").one
    assert done == {"namespace": old.store.keys.namespace, "from": 1, "to": SCHEMA, "tasks": _tasks()}
    assert "nothing to do" in cli("upgrade").out
    cli("list")


def _tasks() -> int:
    return sum(name.startswith("task:") for name in version_1()["keys"])


def test_what_dead_nodes_held_is_given_back_and_all_runs_to_its_end(old: Old) -> None:
    old.upgrade()
    cell = Cell(old.link, old.store.keys.namespace)
    cell.now = version_1()["now"] + 10**7
    assert not audit.problems(cell.run(audit.check(cell.store.keys.namespace)))
    lost = cell.run(cell.store.sweep())[1]
    assert sorted(lost) == ["lost:1:crashed", "n:1:crashed"]
    for one in lost:
        while cell.run(cell.store.reap(one))[1]:
            pass
    info = cell.info("running")
    assert (info.state, info.crashes, info.attempt) == (State.PENDING, 1, 1)
    assert (cell.info("assigned").state, cell.info("assigned").crashes) == (State.PENDING, 0)
    assert cell.info("to-cancel").state is State.CANCELLED
    assert cell.info("to-requeue").state is State.PENDING
    assert cell.info("again").attempt == 2
    assert not audit.problems(cell.run(audit.check(cell.store.keys.namespace)))
    for held in ("held", "aside", "delayed-held", "failed-long"):
        cell.run(cell.store.unhold(held))
    while cell.run(cell.store.promote()).promoted:
        pass
    cell.node("new", 30, 60_000, ttl=10**6, labels=("gpu", "ssd"))
    started: list[str] = []
    cell.place()
    todo = list(cell.starts("new").values())
    while todo:
        start = todo.pop(0)
        started.append(start.task_id)
        todo += cell.finish("new", start)[1].values()
        if not todo:
            cell.place()
            todo += cell.starts("new").values()
    left = [i.task_id for i in cell.run(cell.store.list_tasks(limit=1000)).tasks if not i.state.final]
    assert left == []
    assert started.index("to-requeue") > started.index("running")
    assert cell.info("cut").state is State.CANCELLED
    assert cell.info("complete").state is State.COMPLETED
    assert cell.info("long").result == "r" * 300


@pytest.mark.no_audit
def test_it_is_refused_while_processes_live_and_names_them(old: Old, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rq_sched.cli.upgrade.PATIENCE", 0.1)
    keys, soon = old.store.keys, old.link.run(old.store.now()) + 60_000
    old.link.run(asked(("ZADD", keys.nodes, soon, "lost"), ("ZADD", keys.schedulers, soon, "box:17 1")))
    untouched = old.everything()
    with pytest.raises(NamespaceInUse, match=r"the worker of node lost, scheduler box:17\. Stop them"):
        old.link.run(Upgrade(keys.namespace).begin())
    assert "scheduler box:17" in cli("upgrade", code=1).err
    assert old.everything() == untouched
    old.link.run(asked(("ZREM", keys.schedulers, "box:17 1"), ("ZREM", keys.nodes, "lost")))
    old.link.run(asked(("SET", keys.swept, f"{soon - 60_000} 0 - {soon - 60_000}")))
    with pytest.raises(NamespaceInUse, match=r"live: a scheduler\. Stop"):  # of a version that didn't tell its name
        old.link.run(Upgrade(keys.namespace).begin())


@pytest.mark.no_audit
def test_newer_data_are_left_alone(old: Old) -> None:
    for newer in (str(SCHEMA + 1), f"1>{SCHEMA + 1}"):
        old.link.run(asked(("HSET", old.store.keys.settings, "schema", newer)))
        untouched = old.everything()
        with pytest.raises(OtherSchema):
            old.link.run(Upgrade(old.store.keys.namespace).begin())
        assert old.everything() == untouched


@pytest.mark.parametrize("bites", [0, None], ids=["while it goes on", "afterwards"])
def test_an_older_process_that_lives_on_can_write_nothing(
    old: Old, bites: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the scripts of its own version, and calls them as before."""
    old.upgrade(bites)
    calls: dict[str, list[Any]] = {
        "place": ["", "ab", 16],
        "node_sweep": ["", 1500, 10, "box:1", ""],
        "node_register": ["", "n", "2", 1, 100, 1000, "h", "", "", "", ""],
        "node_heartbeat": ["", "lost", "1", 0, ""],
        "node_poll": ["", "lost", "1", 0, 10],
        "task_finish": ["", "lost", "1", 0, "ab", 4, 0.5, ""],
    }
    keys, untouched = old.store.keys, old.everything()
    ours = {name: scripts.load(name).function for name in calls}
    monkeypatch.setitem(CONSTANTS, "SCHEMA", 1)
    for name, arguments in calls.items():
        script = Script.of(name, scripts.assemble(name))
        assert script.function != ours[name]
        wanted, call = (StaleIncarnation if "lost" in arguments else OtherSchema), Call(script, keys.prefix, arguments)
        with pytest.raises(wanted):
            old.link.run(asked(call))
    monkeypatch.undo()
    assert old.everything() == untouched
    old.upgrade()


@pytest.mark.no_audit
def test_places_of_ten_digits_must_be_left_first(link: Link, store: Store) -> None:
    """Queues as they were before version 1 aren't converted: what to do is said before anything is written."""
    keys = store.keys
    link.run(asked(("ZADD", keys.groups, 0, "00000000011:256"), ("SET", keys.seq, 1)))
    with pytest.raises(OtherSchema, match="rq-sched upgrade"):
        link.run(store.place())
    with pytest.raises(
        Refused, match="places of ten digits, .*: start that one again until none waits, or cancel them"
    ):
        link.run(Upgrade(keys.namespace).begin())
    assert link.run(asked(("EXISTS", keys.settings)))[0] == 0


SOURCE = """#!lua
local P = KEYS[1]
redis.call('SET', P .. 'log:written', ARGV[1])
return 'written'
"""


@pytest.mark.no_audit
def test_functions_that_do_not_look_at_the_version_learn_to(old: Old, cli: Cli) -> None:
    """Those of processes from before there were versions. They go on in namespaces that weren't upgraded."""
    link, keys, name = old.link, old.store.keys, name_of("old", SOURCE)
    link.run(asked(("FUNCTION", "LOAD", library("old", SOURCE).replace(KNOWS_VERSIONS, ""))))
    ours = [scripts.load(script) for script in scripts.names()]
    link.run(asked(*(("FUNCTION", "LOAD", "REPLACE", library(one.name, one.source)) for one in ours)))
    try:
        assert link.run(asked(("FCALL", name, 1, keys.prefix, "x"))) == [b"written"]
        cli("upgrade")
        with pytest.raises(OtherSchema, match="install a newer rq-sched here"):
            link.run(asked(("FCALL", name, 1, keys.prefix, "y")))
        assert link.run(asked(("GET", keys.log("written")))) == [b"x"]
        assert link.run(asked(("FCALL", name, 1, keys.prefix + "other:", "z"))) == [b"written"]
        for one in ours:  # also those that needn't look: they are as they were
            (found,) = link.run(asked(("FUNCTION", "LIST", "LIBRARYNAME", one.function, "WITHCODE")))[0]
            assert found[found.index(b"library_code") + 1].decode() == library(one.name, one.source)
        assert link.run(fence()) == 0
    finally:
        link.run(asked(("FUNCTION", "DELETE", name), ("DEL", keys.prefix + "other:log:written")))
