"""What a task is told of the resources that it holds, and that the next one in the same process finds none of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rq_sched.errors import InvalidResources
from rq_sched.model.states import State
from rq_sched.model.values import pack, unpack
from rq_sched.worker import devices, system
from rq_sched.worker.allow import Allow
from rq_sched.worker.child import process
from rq_sched.worker.frames import Word, child_pair
from tests.worker.kit import Desk

HELD = "tests.worker.places:held"
EMPTY = {"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs tasks in one child of a worker that has cards; each call is told what its task holds."""
    for name, text in EMPTY.items():
        monkeypatch.setenv(name, text)
    ours, theirs = child_pair()
    _, into = os.pipe()
    parent, numbers = os.getpid(), iter(range(100))
    pid = os.fork()
    if pid == 0:
        ours.close()
        process.main(theirs, into, Allow(["*"]), os.getcwd(), parent)
    theirs.close()

    def run(held: str, **env: str) -> dict[str, Any]:
        arguments = pack([[], {}, *([{"env": env}] if env else [])], "the arguments")
        order = (Word.RUN, f"k{next(numbers)}", "t1", 1, HELD, arguments, 1, 256, 1, 256, None, held)
        ours.sendall(msgpack.packb(order))
        answer = msgpack.unpackb(ours.recv(65536))
        assert (answer[0], answer[2]) == (Word.DONE, None), answer
        found: dict[str, Any] = unpack(answer[3])
        return found

    yield run
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ours.close()
    os.close(into)


def test_a_task_finds_what_it_holds_and_the_next_one_none_of_it(run: Run):
    two = run("gpu=0*1000,2*1000;scratch=#5000000")
    visible = {"CUDA_VISIBLE_DEVICES": "0,2", "ROCR_VISIBLE_DEVICES": "0,2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert two["env"] == {"RQ_SCHED_RESOURCE_GPU": "0,2", "RQ_SCHED_RESOURCE_SCRATCH": "5000", **visible}
    assert two["resources"] == {"gpu": [2, ["0", "2"]], "scratch": [5000, []]}
    none = run("")
    assert (none["env"], none["resources"]) == (EMPTY, {})
    half = run("gpu=GPU-1a*500")
    assert half["env"]["RQ_SCHED_RESOURCE_GPU"] == half["env"]["CUDA_VISIBLE_DEVICES"] == "GPU-1a"
    assert half["resources"] == {"gpu": [0.5, ["GPU-1a"]]}
    other = run("fast-net=#1500")
    assert other["env"] == {"RQ_SCHED_RESOURCE_FAST_NET": "1.5", **EMPTY}, "it has no card"
    last = run("")
    assert last["env"] == EMPTY
    assert all(one["same"] for one in (two, none, half, other, last)), "its processes see the same"
    if system.LINUX:
        assert len({one["pid"] for one in (two, none, half, other, last)}) == 1


def test_what_was_asked_for_stays_and_cards_are_those_that_it_holds(run: Run):
    """A variable that the request sets can't lead it to another's card."""
    told = run("gpu=1*1000", CUDA_VISIBLE_DEVICES="0", ROCR_VISIBLE_DEVICES="0", TZ="UTC")
    assert told["env"]["CUDA_VISIBLE_DEVICES"] == told["env"]["ROCR_VISIBLE_DEVICES"] == "1"
    assert told["same"]
    assert run("")["env"] == EMPTY


def test_the_cards_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    nowhere = tmp_path / "nowhere"
    assert devices.cards({"CUDA_VISIBLE_DEVICES": "2, 0,-1,1", "ROCR_VISIBLE_DEVICES": "7"}) == ("2", "0")
    assert devices.cards({"ROCR_VISIBLE_DEVICES": "GPU-1a,GPU-2b"}) == ("GPU-1a", "GPU-2b")
    with pytest.raises(InvalidResources, match="CUDA_VISIBLE_DEVICES is '': it names no card"):
        devices.cards({"CUDA_VISIBLE_DEVICES": ""})
    with pytest.raises(InvalidResources, match="no card is found: .* such as --resource gpu=4"):
        devices.cards({}, nowhere)
    driver = tmp_path / "gpus"
    for address in ("0000:17:00.0", "0000:65:00.0"):
        (driver / address).mkdir(parents=True)
    assert devices.cards({}, driver) == ("0", "1")
    tool = tmp_path / "nvidia-smi"
    lines = "".join(f"GPU {number}: NVIDIA A100 (UUID: GPU-{number}a)\\n" for number in range(3))
    tool.write_text(f"#!/bin/sh\n[ $1 = -L ] && printf '{lines}'\n")
    tool.chmod(0o755)
    assert devices.cards({}, driver) == ("0", "1", "2")
    assert devices.with_cards(["scratch=5", "gpu=auto"], {"CUDA_VISIBLE_DEVICES": "3"}) == ["scratch=5", "gpu=[3]"]
    with pytest.raises(InvalidResources, match="only gpu=auto is known"):
        devices.with_cards(["fpga=auto"])


def test_no_card_is_ever_given_twice(desk: Desk, tmp_path: Path):
    """Two of four, halves, and more tasks than cards on a real worker; what they saw stands in a file, in order."""
    desk.node(cpu=8, resources=("gpu=[0,1,2,GPU-3]",))
    seen = tmp_path / "seen"
    needs = [2, 2, *[1] * 8, *[0.5] * 4]
    ids = [
        desk.submit("tests.worker.places:hold", str(seen), f"t{number}", task_id=f"t{number}", resources={"gpu": need})
        for number, need in enumerate(needs)
    ]
    none = desk.submit(HELD)
    for task_id in ids:
        info = desk.end(task_id)
        assert info.state is State.COMPLETED, info.error
    assert desk.end(none).result["env"] == EMPTY
    held: dict[str, dict[str, float]] = {index: {} for index in ("0", "1", "2", "GPU-3")}
    most = 0
    for line in seen.read_text().splitlines():
        word, task_id, amount, indexes = line.split(" ")
        number = len(indexes.split(","))
        assert (float(amount), number) == (needs[int(task_id[1:])], max(1, float(amount))), line
        for index in indexes.split(","):
            if word == "end":
                del held[index][task_id]
            else:
                held[index][task_id] = float(amount) / number
                assert sum(held[index].values()) <= 1, (line, held)
        most = max(most, sum(map(len, held.values())))
    assert not any(held.values())
    assert most >= 4, "they did run side by side"
    node = desk.nodes[0].info
    assert node is not None
    assert (node.total_resources, node.free_resources) == ({"gpu": 4}, {"gpu": 4})
    assert node.free_indexes == {"gpu": dict.fromkeys(held, 1)}
