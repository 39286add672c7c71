"""Arrays that wait for another one element by element."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.errors import TaskNeeded, WrongState
from rq_sched.link import Link
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from tests.conftest import drop
from tests.faults.planted import run_with
from tests.lua.test_after import Graph
from tests.lua.test_after_damage import command, rewrite

GOES_ON = (State.PENDING, State.ASSIGNED)


BUGS = {
    # what goes wrong: the mark of a line of a script, what the line becomes
    "the end of an element tells nobody": ("each_noted", ""),
    "what can't come any more is waited for": ("rest_of_each", ""),
}


@pytest.fixture
def graph(link: Link, namespace: str) -> Graph:
    return scene(link, namespace)


def scene(link: Link, namespace: str) -> Graph:
    graph = Graph(link, namespace)
    graph.open = {}
    graph.node("n", 64, 64 * 1024)
    return graph


def problems(graph: Graph) -> list[str]:
    return [str(one) for one in audit.problems(graph.run(audit.check(graph.store.keys.namespace)))]


def states(graph: Graph, array_id: str, last: int) -> list[State | None]:
    return list(graph.run(graph.store.states([f"{array_id}/{i}" for i in range(1, last + 1)])))


def test_each_element_waits_for_its_own(graph: Graph) -> None:
    graph.submit("a", array="1-3")
    assert graph.submit("b", after_each="a", array="1-3") == ["new"]
    graph.submit("sum", after=["b:any"])
    graph.tell()
    assert (graph.state("b"), graph.state("b/2"), graph.info("b").after) == (State.WAITING, State.WAITING, ["a:each"])
    assert graph.info("b/2").after == ["a/2"]
    graph.run_to_end("a/2")
    graph.tell()
    assert graph.state("b/2") in (State.PENDING, State.ASSIGNED)
    graph.run_to_end("b/2")
    assert graph.state("b/1") == State.WAITING
    graph.fail("a/1")
    graph.tell()
    assert (graph.info("b/1").state, graph.info("b/1").reason) == (State.CANCELLED, "dependency")
    assert graph.info("b").elements == {"waiting": 1, "active": 0, "completed": 1, "failed": 0, "cancelled": 1}
    graph.run_to_end("a/3")
    graph.tell()
    graph.run_to_end("b/3")
    assert graph.state("b") == State.CANCELLED
    assert graph.goes_on("sum")


def test_what_has_ended_before_counts_as_it_ended(graph: Graph) -> None:
    graph.submit("a", array="1-5")
    graph.run_to_end("a/2")
    graph.fail("a/4")
    graph.run_to_end("a/5")
    graph.submit("b", after_each="a", array="1-5")
    graph.submit("c", after_each="b", array="1-5")
    graph.tell()
    assert [state in GOES_ON for state in states(graph, "b", 5)] == [False, True, False, False, True]
    assert (graph.state("b/4"), graph.state("c/4")) == (State.CANCELLED, State.CANCELLED)
    assert not problems(graph)
    for i in (1, 3):
        graph.run_to_end(f"a/{i}")
    graph.submit("late", after_each="a", array="1-5")
    graph.tell()
    assert [state in GOES_ON for state in states(graph, "late", 5)] == [True, True, True, False, True]
    for i in (1, 2, 3, 5):
        graph.run_to_end(f"b/{i}")
        graph.tell()
        assert graph.goes_on(f"c/{i}")
    assert graph.info("b").elements == {"waiting": 0, "active": 0, "completed": 4, "failed": 0, "cancelled": 1}


def test_after_one_that_has_completed_it_waits_for_nothing(graph: Graph) -> None:
    graph.submit("a", array="1-3")
    for i in (3, 1, 2):
        graph.run_to_end(f"a/{i}")
    graph.run(graph.store.forget_ids(["a/1"]))
    graph.submit("b", after_each="a", array="1-3", cpu=64)
    assert graph.state("b") == State.WAITING
    assert graph.tell() == 1
    assert graph.state("b") == State.PENDING
    tasks = graph.run(graph.store.info()).tasks
    assert (tasks["pending"] + tasks["assigned"], tasks["waiting"]) == (3, 0)
    assert "each" not in str(command(graph, "GET", graph.store.keys.task("a")))


def test_many_are_told_in_batches(graph: Graph) -> None:
    graph.submit("a", array="1-200", cpu=64, memory=64 * 1024)
    for i in range(199, 0, -2):
        graph.run(graph.store.cancel(f"a/{i}", requeue=False))
    graph.submit("b", after_each="a", array="1-200")
    graph.run(graph.store.hold("a"))
    assert 5 < graph.tell() < 20
    assert graph.info("b").elements == {"waiting": 100, "active": 0, "completed": 0, "failed": 0, "cancelled": 100}
    graph.run(graph.store.cancel("a", requeue=False))
    graph.tell()
    assert (graph.state("a"), graph.state("b"), graph.state("b/2")) == (State.CANCELLED,) * 3


def test_what_runs_when_the_rest_of_the_other_array_fails_counts(graph: Graph) -> None:
    """What isn't made of it never runs; what runs ends as it ends, though it was made before its turn."""
    graph.submit("a", array="1-9", cpu=64, deadline=10)
    graph.run(graph.store.prioritize("a/5", 1))
    graph.submit("b", after_each="a", array="1-9")
    graph.place()
    graph.open |= graph.starts("n")
    graph.started("n", graph.open["a/5"])
    graph.now += 11_000
    while graph.run(graph.store.expire()):
        pass
    graph.tell()
    assert (graph.state("a/4"), graph.state("b"), graph.state("b/4")) == (State.FAILED, State.WAITING, State.WAITING)
    graph.run_to_end("a/5")
    graph.tell()
    assert (graph.state("b/4"), graph.state("b/6")) == (State.CANCELLED, State.CANCELLED)
    graph.run_to_end("b/5")
    assert graph.info("b").elements == {"waiting": 0, "active": 0, "completed": 1, "failed": 0, "cancelled": 8}


