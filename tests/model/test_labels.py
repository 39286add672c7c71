"""Labels as users give them: what is one, in which order they stand, how tasks ask for them in Python."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched import TaskRequest, task, testing
from rq_sched.errors import InvalidLabel, WaitTimeout
from rq_sched.model.classes import class_of
from rq_sched.model.labels import of_suffix, parse_labels, suffix
from rq_sched.model.resources import Resources
from rq_sched.worker import WorkerConfig
from tests.client import jobs


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ([], ()),
        ("", ()),
        ("gpu", ("gpu",)),
        ("ssd+gpu", ("gpu", "ssd")),
        (("b", "a", "b"), ("a", "b")),
        ({"eu-west.1"}, ("eu-west.1",)),
        (["x" * 32], ("x" * 32,)),
        ([str(i) for i in range(8)], tuple("01234567")),
        (["a"] * 20, ("a",)),
    ],
)
def test_labels_are_sorted_and_stand_once(given: Any, labels: tuple[str, ...]) -> None:
    assert parse_labels(given) == labels
    assert of_suffix("2:512" + suffix(labels)) == labels


@pytest.mark.parametrize(
    "given",
    [["GPU"], [""], ["a b"], ["a+b"], ["a:b"], ["x" * 33], ["\n"], ["é"], [1], 7, None, b"gpu", {"gpu": 1}, "+gpu",
     [str(i) for i in range(9)]],
)  # fmt: skip
def test_what_is_no_list_of_labels_is_refused(given: Any) -> None:
    with pytest.raises(InvalidLabel, match=r"require(:| must)"):
        parse_labels(given, "require")


def test_a_class_is_exact() -> None:
    assert class_of(Resources(1, 256), ["gpu", "ssd"]) == "1:256+gpu+ssd"
    assert class_of(Resources(1, 256)) == "1:256"


def test_a_request_sorts_its_labels() -> None:
    assert TaskRequest("m:f", require=["b", "a"]).check().require == ("a", "b")
    with pytest.raises(InvalidLabel):
        TaskRequest("m:f", require=["A"]).check()


def test_a_workers_labels_are_checked() -> None:
    config = WorkerConfig("unix:///s", "default", "n1", Resources(1, 256), (), labels=("GPU",))
    with pytest.raises(InvalidLabel):
        config.check()


def test_options_in_python() -> None:
    marked = task(require=["gpu"])(jobs.add)
    with testing.cluster(labels=["gpu", "ssd"]) as client:
        assert marked.submit(1).status().require == ["gpu"]
        assert marked.options(require=["ssd", "gpu"]).submit(1).status().require == ["gpu", "ssd"]
        assert marked.options(require=[]).submit(1).status().require == []
        assert client.submit(jobs.add, 1, require=["ssd"]).status().require == ["ssd"]
        with client.executor(require=["gpu"]) as pool:
            future = pool.submit(jobs.add, 1)
        assert client.status(future.task_id).require == ["gpu"]
        assert client.dry_run(jobs.add, 1, require=["gpu"]).fits_now == 1


def test_in_a_test_a_task_waits_for_its_label_too() -> None:
    with testing.cluster() as client:
        stuck = client.submit(jobs.add, 1, require=["gpu"])
        with pytest.raises(WaitTimeout, match="labels gpu"):
            stuck.result()
