"""``doctor --repair``: each kind of planted damage is mended, and what is in order is never written to."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched import audit
from rq_sched.audit import kinds
from rq_sched.audit.mend import Mends, repair
from rq_sched.errors import StaleIncarnation, Unreadable
from rq_sched.link import Link
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.classes import group_of
from rq_sched.model.orders import Start, Stop
from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from rq_sched.store import Store
from tests.faults.scene import K, Scene, build, damaged, plainly
from tests.faults.scene import request as task
from tests.faults.test_audit import DAMAGE, filled, filled_in
from tests.faults.test_audit_live import Churn
from tests.support.records import attempt, request

UNMENDED = {"unknown key"}
"""What only a person can judge: `doctor` goes on finding it."""


@pytest.fixture
def scene(link: Link, store: Store) -> Scene:
    return build(link, store)


def test_a_key_of_another_type_is_dropped(link: Link, store: Store) -> None:
    """For every kind of key that there is: the script and the checker know the same types."""
    names = [kind if kind not in kinds.NAMED else f"{kind}:1:1" for kind in kinds.KINDS]
    names += ["node:n1", *(f"node:n1:i1:{part}" for part in ("tasks", "orders", "grown")), "node:n1:alive"]
    for name in names:
        right = kinds.right_type(name)
        assert right is not None, name
        key = store.keys.prefix + name
        wrong, found = (("SET", key, "x"), "string") if right == "set" else (("SADD", key, "x"), "set")
        link.run(plainly(wrong))
        assert link.run(Mends(store.keys).type_of(name)) == f"it was a {found}, not a {right}: dropped"


def mend(scene: Scene) -> list[str]:
    return [str(one) for one in scene.link.run(repair(scene.store.keys.namespace))]


def snapshot(scene: Scene) -> dict[bytes, bytes]:
    keys = scene.link.run(plainly(("KEYS", scene.store.keys.prefix + "*")))[0]
    return dict(zip(keys, scene.link.run(plainly(*(("DUMP", key) for key in keys))), strict=True))


def state(scene: Scene, task_id: str) -> State | None:
    return scene.link.run(scene.store.states([task_id]))[0]


@damaged
@pytest.mark.parametrize("kind", DAMAGE)
def test_planted_damage_is_mended(scene: Scene, kind: str) -> None:
    commands, expected = DAMAGE[kind]
    scene.plant(*filled(scene, commands))
    done = mend(scene)
    left = scene.found()
    if kind in UNMENDED:
        assert set(left) == {(check, filled_in(scene, subject)) for check, subject in expected}
        assert done == []
    else:
        assert left == {}, done
        assert bool(done) == bool(expected), done
    before = snapshot(scene)
    assert mend(scene) == []
    assert snapshot(scene) == before


def test_what_is_in_order_is_not_written_to(scene: Scene) -> None:
    """Every mending script on every subject of a healthy namespace."""
    run, store = scene.link.run, scene.store
    mends = Mends(store.keys)
    before = snapshot(scene)
    ops: list[Any] = [mends.task(t) for t in ("long", "c1", "f1", "x1", "a1", "r1", "s1", "p1", "p3", "q1", "h1", "d1")]
    ops += [mends.node_of(node) for node in ("n1", "n2", "n3", "unknown")]
    ops += [mends.ledger("n1", "i1", token) for token in scene.tokens.values()]
    ops += [mends.ledger(*which) for which in (("n1", "i1"), ("n2", "i2"), ("n3", "i3"), ("n9", "i9"))]
    ops += [mends.entry(*which) for which in (("delayed", "d1"), ("held", "h1"), ("placed", "r1"))]
    ops += [mends.entry("pending:2:1000", scene.member("p1"))]
    ops += [mends.entry(*which) for which in (("finished:completed", "c1"), ("finished:failed", "f1"))]
    heads = [scene.member(task_id)[:SEQUENCE] + name for task_id, name in (("p3", "2:1000"), ("q1", "3:1000"))]
    ops += [mends.head(group_of(head[SEQUENCE:]), [head, head[SEQUENCE:]]) for head in heads]
    ops += [mends.key(*which) for which in (("payload", "long"), ("result", "long"), ("result", "f1"), ("log", "long"))]
    ops += [mends.key("ended", name) for name in ("c1", "f1", "x1")]
    ops += [mends.count()]
    for op in ops:
        assert run(op) == ""
    assert mend(scene) == []
    assert snapshot(scene) == before


def test_a_repair_of_a_live_namespace_changes_nothing(redis_url: str, link: Link, store: Store) -> None:
    rounds = 0
    with Churn(redis_url, store) as churn:
        churn.goes_on(50)
        while rounds < 12 or churn.finished < 500:
            assert link.run(repair(store.keys.namespace)) == []
            rounds += 1
    assert churn.finished >= 500


def test_scripts_on_live_subjects_change_nothing(redis_url: str, link: Link, store: Store) -> None:
    """Not only what the checker suspects: every task and node of a busy namespace, again and again."""
    mends = Mends(store.keys)
    looked = 0
    with Churn(redis_url, store) as churn:
        churn.goes_on(50)
        while looked < 3000:
            keys = [
                key.decode().removeprefix(store.keys.prefix)
                for key in link.run(plainly(("KEYS", store.keys.task("*"))))[0]
            ]
            ids = [key.removeprefix("task:") for key in keys[-300:]]
            for op in [*map(mends.task, ids), mends.node_of("m0"), mends.node_of("m1")]:
                assert link.run(op) == ""
            looked += len(ids)
    assert audit.problems(link.run(audit.check(store.keys.namespace))) == []


@damaged
def test_damage_is_mended_while_tasks_move(redis_url: str, scene: Scene) -> None:
    with Churn(redis_url, scene.store) as churn:
        churn.goes_on(50)
        scene.plant(("ZREM", K.delayed, "d1"), ("HINCRBY", K.node("n2"), "free_cpu", 1), ("ZADD", K.held, 1, "c1"))
        done = mend(scene)
        churn.goes_on()
    assert {text.split(": ")[1] for text in done} == {"d1", "n2", "held c1"}
    assert scene.found() == {}


# -- what a mend means ----------------------------------------------------------------------------


@damaged
def test_a_lost_attempt_goes_back_to_its_place(scene: Scene) -> None:
    place = scene.member("r1")
    scene.plant(("HDEL", K.ledger("n1", "i1"), scene.tokens["r1"]))
    assert any("pending again, at its old place" in text for text in mend(scene))
    assert state(scene, "r1") in (State.PENDING, State.ASSIGNED)
    assert scene.member("r1") == place


@damaged
def test_an_attempt_on_the_ledger_goes_on(scene: Scene) -> None:
    scene.plant(attempt("r1", token="t.9"))
    mend(scene)
    assert state(scene, "r1") is State.RUNNING
    assert scene.record("r1")["token"] == scene.tokens["r1"]


@damaged
def test_a_node_that_holds_more_than_it_has_is_given_up(scene: Scene) -> None:
    scene.plant(("HSET", K.node("n1"), "total_cpu", 2))
    assert any("its registration given up" in text for text in mend(scene))
    assert scene.link.run(scene.store.node("n1")).state == "dead"
    while scene.link.run(scene.store.reap("n1:i1:left"))[1]:
        pass
    assert state(scene, "r1") is State.PENDING
    assert scene.found() == {}


@damaged
def test_lost_orders_are_given_again(scene: Scene) -> None:
    def orders() -> list[tuple[int, str, str]]:
        found = scene.link.run(scene.store.node_poll("n1", "i1", acked=6))
        return [(o.number, type(o).__name__, o.task_id) for o in found if isinstance(o, Start | Stop)]

    before = orders()
    scene.plant(("DEL", K.orders("n1", "i1")))
    assert orders() == []
    mend(scene)
    again = orders()
    assert {("Stop", "s1"), ("Start", "a1")} == {what[1:] for what in again}
    assert min(number for number, *_ in again) > max(number for number, *_ in before)


@damaged
@pytest.mark.parametrize("number", ["running", "0", "5"])
def test_orders_go_on_behind_those_that_were_given(scene: Scene, number: str) -> None:
    """An order whose number an agent has passed it takes for one that it has had."""
    run, store = scene.link.run, scene.store
    seen = run(store.node_poll("n1", "i1", acked=3))[-1].number
    scene.plant(("HSET", K.node("n1"), "ordered", number))
    mend(scene)
    run(store.cancel("r1", requeue=False))
    (order,) = run(store.node_poll("n1", "i1", acked=seen))
    assert isinstance(order, Stop)
    assert (order.task_id, order.number) == ("r1", seen + 1)


@damaged
def test_lost_arguments_end_a_task_that_waits(scene: Scene) -> None:
    scene.plant(request("h1", payload=300))
    mend(scene)
    assert state(scene, "h1") is State.FAILED
    (info,) = scene.link.run(scene.store.status(["h1"]))
    assert info is not None
    assert info.error == "its arguments were lost"


@damaged
def test_more_findings_than_one_turn_mends(link: Link, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rq_sched.audit.mend.LIMIT", 20)
    link.run(store.submit([task(f"t{i}", delay=600) for i in range(110)]))
    link.run(plainly(("DEL", store.keys.delayed)))
    assert len(link.run(repair(store.keys.namespace))) == 110
    assert audit.problems(link.run(audit.check(store.keys.namespace))) == []


@damaged
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("incarnation", None),
        ("incarnation", "a b"),
        ("incarnation", "\x1b[31m"),
        ("labels", None),
        ("labels", "gpu"),
        ("labels", "+GPU"),
        ("labels", "+ssd"),
        ("total_memory", "9000"),
        ("total_cpu", "3"),
    ],
)
def test_a_node_that_does_not_say_who_it_is_is_given_up(scene: Scene, field: str, value: str | None) -> None:
    """Its worker alone knows: it registers anew, and what it held goes back."""
    keys, run = scene.store.keys, scene.link.run
    command = ("HDEL", keys.node("n1"), field) if value is None else ("HSET", keys.node("n1"), field, value)
    run(plainly(command))
    assert ("nodes", "n1") in scene.found()
    if field == "incarnation":
        with pytest.raises(Unreadable):  # until somebody mends it: the worker waits
            run(scene.store.node_heartbeat("n1", "i1", acked=0))
        assert run(scene.store.place()).placed == 0
    run(repair(keys.namespace))
    with pytest.raises(StaleIncarnation):
        run(scene.store.node_heartbeat("n1", "i1", acked=0))
    run(scene.store.node_register("n1", "i9", Resources(4, 4000), labels=("gpu",), ttl=600))
    for lost in run(scene.store.sweep())[1]:
        run(scene.store.reap(lost))
    run(repair(keys.namespace))
    assert scene.found() == {}
    states = run(scene.store.states(["a1", "r1", "s1"]))
    assert states == [State.PENDING, State.PENDING, State.CANCELLED]


@damaged
@pytest.mark.parametrize("value", [None, "", "a b", "-inf"])
def test_whatever_a_node_says_its_worker_goes_on_after_a_repair(link: Link, store: Store, value: str | None) -> None:
    """With the registration that it has, or told to begin another one: not left to ask for ever, and nothing found."""
    fields = link.run(plainly(("HKEYS", build(link, store).store.keys.node("n1"))))[0]
    for field in fields:
        scene = build(link, Store(f"{store.keys.namespace}-{field.decode()}"))
        node = scene.store.keys.node("n1")
        link.run(plainly(("HDEL", node, field) if value is None else ("HSET", node, field, value)))
        mend(scene)
        try:
            link.run(scene.store.node_heartbeat("n1", "i1", acked=0))
        except StaleIncarnation:
            link.run(scene.store.node_register("n1", "i9", Resources(4, 4000), ttl=600))
        assert b"n1" in link.run(plainly(("ZRANGE", scene.store.keys.nodes, 0, -1)))[0], field


@damaged
@pytest.mark.parametrize("state", ["", "asleep", "pending"])
def test_a_task_whose_state_is_none_is_placed_after_a_repair(scene: Scene, state: str) -> None:
    """A pending task has no state in its record: with one it would be taken for a stray in its queue."""
    keys, run = scene.store.keys, scene.link.run
    member = scene.member("p3")
    scene.plant(request("p3", state=state))
    run(plainly(("ZREM", keys.pending("2:1000"), member)))
    run(repair(keys.namespace))
    run(scene.store.node_register("n9", "i9", Resources(2, 1000), ttl=600))
    run(scene.store.place())
    assert run(scene.store.states(["p3"])) == [State.ASSIGNED]


@damaged
@pytest.mark.parametrize("field", ["surplus", "free_cpu", "ordered"])
def test_a_node_of_no_size_gets_nothing(scene: Scene, field: str) -> None:
    """What Lua takes for a number, and isn't one."""
    for value in ("inf", "nan", "-inf"):
        scene.plant(("HSET", K.node("n1"), field, value))
        assert scene.link.run(scene.store.place()).placed == 0
        assert ("nodes", "n1") in scene.found()
    scene.link.run(repair(scene.store.keys.namespace))
    assert scene.found() == {}
