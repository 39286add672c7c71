"""``up``, ``worker``, ``scheduler`` as real processes, and the demo."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rq_sched.cli import children, machine
from rq_sched.cli.children import BACK_OFF_MOST, ChildProcess
from rq_sched.cli.up_nodes import LocalNode, divide_machine, read_nodes
from rq_sched.client.blocking import Client
from rq_sched.errors import InvalidValue
from rq_sched.model.node import NodeState
from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from tests.cli.kit import Cli
from tests.support import wait_for

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, str(ROOT / "cli.py")]


class Up:
    """A running ``up`` in a folder of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.errors = folder / "stderr"
        environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*RUN, "up", "--json", "--data", str(folder / "data"), *words],
                stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=folder, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        self.ready: dict[str, Any] = json.loads(line)
        self.client = Client(self.ready["url"])
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def children(self, word: str) -> list[psutil.Process]:
        """The direct children with this word on their command line."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # it has just died
                found += [child] if word in child.cmdline() else []
        return found

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it; its exit code. None of its processes may be left."""
        self.client.close()
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        _, left = psutil.wait_procs(self.family, timeout=15)
        assert not left, left
        return code

    def dump(self) -> object:
        return self.errors.read_text(), self.client.nodes(), self.client.tasks()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*words: str) -> Up:
        started.append(Up(tmp_path, *words))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


def test_everything_on_one_machine(up: Callable[..., Up], cli: Cli, tmp_path: Path):
    one = up("--nodes", "2", "--cpu", "1", "--memory", "512", "--schedulers", "2")
    assert [node["node_id"] for node in one.ready["nodes"]] == ["node-1", "node-2"]
    assert {(node.total_cpu, node.total_memory) for node in one.client.nodes()} == {(1, 512)}
    options = ["--redis", one.ready["url"], "--namespace", one.ready["namespace"]]
    assert cli("submit", "math:hypot", ":=3", ":=4", "--wait", *options).out == "5.0\n"
    typed = cli("--json", "submit", "--wait", *options, "--", "false", code=1).one
    assert (typed["state"], typed["result"]) == ("failed", None)
    second = subprocess.run([*RUN, "up", "--data", str(tmp_path / "data")], capture_output=True, text=True, timeout=30,
                            check=False, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)})  # fmt: skip
    assert second.returncode == 1
    assert "already served by process" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert one.stop() == 0


def test_starting_again_goes_on_where_it_stopped(up: Callable[..., Up]):
    one = up("--grace", "0.2")
    long = one.client.submit("time:sleep", 600, task_id="long", cpu=1)
    one.client.submit("math:sqrt", 4.0, task_id="later", delay=3600)
    wait_for(lambda: long.state() is State.RUNNING, dump=one.dump)
    one.client.drain("node-1")
    assert one.stop(signal.SIGTERM) == 0
    again = up("--grace", "0.2")
    assert again.ready["url"] == one.ready["url"]
    info = again.client.status("long")
    assert (info.state, info.crashes) == (State.PENDING, 0)  # it was given back, which costs nothing
    assert again.client.state("later") is State.DELAYED
    assert again.client.nodes()[0].state is NodeState.DRAINING
    again.client.undrain("node-1")
    wait_for(lambda: again.client.state("long") is State.RUNNING, dump=again.dump)


@pytest.mark.parametrize("word", ["scheduler", "worker"])
def test_a_child_that_dies_is_started_again(up: Callable[..., Up], word: str):
    one = up()
    (victim,) = one.children(word)
    victim.kill()
    (heir,) = wait_for(lambda: [child for child in one.children(word) if child.pid != victim.pid], dump=one.dump)
    assert heir.is_running()
    assert one.client.submit("math:sqrt", 9.0).result(timeout=30) == 3.0
    assert "was killed by SIGKILL; it is started again in 0.5 s" in one.errors.read_text()


def test_a_server_that_dies_is_started_again(up: Callable[..., Up]):
    one = up()
    server = next(process for process in one.family if "redis.sock" in " ".join(process.cmdline()))
    one.client.submit("math:sqrt", 4.0, task_id="t1").result(timeout=30)
    server.kill()
    assert one.client.submit("math:sqrt", 9.0).wait(timeout=30) is State.COMPLETED
    assert "the server died; it is started again" in one.errors.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_killed_it_leaves_no_process_and_can_be_started_again(up: Callable[..., Up]):
    one = up()
    one.client.submit("math:sqrt", 4.0, task_id="t1").result(timeout=30)
    one.process.kill()
    one.process.wait()
    _, left = psutil.wait_procs(one.family, timeout=20)
    assert not left, left
    again = up()
    assert again.client.result("t1", timeout=0) == 2.0
    wait_for(lambda: again.client.nodes()[0].state is NodeState.UP, timeout=30, dump=again.dump)


