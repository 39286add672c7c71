"""`rq-sched simulate` on the shipped workloads: real scripts, a real server, virtual time."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from rq_sched.cli import main
from rq_sched.model.resources import Resources
from rq_sched.simulate.calls import Calls
from rq_sched.simulate.judge import judge
from rq_sched.simulate.records import read_dump
from rq_sched.simulate.replay import Replay
from rq_sched.simulate.server import own_server
from rq_sched.simulate.workload import Node, Row, Workload, read_nodes, read_tasks

ask = Calls.ask
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
    "resource_utilisation",
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


@pytest.mark.parametrize("name", ["office", "burst", "uneven", "pipeline"])
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


def test_calls_sent_ahead_of_their_answers_change_nothing(monkeypatch):
    rng = random.Random(3)
    needs = [Resources(cpu, memory) for cpu in (1, 1, 2, 4) for memory in (100, 500, 900)]
    rows = [
        Row(f"t{i}", rng.choice(needs), rng.randrange(60, 5000), rng.randrange(3), submit_at=rng.randrange(30_000))
        for i in range(1500)
    ]
    workload = Workload([Node(f"n{i}", Resources(4, 1000)) for i in range(20)], rows)
    on_their_way: list[int] = []

    def noted(line: Calls, *asked: Any) -> None:
        on_their_way.append(len(line._asked))
        ask(line, *asked)

    monkeypatch.setattr(Calls, "ask", noted)
    records = []
    for ahead in (True, False):
        with own_server() as link:
            replay = Replay(link, workload, policy=[("reserve_after", 1)])
            assert replay.lookahead == min(row.duration for row in rows)
            if not ahead:
                replay.lookahead = 0
            replay.run()
            records.append((replay.records, sum(on_their_way)))
            on_their_way.clear()
    (one, many), (other, few) = records
    assert many > 1.5 * few
    assert one.reserved
    assert one == other
    assert judge(workload, one).inversions == 0


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


def write_workload(folder: Path, nodes: str, tasks: str) -> Path:
    (folder / "nodes.csv").write_text("node_id,total_cpu,total_memory\n" + nodes)
    (folder / "tasks.csv").write_text(tasks)
    return folder


def test_tasks_that_require_labels(capsys, tmp_path):
    """The same needs with three sets of labels, in turn; what requires a label that no node has blocks nobody."""
    nodes = "a,4,1000,gpu\nb,4,1000,\nc,2,1000,gpu+ssd\n"
    (tmp_path / "nodes.csv").write_text("node_id,total_cpu,total_memory,labels\n" + nodes)
    labels = ["", "gpu", "gpu+ssd", "", "tpu"]
    rows = "".join(f"t{i},{1 + i % 2},100,{i // 9},{labels[i % 5]},{i % 3},5\n" for i in range(200))
    heading = "task_id,cpu_needed,memory_needed,submit_at,require,priority,duration\n"
    (tmp_path / "tasks.csv").write_text(heading + rows)
    dump = tmp_path / "dump.jsonl"
    report = run(capsys, tmp_path, "--dump", str(dump))
    assert (report["completed"], report["infeasible"]) == (160, 40)
    assert (report["over_allocations"], report["inversions"]) == (0, 0)
    where = {line["task_id"]: line["node_id"] for line in map(json.loads, dump.read_text().splitlines())}
    assert {node for task, node in where.items() if int(task[1:]) % 5 == 1} == {"a", "c"}
    assert {node for task, node in where.items() if int(task[1:]) % 5 == 2} == {"c"}
    assert {node for task, node in where.items() if int(task[1:]) % 5 == 0} >= {"a", "b"}


def test_tasks_that_expire_wait_no_more(capsys, tmp_path):
    (tmp_path / "nodes.csv").write_text("node_id,total_cpu,total_memory\na,2,1000\n")
    (tmp_path / "tasks.csv").write_text(
        "task_id,duration,submit_at,cpu_needed,memory_needed,count,deadline\n"
        "first,10,0,2,100,,\nhurried,5,1,1,100,3,4\nlucky,5,1,1,100,2,9.5\npatient,5,1,1,100,,\nbig,5,1,9,100,,3\n"
    )
    dump = tmp_path / "dump.jsonl"
    report = run(capsys, tmp_path, "--dump", str(dump))
    assert (report["tasks"], report["completed"], report["infeasible"], report["expired"]) == (8, 4, 1, 4)
    assert (report["inversions"], report["over_allocations"]) == (0, 0)
    starts = {one["task_id"]: one["start"] for one in map(json.loads, dump.read_text().splitlines())}
    assert starts == {"first": 0.0, "lucky.0": 10.0, "lucky.1": 10.0, "patient": 15.0}


def test_a_whole_node_task_starts_although_small_ones_keep_coming(capsys, tmp_path):
    """Promise 6: within reserve_after + the longest remaining run on one node + 1 s; without reservation at the end."""
    small = "".join(f"s{i},0,1,100,{i},7\n" for i in range(150))
    tasks = "task_id,priority,cpu_needed,memory_needed,submit_at,duration\n" + small + "whole,0,4,400,20.5,5\n"
    folder = write_workload(tmp_path, "a,4,1000\nb,4,1000\n", tasks)
    off = run(capsys, folder, "--policy", "reserve_after=off", "--policy", "preempt_after=off")
    on = run(capsys, folder, "--dump", str(tmp_path / "dump"))
    assert (off["reservations"], on["reservations"]) == (0, 1)
    assert on["widest"] == 1
    assert on["longest_wait_widest"] <= 30 + 7 + 1 < off["longest_wait_widest"]
    assert (off["inversions"], on["inversions"], on["over_allocations"]) == (0, 0, 0)


def test_an_earlier_task_that_is_blocked_later_leaves_the_reservation_as_it_is(capsys, tmp_path):
    """Of those that come after the wide one, ``single`` goes into what is spare; ``pair`` would fit, but may not."""
    tasks = (
        "task_id,priority,cpu_needed,memory_needed,submit_at,duration\n"
        "a,0,1,100,0,40\nb,0,1,100,0,40\nc,0,1,100,0,100\nd,0,1,100,0,100\n"
        "wide,0,3,100,0.5,10\nurgent,5,4,100,31,10\npair,0,2,100,32,200\nsingle,0,1,100,32,10\n"
    )
    folder = write_workload(tmp_path, "a,4,1000\n", tasks)
    report = run(capsys, folder, "--dump", str(tmp_path / "dump"))
    assert report["inversions"] == 0
    starts = {r["task_id"]: r["start"] for r in map(json.loads, (tmp_path / "dump").read_text().splitlines())}
    assert starts["single"] == 40 < starts["urgent"]


def test_preemption_stops_a_preemptible_task_which_runs_again(capsys, tmp_path):
    tasks = (
        "task_id,priority,cpu_needed,memory_needed,submit_at,duration,preemptible\n"
        "low,0,4,100,0,1000,1\nurgent,5,4,100,10,20,0\n"
    )
    folder = write_workload(tmp_path, "a,4,1000\n", tasks)
    report = run(capsys, folder, "--dump", str(tmp_path / "dump"))
    assert (report["preemptions"], report["completed"], report["decisions"]) == (1, 2, 3)
    assert report["wait_by_priority"]["5"] <= 31
    records = [json.loads(line) for line in (tmp_path / "dump").read_text().splitlines()]
    assert sorted((r["task_id"], r["start"]) for r in records)[0] == ("low", 0.0)
    assert len(records) == 3


def test_what_is_released_by_measurement_lets_more_run_at_once(capsys, tmp_path):
    """Tasks ask for half a node and use one core of it; then: memory that one uses late isn't there in time."""
    heading = "task_id,cpu_needed,memory_needed,submit_at,duration,cpu_used,memory_used\n"
    tasks = "".join(f"t{i},4,200,0,100,0.5,150\n" for i in range(8))
    folder = write_workload(tmp_path, "a,8,1000\n", heading + tasks)
    off = run(capsys, folder)
    cpu = run(capsys, folder, "--elastic", "cpu", "--dump", str(tmp_path / "dump"))
    assert (off["mean_running"], off["makespan"]) == (2.0, 400.0)
    assert cpu["mean_running"] > 3
    assert cpu["makespan"] < 300
    assert (cpu["hurt"], cpu["completed"], cpu["over_allocations"]) == (0, 8, 0)
    # Memory: what seemed to stay doubles at some moment; whose memory is in use by others is run again.
    memory = "".join(f"t{i},1,250,0,2000,0.5,240\n" for i in range(12))
    folder = write_workload(tmp_path, "a,32,1000\n", heading + memory)
    assert run(capsys, folder, "--elastic", "all")["hurt"] == 0
    everything = run(capsys, folder, "--elastic", "all", "--usage", "jump")
    assert everything["completed"] == 12
    assert everything["hurt"] > 0
    assert everything["decisions"] == 12 + everything["hurt"]
    assert everything["over_allocations"] == 0