def test_on_failure_keep_each_waits_on(graph: Graph) -> None:
    graph.submit("a", array="1-2")
    graph.submit("b", after_each="a", array="1-2", on_failure="keep")
    graph.fail("a/1")
    graph.run_to_end("a/2")
    graph.tell()
    assert (graph.state("b/1"), graph.goes_on("b/2")) == (State.WAITING, True)
    with pytest.raises(TaskNeeded, match="b/1 waits for it"):
        graph.run(graph.store.forget_ids(["a/1"]))
    assert graph.run(graph.store.forget()) == 1  # a/2
    assert not problems(graph)
    graph.run(graph.store.requeue("a/1"))
    graph.run_to_end("a/1")
    graph.tell()
    assert graph.goes_on("b/1")


def test_it_is_held_changed_and_cancelled_as_any_array(graph: Graph) -> None:
    graph.submit("a", array="1-4")
    graph.submit("b", after_each="a", array="1-4")
    assert graph.run(graph.store.hold("b")) == State.HELD
    with pytest.raises(WrongState, match="waits with its array"):
        graph.run(graph.store.prioritize("b/4", 1))
    assert graph.run(graph.store.cancel("b/3", requeue=False)).outcome == "cancelled"
    graph.run_to_end("a/1")
    graph.fail("a/2")
    graph.run_to_end("a/3")
    graph.tell()
    assert states(graph, "b", 4) == [State.HELD, State.CANCELLED, State.CANCELLED, State.HELD]
    assert graph.run(graph.store.unhold("b")) == State.WAITING
    assert graph.run(graph.store.unhold("b/1")) == State.PENDING
    graph.run_to_end("a/4")
    graph.tell()
    assert graph.goes_on("b/4")
    assert not problems(graph)


def test_a_delay_counts_beside_the_waiting_of_each(graph: Graph) -> None:
    graph.submit("a", array="1-2")
    graph.submit("b", after_each="a", array="1-2", delay=10)
    graph.run_to_end("a/2")
    graph.tell()
    assert states(graph, "b", 2) == [State.WAITING, State.DELAYED]
    graph.now += 10_000
    graph.run(graph.store.promote())
    assert graph.goes_on("b/2")