def test_a_second_signal_hurries(up: Callable[..., Up]):
    one = up("--grace", "600")
    handle = one.client.submit("time:sleep", 600)
    wait_for(lambda: handle.state() is State.RUNNING, dump=one.dump)
    one.process.send_signal(signal.SIGINT)
    wait_for(lambda: one.client.nodes()[0].state is NodeState.DRAINING, dump=one.dump)
    assert one.stop(signal.SIGINT) == 0


@pytest.mark.timeout(90)
def test_tasks_run_on_nodes_with_their_labels(up: Callable[..., Up], tmp_path: Path):
    nodes = tmp_path / "nodes.csv"
    nodes.write_text("node_id,total_cpu,total_memory,labels,resources\na,2,500,,\nb,1,500,ssd+gpu,gpu=2 fast=300\n")
    one = up("--nodes-file", str(nodes))
    assert [(node["node_id"], node["labels"]) for node in one.ready["nodes"]] == [("a", []), ("b", ["gpu", "ssd"])]
    handles = [one.client.submit("time:sleep", 0.05, memory=64, require=require)
               for require in ([], ["gpu"], [], ["gpu", "ssd"], ["gpu"], [])]  # fmt: skip
    card = one.client.submit("os:getenv", "CUDA_VISIBLE_DEVICES", memory=64, resources={"gpu": 2, "fast": 0.5})
    assert card.result(timeout=30) == "0,1"
    nowhere = one.client.submit("time:sleep", 0, memory=64, require=["tpu"])
    for handle in handles:
        handle.result(timeout=30)
    assert {one.client.status(handle.id).node_id for handle in (handles[1], *handles[3:5])} == {"b"}
    assert one.client.status(nowhere.id).reason == "infeasible"
    assert one.client.explain(nowhere.id).missing_labels == {"tpu": 2}
    assert one.stop() == 0


@pytest.mark.timeout(90)
def test_every_node_of_up_gets_the_labels_and_resources(up: Callable[..., Up]):
    one = up(
        "--nodes", "2", "--cpu", "1", "--memory", "500", "--label", "ssd", "--label", "gpu", "--resource", "gpu=[0,7]"
    )
    assert [node.free_indexes for node in one.client.nodes()] == [{"gpu": {"0": 1, "7": 1}}] * 2
    assert [node.labels for node in one.client.nodes()] == [["gpu", "ssd"]] * 2
    one.client.submit("time:sleep", 0, memory=64, require=["ssd"]).result(timeout=30)
    assert one.stop() == 0


# -- what is given ----------------------------------------------------------------------------------

LABELLED = (
    '{"node_id": "a", "total_cpu": 2, "total_memory": 1024, "labels": ["ssd", "gpu"]}\n'
    '{"node_id": "b", "total_cpu": 2, "total_memory": 1024}\n'
)
CSV_LABELLED = "node_id,total_cpu,total_memory,labels\na,2,1024,ssd+gpu\nb,2,1024,\n"
JSON_NODES = (
    '{"node_id": "a", "total_cpu": 2, "total_memory": 1024}\n\n{"node_id": "b", "total_cpu": 4, "total_memory": "2G"}\n'
)
CSV_NODES = "node_id, total_cpu, total_memory\na, 2, 1024\nb, 4, 2G\n"


@pytest.mark.parametrize("text", [JSON_NODES, CSV_NODES, "\ufeff" + CSV_NODES], ids=["json", "csv", "csv with BOM"])
def test_a_file_of_nodes(tmp_path: Path, text: str):
    file = tmp_path / "nodes"
    file.write_text(text)
    assert read_nodes(file) == [LocalNode("a", Resources(2, 1024)), LocalNode("b", Resources(4, 2048))]


@pytest.mark.parametrize("text", [LABELLED, CSV_LABELLED], ids=["json", "csv"])
def test_a_file_of_nodes_with_labels(tmp_path: Path, text: str):
    file = tmp_path / "nodes"
    file.write_text(text)
    assert read_nodes(file) == [LocalNode("a", Resources(2, 1024), ("gpu", "ssd")), LocalNode("b", Resources(2, 1024))]
    file.write_text(text.replace("gpu", "GPU"))
    with pytest.raises(InvalidValue, match="bad label 'GPU'"):
        read_nodes(file)


