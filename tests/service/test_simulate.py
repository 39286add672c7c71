"""`rq-sched simulate` on the shipped workloads: real scripts, a real server, virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rq_sched.cli import main
from rq_sched.simulate.judge import judge
from rq_sched.simulate.records import read_dump
from rq_sched.simulate.workload import Workload, read_nodes, read_tasks

WORKLOADS = Path(__file__).parents[2] / "examples" / "workloads"
FIELDS = [
    "tasks",
    "completed",
    "infeasible",
    "makespan",
    "lower_bound",
    "mean_wait",
    "p95_wait",
    "mean_slowdown",
    "wait_by_priority",
    "cpu_utilisation",
    "memory_utilisation",
    "over_allocations",
    "inversions",
    "gap_filled",
    "preemptions",
    "decisions",
    "redis_us_per_decision",
    "max_script_ms",
    "wall_seconds",
]


def run(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> Any:
    code = main(
        ["simulate", "--nodes", str(folder / "nodes.csv"), "--tasks", str(folder / "tasks.csv"), "--json", *options]
    )
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


@pytest.mark.parametrize("name", ["office", "burst", "uneven"])
def test_the_shipped_workloads_replay_to_the_end(name, capsys, tmp_path):
    dump = tmp_path / "dump.jsonl"
    report = run(capsys, WORKLOADS / name, "--dump", str(dump))
    assert set(FIELDS) <= set(report)
    assert report["completed"] + report["infeasible"] == report["tasks"]
    assert report["infeasible"] == (3 if name == "burst" else 0)
    assert report["makespan"] >= report["lower_bound"]
    assert (report["over_allocations"], report["inversions"]) == (0, 0)
    assert report["inversions_checked"] >= report["completed"]
    assert report["redis_us_per_decision"] > 0
    # A doctored dump of the same run doesn't pass.
    lines = [json.loads(line) for line in dump.read_text().splitlines()]
    assert len(lines) >= report["completed"]
    for line in lines:
        line["node_id"] = lines[0]["node_id"]
    dump.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = WORKLOADS / name
    workload = Workload(read_nodes(folder / "nodes.csv"), read_tasks(folder / "tasks.csv"))
    assert judge(workload, read_dump(dump, workload)).over_allocations > 0


def test_the_same_workload_gives_the_same_schedule(capsys, tmp_path):
    dumps = [tmp_path / "a", tmp_path / "b"]
    for dump in dumps:
        run(capsys, WORKLOADS / "uneven", "--dump", str(dump))
    assert dumps[0].read_bytes() == dumps[1].read_bytes()


def test_for_people(capsys):
    folder = WORKLOADS / "burst"
    assert main(["simulate", "--nodes", str(folder / "nodes.csv"), "--tasks", str(folder / "tasks.csv")]) == 0
    said = capsys.readouterr().out
    assert "3,003: 3,000 completed, 3 fit no node" in said
    assert "0 over-allocations, 0 inversions" in said


def test_refusals_are_one_line(capsys, tmp_path):
    nodes, tasks = tmp_path / "nodes.csv", tmp_path / "tasks.csv"
    nodes.write_text("node_id,total_cpu,total_memory\na,4,8192\n")
    tasks.write_text("task_id,duration\na,1\nb,soon\n")
    command = ["simulate", "--nodes", str(nodes), "--tasks", str(tasks)]
    assert main(command) == 2
    assert "line 3: duration must be a number from 0, not 'soon'" in capsys.readouterr().err
    tasks.write_text("task_id,duration\na,1\n")
    assert main([*command, "--policy", "magic=1"]) == 2
    assert "--policy must be KEY=VALUE" in capsys.readouterr().err
    assert main([*command, "--policy", "aging=much"]) == 2
    assert "aging" in capsys.readouterr().err
