"""`not_allowed` and `not_found` are one node's answer, on real workers; and what a refusal proposes helps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rq_sched.model.states import Reason, State
from tests.worker.kit import FUNCTIONS, Desk

MODULE = """
import os
from functools import partial
from os import system
def f(): return "f"
class C:
    @staticmethod
    def m(): return "m"
class D:
    def __call__(self): return "d"
d = D()
foreign = partial(os.getcwd)
"""


def test_a_task_goes_where_it_may_run(desk: Desk) -> None:
    desk.node(cpu=1, node_id="n1", allow=("math:*",))
    desk.node(cpu=2, node_id="n2", allow=(f"{FUNCTIONS}:*",))
    infos = [desk.run("add", i, 1) for i in range(4)]
    assert {(info.state, info.node_id, info.crashes) for info in infos} == {(State.COMPLETED, "n2", 0)}
    assert desk.run("math:sqrt", 4.0).result == 2.0
    info = desk.run("os:getpid")
    assert (info.state, info.reason, info.attempt) == (State.FAILED, Reason.NOT_ALLOWED, 2)
    assert [line[:4] for line in (info.error or "").splitlines()] in (["n1: ", "n2: "], ["n2: ", "n1: "])


def test_a_module_that_one_node_has_not(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "has").mkdir()
    (tmp_path / "hasnt").mkdir()
    (tmp_path / "has" / "only_there.py").write_text("def f(): return 'there'\n")
    desk.node(cpu=1, node_id="n1", chdir=str(tmp_path / "hasnt"))
    desk.node(cpu=2, node_id="n2", chdir=str(tmp_path / "has"))
    ids = [desk.submit("only_there:f") for _ in range(20)]
    assert {desk.end(task_id).result for task_id in ids} == {"there"}
    assert any(desk.info(task_id).refused for task_id in ids)


def test_a_module_that_one_node_can_t_read(desk: Desk, tmp_path: Path) -> None:
    """Its file is there, and reading it is an error (EIO)."""
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "whole" / "odd.py").write_text("def f(): return 'read'\n")
    (tmp_path / "broken" / "odd.py").symlink_to("/proc/self/mem")
    desk.node(cpu=1, node_id="n1", chdir=str(tmp_path / "broken"))
    info = desk.run("odd:f")
    assert (info.state, info.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert "odd can't be read on this node: [Errno 5]" in (info.error or "")
    desk.node(cpu=2, node_id="n2", chdir=str(tmp_path / "whole"))
    assert {desk.run("odd:f").result for _ in range(3)} == {"read"}
    assert desk.nodes[0].info is not None
    assert desk.nodes[0].info.fault is None


def test_an_error_of_a_module_s_own_code_is_the_task_s(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "opens.py").write_text("open('/nonexistent/file')\ndef f(): ...\n")
    desk.node(cpu=1, chdir=str(tmp_path))
    info = desk.run("opens:f")
    assert (info.state, info.reason) == (State.FAILED, Reason.ERROR)


@pytest.mark.parametrize(
    ("target", "args", "allow"),
    [
        ("shop:f", [], "other:*"),
        ("shop:f", [], "shop:C"),
        ("shop:C.m", [], "shop:f"),
        ("shop:d", [], "exec:/bin/true"),
        ("shop:foreign", [], "shop:*"),
        ("shop:os.getcwd", [], "shop:*"),
        ("shop:system", ["true"], "shop:*"),
        ("exec:true", [], "shop:*"),
        ("exec:/bin/true", [], "exec:/bin/false"),
        ("exec:{folder}/current/tool", [], "exec:/bin/true"),
        ("exec:{folder}/link", [], "exec:/bin/true"),
    ],
)
def test_what_a_refusal_proposes_helps(desk: Desk, tmp_path: Path, target: str, args: list[str], allow: str) -> None:
    """Really: the worker is started with it, and the same task runs."""
    (tmp_path / "shop.py").write_text(MODULE)
    (tmp_path / "releases" / "1").mkdir(parents=True)
    tool = tmp_path / "releases" / "1" / "tool"
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    (tmp_path / "current").symlink_to("releases/1")
    (tmp_path / "link").symlink_to("current/tool")
    target = target.format(folder=tmp_path)
    node = desk.node(cpu=1, allow=(allow,), chdir=str(tmp_path))
    task_id = desk.submit(target, *args)
    info = desk.end(task_id)
    assert (info.state, info.reason) == (State.FAILED, Reason.NOT_ALLOWED)
    proposed = re.search(r"--allow '([^']*)'", info.error or "")
    assert proposed
    node.stop()
    desk.node(cpu=1, allow=(proposed[1],), chdir=str(tmp_path))
    desk.link.run(desk.store.requeue(task_id))
    assert desk.end(task_id).state is State.COMPLETED
