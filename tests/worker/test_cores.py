"""Which cores each attempt may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rq_sched.worker import affinity
from rq_sched.worker.agent.cores import Cores


def test_sets_do_not_overlap() -> None:
    cores = Cores(range(8))
    held = [core for owner, count in (("a", 3), ("b", 1), ("c", 4)) for core in cores.give(owner, count)]
    assert sorted(held) == list(range(8))


def test_one_task_like_the_other_keeps_its_cores() -> None:
    cores = Cores(range(8))
    first = cores.give("a", 2)
    cores.give("b", 2)
    cores.take_back("a")
    assert cores.give("c", 2, prefer=first) == first
    cores.take_back("c")
    assert set(cores.give("d", 3, prefer=first)) >= set(first)
    cores.take_back("d")
    assert cores.give("e", 1, prefer=first)[0] in first


def test_cores_of_others_are_not_preferred() -> None:
    cores = Cores(range(4))
    first = cores.give("a", 2)
    assert not set(cores.give("b", 2, prefer=first)) & set(first)


def test_growing_keeps_and_shrinking_keeps() -> None:
    cores = Cores(range(4))
    one = cores.give("a", 1)
    three = cores.give("a", 3)
    assert set(one) < set(three)
    assert set(cores.give("a", 2)) < set(three)
    assert len(cores.give("b", 2)) == 2


def test_neighbours_are_chosen() -> None:
    cores = Cores(range(8))
    for owner in "abcdefgh":
        cores.give(owner, 1)
    for owner in "aefh":  # 0, 4, 5, 7
        cores.take_back(owner)
    assert cores.give("x", 2) == (4, 5)
    assert cores.give("y", 2) == (0, 7)


def test_news_out_of_order() -> None:
    """A task starts before we hear that another has shrunk: it runs somewhere, and gets what is due when we do."""
    cores = Cores(range(2))
    cores.give("a", 2)
    assert cores.give("b", 1) == (0, 1)
    assert cores.settle() == []
    cores.give("a", 1)
    assert cores.settle() == ["b"]
    assert not set(cores.of("a")) & set(cores.of("b"))
    assert cores.settle() == []


def test_who_is_short_takes_what_there_is() -> None:
    cores = Cores(range(4))
    cores.give("a", 3)
    assert len(cores.give("b", 3)) == 1
    cores.take_back("a")
    assert cores.settle() == ["b"]
    assert len(cores.of("b")) == 3


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 8)), max_size=40))
def test_whatever_is_asked(calls: list[tuple[str, int]]) -> None:
    """As long as what is due comes to no more than there is, each has as many as are due, and nobody shares."""
    cores = Cores(range(8))
    due: dict[str, int] = {}
    for owner, count in calls:
        if count == 0:
            cores.take_back(owner)
            due.pop(owner, None)
        elif sum(due.values()) - due.get(owner, 0) + count <= 8:
            due[owner] = count
            cores.give(owner, count)
        assert cores.settle() == []
        held = [core for name in due for core in cores.of(name)]
        assert len(held) == len(set(held)) == sum(due.values())


CLAIM = """
import sys
from rq_sched.worker import affinity
print(affinity.claim(int(sys.argv[1]), "n1"), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux pins")
def test_cores_are_claimed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """By one worker on this machine, until its process ends, however it does."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    usable = sorted(os.sched_getaffinity(0))

    def claiming() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(len(usable))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        return process, process.stdout.readline()

    first, told = claiming()
    assert told == f"{(tuple(usable), '')}\n"
    second, told = claiming()
    assert "belong to another worker" in told
    first.kill()
    first.wait()
    third, told = claiming()
    assert told == f"{(tuple(usable), '')}\n"
    for process in (first, second, third):
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux pins")
def test_more_cores_than_there_are_are_not_real(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    cores, why = affinity.claim(4096, "n1")
    assert (cores, "offers 4096 cores" in why) == ((), True)


def test_where_nothing_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_setaffinity", raising=False)
    assert affinity.claim(1, "n1") == ((), "this system can't pin processes to cores")


def test_who_needs_none_may_use_any() -> None:
    cores = Cores(range(4))
    assert cores.give("driver", 0, ()) == (0, 1, 2, 3)
    assert cores.give("a", 4) == (0, 1, 2, 3)
    cores.take_back("driver")
    assert cores.settle() == []