def test_tasks_that_ask_for_resources(capsys, tmp_path):
    """Whole cards, halves, a sum: no card is given twice, nobody is overtaken, what no node has blocks nobody."""
    (tmp_path / "nodes.csv").write_text(
        "node_id,total_cpu,total_memory,resource_gpu,resource_scratch\n"
        'a,8,1000,4,\nb,8,1000,"[0,GPU-1]",1000\nc,8,1000,,\n'
    )
    cells = ["1,", "2,", "0.5,", ",300", "4,", ",", "0.5,100", "1,5000"]
    rows = "".join(f"t{i},{1 + i % 2},50,{i // 9},{cells[i % 8]},{i % 3},5\n" for i in range(200))
    heading = "task_id,cpu_needed,memory_needed,submit_at,resource_gpu,resource_scratch,priority,duration\n"
    (tmp_path / "tasks.csv").write_text(heading + rows)
    dump = tmp_path / "dump.jsonl"
    report = run(capsys, tmp_path, "--dump", str(dump))
    assert (report["completed"], report["infeasible"]) == (175, 25)
    assert (report["over_allocations"], report["inversions"]) == (0, 0)
    lines = [json.loads(line) for line in dump.read_text().splitlines()]
    held = {line["task_id"]: (line["node_id"], line.get("resources", "")) for line in lines}
    assert {held[f"t{i}"][0] for i in range(4, 200, 8)} == {"a"}
    assert {held[f"t{i}"] for i in range(3, 200, 8)} == {("b", "scratch=#300000")}
    assert {held[f"t{i}"][1] for i in range(6, 200, 8)} <= {f"gpu={x}*500;scratch=#100000" for x in ("0", "GPU-1")}
    assert {held[f"t{i}"][1] for i in range(5, 200, 8)} == {""}


def test_tasks_that_count_against_limits(capsys, tmp_path):
    """Never more than there are, nobody is overtaken, and who asks for more than there are holds nobody up."""
    cells = [",", "1,", "2,1", ",1", ",3", "1,"]
    rows = "".join(f"t{i},{1 + i % 2},50,{i // 9},{cells[i % 6]},{i % 3},5\n" for i in range(150))
    heading = "task_id,cpu_needed,memory_needed,submit_at,limit_api,limit_db,priority,duration\n"
    folder = write_workload(tmp_path, "a,8,1000\nb,8,1000\n", heading + rows)
    report = run(capsys, folder, "--limit", "api=3", "--limit", "db=2")
    assert (report["completed"], report["infeasible"]) == (125, 25)
    assert (report["over_allocations"], report["inversions"]) == (0, 0)
    free = run(capsys, folder, "--limit", "api=1000", "--limit", "db=1000")
    assert free["makespan"] < report["makespan"]
    words = ["simulate", "--nodes", str(folder / "nodes.csv"), "--tasks", str(folder / "tasks.csv")]
    assert main([*words, "--limit", "api=3"]) == 2
    assert "with --limit db=20" in capsys.readouterr().err