@pytest.mark.parametrize(
    "offers", ['"gpu=2 scratch=300"', '{"gpu": [0, 1], "scratch": 300}', '["scratch=300", "gpu=2"]']
)
def test_a_file_of_nodes_with_resources(tmp_path: Path, offers: str):
    file = tmp_path / "nodes"
    file.write_text(f'{{"node_id": "a", "total_cpu": 2, "total_memory": 1024, "resources": {offers}}}')
    (node,) = read_nodes(file)
    assert node.resources == {"gpu": ("0", "1"), "scratch": 300}
    file.write_text(file.read_text().replace("300", "-3"))
    with pytest.raises(InvalidValue, match="line 1: resources: scratch must be a whole number"):
        read_nodes(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no nodes"),
        ('{"node_id": "a"', "line 1: broken JSON"),
        ('{"node_id": "a"}', "line 1: total_cpu is missing"),
        (JSON_NODES + '{"node_id": "a", "total_cpu": 2, "total_memory": 1}', "line 4: the node a stands there twice"),
        ("node_id,total_cpu\na,1", "line 2: total_memory is missing"),
        ("node_id,total_cpu,total_memory\na b,1,1", "line 2: bad node id"),
        ("node_id,total_cpu,total_memory\na,none,1", "line 2: total_cpu must be"),
        ("node_id,total_cpu,total_memory\na,1,0", "line 2: total_memory must be"),
        ("[1]", "no nodes"),
    ],
)
def test_a_bad_file_of_nodes(tmp_path: Path, cli: Cli, text: str, said: str):
    file = tmp_path / "nodes"
    file.write_text(text)
    with pytest.raises(InvalidValue, match=said):
        read_nodes(file)
    assert said in cli("up", "--data", str(tmp_path / "data"), "--nodes-file", str(file), code=2).err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["up", "--nodes", "0"], ["up", "--cpu", "x"], ["up", "--nodes-file", "/no/such/file"],
        ["up", "--nodes-file", "/dev/null", "--cpu", "1"], ["up", "--redis", "redis://localhost"],
        ["worker", "--redis", "redis://localhost"], ["worker", "--chdir", "/no/such/folder"], ["worker", "--ttl", "0"],
        ["worker", "--allow", "not a pattern"], ["worker", "--node-id", "a b"], ["worker", "--grace", "-1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_options(cli: Cli, words: list[str]):
    (line,) = cli(*words, code=2).err.splitlines()
    assert line.startswith("rq-sched: ")
    if words[1:] == ["--redis", "redis://localhost"] and words[0] == "worker":
        assert "--allow" in line


def test_a_node_id_that_is_alive_elsewhere(cli: Cli, hand):
    hand.node("n1", ttl=600)
    (line,) = cli("worker", "--node-id", "n1", "--cpu", "1", "--memory", "64", code=2).err.splitlines()
    assert "alive" in line


def test_nodes_share_the_machine(monkeypatch):
    monkeypatch.setattr("rq_sched.cli.up_nodes.machine_size", lambda: Resources(8, 16_000))
    assert [node.total for node in divide_machine(2, None, None)] == [Resources(4, 8_000)] * 2
    assert [node.total for node in divide_machine(16, None, None)] == [Resources(1, 1_000)] * 16
    assert [node.total for node in divide_machine(1, 3, 500)] == [Resources(3, 500)]


def test_the_size_of_the_machine_minds_a_container(tmp_path: Path):
    bare = machine.machine_size(tmp_path)
    assert bare.cpu == len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else bare.cpu > 0
    assert 0 < bare.memory < psutil.virtual_memory().total // 1024**2
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2 * 1024**3}\n")
    assert machine.machine_size(tmp_path) == Resources(1, 2048 - machine.MIN_HEADROOM)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.machine_size(tmp_path) == bare


@pytest.mark.parametrize(
    ("name", "node_id"), [("host.lan", "host.lan"), ("-ä b", "b"), ("ü", "node"), ("x" * 200, "x" * 128)]
)
def test_the_default_node_id_is_an_id(monkeypatch, name: str, node_id: str):
    monkeypatch.setattr("socket.gethostname", lambda: name)
    assert machine.default_node_id() == node_id


def test_the_back_off_of_a_child_that_keeps_dying(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(children, "monotonic", lambda: now)
    said: list[str] = []
    child = ChildProcess("node x", [sys.executable, "-c", "raise SystemExit(3)"])
    pauses = []
    for _ in range(9):
        child.look(said.append)
        wait_for(lambda: not child.alive)
        child.look(said.append)
        pauses.append(child.start_at - now)
        now = child.start_at
    assert pauses[:4] == [0.5, 1, 2, 4]
    assert pauses[-1] == BACK_OFF_MOST
    assert said[0] == "node x ended with exit code 3; it is started again in 0.5 s"


def test_no_process_of_it_shows_the_signing_key(up: Callable[..., Up], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQ_SCHED_SIGNING_KEY", "c0ffee-is-no-good-secret")
    one = up("--cpu", "1", "--memory", "512")
    family = psutil.Process(one.process.pid).children(recursive=True)
    assert len(family) >= 4  # server, scheduler, the worker's parent, its agent
    assert [process.cmdline() for process in family if "RQ_SCHED_SIGNING_KEY" in process.environ()] == []
    assert one.client.submit("math:sqrt", 16.0).result(20) == 4.0
    monkeypatch.delenv("RQ_SCHED_SIGNING_KEY")
    with Client(one.ready["url"]) as without:
        assert without.submit("math:sqrt", 16.0).wait(20) is State.FAILED
