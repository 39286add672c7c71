"""What is read of a workload's two files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.workloads import generate
from rq_sched.errors import InvalidValue
from rq_sched.model.resources import Resources
from rq_sched.simulate.workload import Node, Row, Workload, read_nodes, read_tasks


@pytest.fixture
def tasks(tmp_path: Path):
    def read(text: str) -> list[Row]:
        path = tmp_path / "tasks.csv"
        path.write_text(text)
        return read_tasks(path)

    return read


def test_a_row_with_all_columns(tasks):
    row = tasks(
        "task_id,priority,cpu_needed,memory_needed,max_cpu_needed,max_memory_needed,submit_at,duration,count,"
        "cpu_used,memory_used\na,-3,2,1G,4,2048,1.5,0.25,3,1.5,99.2\n"
    )[0]
    assert (row.priority, row.need, row.most) == (-3, Resources(2, 1024), Resources(4, 2048))
    assert (row.submit_at, row.duration, row.tasks) == (1500, 250, 3)
    assert (row.cpu_used, row.memory_used) == (1.5, 100)
    assert [row.name(k) for k in range(3)] == ["a.0", "a.1", "a.2"]


def test_what_is_missing_is_the_default_of_submit(tasks):
    row = tasks("task_id,duration\na,10\n")[0]
    assert (row.need, row.priority, row.submit_at, row.tasks) == (Resources(1, 256), 0, 0, 1)
    assert row.name(0) == "a"
    assert row.cpu_used is None


def test_a_count_of_one_is_a_count(tasks):
    assert tasks("task_id,duration,count\na,10,1\n")[0].name(0) == "a.0"


def test_a_run_of_no_time_takes_a_millisecond(tasks):
    assert tasks("task_id,duration\na,0\n")[0].duration == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task_id\na\n", "the heading lacks duration"),
        ("task_id,duration,colour\na,1,red\n", "unknown column 'colour'"),
        ("task_id,duration,duration\na,1,1\n", "twice in the heading"),
        ("task_id,duration\n", "no tasks in it"),
        ("task_id,duration\na,1\n\nb,x\n", "line 4: duration must be a number from 0, not 'x'"),
        ("task_id,duration\na,-1\n", "line 2: duration must be a number from 0"),
        ("task_id,duration\na,nan\n", "line 2: duration must be a number from 0"),
        ("task_id,duration\na,\n", "line 2: duration is missing"),
        ("task_id,duration\n,1\n", "line 2: task_id is missing"),
        ("task_id,duration\na b,1\n", "line 2: bad task id 'a b'"),
        ("task_id,duration\na,1,2\n", "line 2: 3 cells, the heading has 2"),
        ("task_id,duration\na,1\na,1\n", "line 3: the task a stands there twice"),
        ("task_id,duration,cpu_needed\na,1,0\n", "line 2: cpu_needed must be between 1"),
        ("task_id,duration,memory_needed\na,1,many\n", "line 2: memory_needed must be"),
        ("task_id,duration,cpu_needed,max_cpu_needed\na,1,4,2\n", "line 2: max_cpu_needed is below cpu_needed"),
        ("task_id,duration,priority\na,1,high\n", "line 2: priority must be a whole number"),
        ("task_id,duration,after\na,1,b\nb,1,\n", "a is after b, and no such row arrives before it"),
        ("task_id,duration,after\na,1,a\n", "a is after a, and no such row"),
        ("task_id,duration,after\na,1,\nb,1,a+a b\n", "line 3: bad after 'a b'"),
        ("task_id,duration,after,deadline\na,1,,5\nb,1,a,\n", "b is after a, which has a deadline"),
        ("task_id,duration,after,count\na,1,,20001\nb,1,a,\n", "b is after 20,001 tasks, at most 20,000 may be"),
        ("task_id,duration,count\na,1,1.5\n", "line 2: count must be a whole number"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tasks, text, said):
    with pytest.raises(InvalidValue) as refused:
        tasks(text)
    assert said in str(refused.value)
    assert "tasks.csv" in str(refused.value)


def test_nodes(tmp_path):
    path = tmp_path / "nodes.csv"
    path.write_text("node_id,total_cpu,total_memory\na,4,8192\nb,8,16G\n")
    assert read_nodes(path) == [Node("a", Resources(4, 8192)), Node("b", Resources(8, 16384))]
    path.write_text("node_id,total_cpu,total_memory\na,4,8192\na,8,1\n")
    with pytest.raises(InvalidValue, match="line 3: the node a stands there twice"):
        read_nodes(path)
    path.write_bytes(b"node_id,total_cpu,total_memory\n\xff,4,1\n")
    with pytest.raises(InvalidValue, match="not UTF-8"):
        read_nodes(path)
    with pytest.raises(InvalidValue, match="No such file"):
        read_nodes(tmp_path / "none.csv")


def test_labels_of_nodes_and_tasks(tasks, tmp_path):
    path = tmp_path / "nodes.csv"
    path.write_text("node_id,total_cpu,total_memory,labels\na,4,8192,ssd+gpu\nb,8,8192,\n")
    nodes = read_nodes(path)
    assert [node.labels for node in nodes] == [("gpu", "ssd"), ()]
    rows = tasks("task_id,duration,require,cpu_needed\na,1,,1\nb,1,gpu+ssd,1\nc,1,gpu,8\nd,1,tpu,1\n")
    assert [row.require for row in rows] == [(), ("gpu", "ssd"), ("gpu",), ("tpu",)]
    assert [Workload(nodes, rows).feasible(row) for row in rows] == [True, True, False, False]
    with pytest.raises(InvalidValue, match="line 2: require: bad label 'GPU'"):
        tasks("task_id,duration,require\na,1,GPU\n")


def rows_of(*facts: tuple[str, int, int, int]) -> list[Row]:
    return [
        Row(name, Resources(1, 1), 1, priority=priority, submit_at=at, count=count)
        for name, priority, at, count in facts
    ]


def test_tasks_are_numbered_in_promise_4s_order():
    workload = Workload([], rows_of(("late", 0, 50, 2), ("early", 0, 10, 3), ("urgent", 5, 90, 1), ("too", 0, 10, 1)))
    assert [row.task_id for row in workload.rows] == ["early", "too", "late", "urgent"]
    assert {row.task_id: row.first for row in workload.rows} == {"urgent": 0, "early": 1, "too": 4, "late": 5}
    assert workload.tasks == 7


def test_with_aging_who_came_long_before_goes_before():
    hour = 3_600_000
    workload = Workload([], rows_of(("urgent", 5, 6 * hour, 1), ("old", 0, 0, 1)), aging=1.0)
    assert [row.task_id for row in workload.by_number()] == ["old", "urgent"]


@pytest.mark.parametrize("name", ["office", "burst", "uneven", "pipeline"])
def test_the_shipped_workloads_are_what_their_generator_writes(name, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "HERE", tmp_path)
    generate.main()
    shipped = Path(__file__).parents[2] / "examples" / "workloads" / name
    for file in ("nodes.csv", "tasks.csv"):
        assert (shipped / file).read_text() == (tmp_path / name / file).read_text()
    assert read_nodes(shipped / "nodes.csv")
    assert read_tasks(shipped / "tasks.csv")


def test_resources_of_nodes_and_tasks(tasks, tmp_path):
    path = tmp_path / "nodes.csv"
    path.write_text('node_id,total_cpu,total_memory,resource_gpu,resource_scratch\na,4,8192,2,500\nb,8,8192,"[0,7]",\n')
    nodes = read_nodes(path)
    assert [node.offers for node in nodes] == [{"gpu": ("0", "1"), "scratch": 500}, {"gpu": ("0", "7")}]
    rows = tasks("task_id,duration,resource_gpu,resource_scratch\na,1,,\nb,1,0.5,\nc,1,2,500\nd,1,,501\n")
    assert [row.resources for row in rows] == [
        (), (("gpu", 500),), (("gpu", 2000), ("scratch", 500_000)), (("scratch", 501_000),)
    ]  # fmt: skip
    assert [Workload(nodes, rows).feasible(row) for row in rows] == [True, True, True, False]
    with pytest.raises(InvalidValue, match="line 2: resource: gpu must be whole, or below 1"):
        tasks("task_id,duration,resource_gpu\na,1,1.5\n")
    path.write_text("node_id,total_cpu,total_memory,resource_GPU\na,4,8192,2\n")
    with pytest.raises(InvalidValue, match="line 2: resources: bad name 'GPU'"):
        read_nodes(path)
