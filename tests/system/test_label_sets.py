"""More sets of labels than may wait: what the library and the command line say, and what is submitted all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rq_sched import Client, TaskRequest
from rq_sched.errors import TaskExists, TooManyLabelSets
from tests.cli.kit import Cli

MOST = 1000


@pytest.fixture
def full(redis_url: str, namespace: str) -> Iterator[Client]:
    client = Client(redis_url, namespace)
    client.submit_many(TaskRequest("m:f", require=[f"l{i}"], task_id=f"w{i}") for i in range(MOST))
    yield client
    client.close()


def test_the_library_raises_and_submits_the_others(full: Client) -> None:
    with pytest.raises(TooManyLabelSets, match="task t isn't submitted"):
        full.submit("m:f", require=["m"], task_id="t")
    with pytest.raises(TooManyLabelSets, match="task s isn't submitted"):
        full.submit("m:f", require=["m"], array=range(3), task_id="s")
    with pytest.raises(TooManyLabelSets, match=r"tasks b1, b2, b3.* and 4 more aren't submitted"):
        full.submit_many(
            [
                TaskRequest("m:f", task_id="a"),
                *(TaskRequest("m:f", require=[f"m{i}"], task_id=f"b{i}") for i in range(1, 15)),
                TaskRequest("m:f", task_id="c", require=["l7"]),
            ]
        )
    assert [full.status(t).state for t in ("a", "c")] == ["pending"] * 2
    with pytest.raises(TaskExists):
        full.submit_many([TaskRequest("m:f", task_id="a", priority=1), TaskRequest("m:f", task_id="u", require=["m"])])


def test_an_executor_fails_the_futures_of_those(full: Client) -> None:
    with full.executor(require=["m"]) as executor:
        futures = [executor.submit("m:f") for _ in range(3)]
        for future in futures:
            with pytest.raises(TooManyLabelSets, match="isn't submitted"):
                future.result(timeout=30)


def test_a_file_tells_the_lines_and_submits_the_others(cli: Cli, tmp_path: Path) -> None:
    lines = [{"function": "m:f", "require": [f"l{i}"], "task_id": f"t{i}"} for i in range(MOST + 2)]
    lines.append({"function": "m:f", "task_id": "last"})
    file = tmp_path / "tasks"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    typed = cli("--json", "submit", "--from-file", str(file), code=1)
    assert [(error["line"], error["code"]) for error in typed.errors] == [
        (MOST + 1, "too_many_label_sets"),
        (MOST + 2, "too_many_label_sets"),
    ]
    assert len(typed.json) == MOST + 1
    assert "use fewer" in cli("submit", "--require", "m", "m:f", code=1).err