def test_what_cannot_wait_so_is_refused(graph: Graph) -> None:
    graph.submit("a", array="1-3")
    graph.submit("one")
    assert graph.submit("b", after_each="a", array="1-4") == ["orphan a:each"]
    assert graph.submit("b", after_each="one", array="1-3") == ["orphan one:each"]
    assert graph.submit("b", after_each="no", array="1-3") == ["orphan no"]
    requests = [TaskRequest("m:f", task_id=f"b{i}", after_each="a", array="1-3").check() for i in range(17)]
    assert graph.run(graph.store.submit(requests)) == ["new"] * 16 + ["orphan a:many"]
    assert graph.submit("b0", after_each="a", array="1-3", cpu=2) == ["conflict"]
    assert graph.run(graph.store.submit(requests[:1])) == ["same"]
    graph.run(graph.store.cancel("b3", requeue=False))
    assert graph.run(graph.store.submit(requests[16:])) == ["new"]
    graph.run_to_end("a/2")
    graph.tell()
    assert all(graph.goes_on(f"b{i}/2") for i in range(17) if i != 3)


def play(graph: Graph, seed: int) -> None:
    """Ends of elements in any order: each of the other array goes as its own went."""
    rng, last = random.Random(seed), 8
    graph.submit("a", array=f"1-{last}", cpu=16)
    ended: dict[int, State] = {}
    for step in range(14):
        if step == rng.randrange(3) or step == 3:
            graph.submit("b", after_each="a", array=f"1-{last}")
        i = rng.randint(1, last)
        now = graph.state(f"a/{i}")
        what = rng.choice(["end", "end", "fail", "cancel", "early", "tell"])
        if what in ("end", "fail") and now in GOES_ON:
            graph.place()
            graph.open |= graph.starts("n")
            if f"a/{i}" in graph.open:
                if what == "end":
                    graph.run_to_end(f"a/{i}")
                else:
                    graph.fail(f"a/{i}")
                ended[i] = State.COMPLETED if what == "end" else State.FAILED
        elif what == "cancel" and now == State.PENDING:
            graph.run(graph.store.cancel(f"a/{i}", requeue=False))
            ended[i] = State.CANCELLED
        elif what == "early" and now == State.PENDING:
            graph.run(graph.store.prioritize(f"a/{i}", rng.randint(0, 2)))
        elif what == "tell":
            graph.tell()
    graph.tell()
    assert not problems(graph)
    if rng.random() < 0.5:
        graph.run(graph.store.cancel("a", requeue=False))
        for task_id in [one for one in graph.open if one.startswith("a/")]:
            graph.run_to_end(task_id)
            ended[int(task_id[2:])] = State.COMPLETED if graph.state(task_id) is State.COMPLETED else State.CANCELLED
        ended |= {i: State.CANCELLED for i, s in enumerate(states(graph, "a", last), 1) if s == State.CANCELLED}
        graph.tell()
    for i, found in enumerate(states(graph, "b", last), 1):
        if i in ended:
            assert (found in GOES_ON) if ended[i] is State.COMPLETED else (found is State.CANCELLED), (i, found, ended)
        elif i not in ended:
            assert found is State.WAITING
    assert not problems(graph)


@pytest.mark.parametrize("seed", range(6))
def test_at_random_each_goes_as_its_own_went(graph: Graph, seed: int) -> None:
    play(graph, seed)


def play_some(redis_url: str, seeds: range) -> None:
    link = Link(redis_url)
    for seed in seeds:
        namespace = f"t-{uuid.uuid4().hex[:12]}"
        try:
            play(scene(link, namespace), seed)
        finally:
            link.run(drop(namespace))
    link.close()


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found(bug: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(monkeypatch, *BUGS[bug], tmp_path)
    with pytest.raises(AssertionError):
        play_some(redis_url, range(30))


@pytest.mark.parametrize("damage", ["unknown", "untold"])
def test_damage_is_found_and_mended(graph: Graph, damage: str) -> None:
    graph.submit("a", array="1-2")
    graph.submit("b", after_each="a", array="1-2")
    graph.tell()
    if damage == "unknown":
        rewrite(graph, "a", b"\neach=b/", b"\nrefusal=")
    else:
        graph.run_to_end("a/1")
        graph.run_to_end("a/2")
        command(graph, "DEL", graph.store.keys.releasing)
    assert len(problems(graph)) == 1
    graph.run(repair(graph.store.keys.namespace, now_ms=lambda: graph.now))
    assert not problems(graph)
    if damage == "unknown":
        graph.run_to_end("a/1")
    graph.tell()
    assert graph.goes_on("b/1")
