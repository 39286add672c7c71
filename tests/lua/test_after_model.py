"""Random graphs against a model of what their tasks wait for; and bugs planted in the scripts, which it finds."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import pytest

from rq_sched import audit
from rq_sched.errors import RqSchedError
from rq_sched.link import Link
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from tests.conftest import drop
from tests.faults.planted import run_with
from tests.lua.test_after import Graph

BUGS = {
    # what goes wrong: the mark of a line of a script, what the line becomes
    "the first end releases": ("all_have_come", "if false then"),
    "what is to wait on is cancelled": ("on_failure", ""),
    "who isn't told at once is never told": ("rest_remembered", "if false then"),
    "an end tells nobody": ("dependants_noted", ""),
}
KINDS = ("ok", "ok", "any", "failed")
GOES_ON = (State.PENDING, State.ASSIGNED)


class Model:
    """What should be, of tasks that wait for others: what each still waits for, and how it has ended."""

    def __init__(self) -> None:
        self.left: dict[str, dict[str, str]] = {}  # task → those that haven't come, how each must end
        self.keeps: set[str] = set()
        self.ended: dict[str, State] = {}

    def add(self, task_id: str, after: dict[str, str], keeps: bool) -> None:
        self.left[task_id] = dict(after)
        if keeps:
            self.keeps.add(task_id)

    def runs(self) -> list[str]:
        return [t for t, left in self.left.items() if not left and t not in self.ended]

    def end(self, task_id: str, state: State) -> None:
        self.ended[task_id] = state
        for other, left in self.left.items():
            if task_id not in left or other in self.ended:
                continue
            if left[task_id] == "any" or (state is State.COMPLETED) == (left[task_id] == "ok"):
                del left[task_id]
            elif other not in self.keeps:
                self.end(other, State.CANCELLED)

    def state(self, task_id: str) -> tuple[State, ...]:
        if task_id in self.ended:
            return (self.ended[task_id],)
        return (State.WAITING,) if self.left[task_id] else GOES_ON


def play(link: Link, namespace: str, seed: int) -> None:
    """Submit a random graph, run its tasks in a random order, and compare after each step."""
    graph = Graph(link, namespace)
    graph.open = {}
    graph.node("n", 400, 400 * 1024)
    model, rng = Model(), random.Random(seed)
    names = [f"t{i}" for i in range(rng.randint(3, 12))] + [f"fan{i}" for i in range(70 if seed % 3 == 0 else 3)]
    requests = []
    for i, name in enumerate(names):
        before = names[:1] if name.startswith("fan") else rng.sample(names[:i], min(i, rng.choice((0, 1, 1, 2, 3, 9))))
        after = {one: rng.choice(KINDS) for one in before}
        keeps = rng.random() < 0.3
        model.add(name, after, keeps)
        requests.append(
            TaskRequest(
                "m:f", task_id=name, memory=1, on_failure="keep" if keeps else "cancel",
                after=[one if kind == "ok" else f"{one}:{kind}" for one, kind in after.items()],
            ).check()
        )  # fmt: skip
    rng.shuffle(requests)
    assert set(graph.run(graph.store.submit(requests))) == {"new"}
    for _ in range(12):
        graph.tell()
        infos = graph.run(graph.store.status(names))
        found = {info.task_id: (info.state, info.awaited) for info in infos if info is not None}
        for name in names:
            state, awaited = found[name]
            assert state in model.state(name), f"{name} is {state}, not {model.state(name)}"
            assert awaited == (0 if name in model.ended else len(model.left[name])), name
        ended = [t for t in model.ended if model.ended[t] is not State.CANCELLED]
        if ended and rng.random() < 0.2:
            again = rng.choice(ended)
            graph.run(graph.store.requeue(again))
            del model.ended[again]
        elif running := model.runs():
            one = names[0] if names[0] in running else rng.choice(running)
            if rng.random() < 0.3:
                graph.fail(one)
                model.end(one, State.FAILED)
            else:
                graph.run_to_end(one)
                model.end(one, State.COMPLETED)
    graph.tell()
    problems = audit.problems(link.run(audit.check(namespace)))
    assert not problems, "\n".join(map(str, problems))


def play_some(redis_url: str, seeds: range) -> None:
    link = Link(redis_url)
    for seed in seeds:
        namespace = f"t-{uuid.uuid4().hex[:12]}"
        try:
            play(link, namespace, seed)
        finally:
            link.run(drop(namespace))
    link.close()


def test_random_graphs(redis_url: str) -> None:
    play_some(redis_url, range(12))


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found(bug: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(monkeypatch, *BUGS[bug], tmp_path)
    with pytest.raises((AssertionError, RqSchedError)):
        play_some(redis_url, range(40))
