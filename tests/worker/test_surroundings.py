"""Where tasks run: folder, environment, standard streams; what a worker allows; and nothing of it reaches the next."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from rq_sched.errors import InvalidValue
from rq_sched.model.output import Reader, StreamMark
from rq_sched.model.signing import Signer
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store.requests import encode
from rq_sched.worker import system
from rq_sched.worker.reach import Reach
from tests.worker.kit import ROOT, Desk
from tests.worker.test_pollution import differences

TELL = "tests.worker.places:tell"
SH = "exec:/bin/sh"
OPEN: Any = {"allow_dir": ("*",), "allow_env": ("*",)}


def shell(desk: Desk, script: str, **options: Any) -> TaskInfo:
    return desk.run(SH, "-c", script, **options)


def test_a_function_finds_what_was_asked_for(desk: Desk, tmp_path: Path):
    desk.node(**OPEN)
    info = desk.run(
        TELL, chdir=str(tmp_path), env={"COLOUR": "red", "TZ": "Etc/GMT-5"}, stdin=b"given\n", task_id="t1",
        output="out/%t.%a.%n.txt", error="err.txt", cpu_needed=2,
    )  # fmt: skip
    assert info.state is State.COMPLETED, info.error
    told = dict(info.result)
    del told["pid"]
    assert told == {
        "folder": str(tmp_path), "env": "red", "in processes": "red", "hour": 5, "stdin": "given\n",
    }  # fmt: skip
    assert sorted((tmp_path / "out" / "t1.1.n1.txt").read_text().splitlines()) == ["by a process", "printed"]
    assert (tmp_path / "err.txt").read_text() == "complained\n"
    assert desk.output("t1") == ""


def test_so_does_a_command(desk: Desk, tmp_path: Path):
    desk.node(**OPEN)
    (tmp_path / "input").write_text("from a file")
    script = "pwd; cat; echo $COLOUR; echo wrong >&2; umask"
    info = shell(desk, script, chdir=str(tmp_path), env=["COLOUR=blue"], stdin="input", output="both", error="both")
    assert info.state is State.COMPLETED, info.error
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "both").read_text() == f"{tmp_path}\nfrom a fileblue\nwrong\n{umask:04o}\n"
    assert (tmp_path / "both").stat().st_mode & 0o777 == 0o666 & ~umask
    shell(desk, "echo again", chdir=str(tmp_path), output="both")
    assert (tmp_path / "both").read_text() == "again\n", "each attempt begins the file anew"


def test_a_large_file_comes_as_it_was_written(desk: Desk, tmp_path: Path):
    desk.node(**OPEN)
    script = "head -c 30000000 /dev/urandom | tee copy"
    assert shell(desk, script, chdir=str(tmp_path), output="made").state is State.COMPLETED
    made, copy = ((tmp_path / name).open("rb") for name in ("made", "copy"))
    with made, copy:
        assert hashlib.file_digest(made, "sha256").digest() == hashlib.file_digest(copy, "sha256").digest()
    assert (tmp_path / "made").stat().st_size == 30_000_000
    for name in ("made", "copy"):
        (tmp_path / name).unlink()


def test_elements_write_into_files_of_their_own(desk: Desk, tmp_path: Path):
    desk.node(**OPEN)
    script = "echo $RQ_SCHED_ARRAY_INDEX; echo $RQ_SCHED_TASK_ID >&2"
    info = shell(desk, script, array="1-40", task_id="a", chdir=str(tmp_path), output="out/%i.txt", error="%t.err")
    assert info.state is State.COMPLETED, info.error
    assert {p.name: p.read_text() for p in (tmp_path / "out").iterdir()} == {f"{n}.txt": f"{n}\n" for n in range(1, 41)}
    assert {p.name: p.read_text() for p in (tmp_path / "a").iterdir()} == {f"{n}.err": f"a/{n}\n" for n in range(1, 41)}


@pytest.mark.skipif(not system.LINUX, reason="elsewhere each task has a new process")
def test_nothing_of_it_reaches_the_next_task_of_the_child(desk: Desk, tmp_path: Path):
    desk.node(cpu=1, affinity="off", **OPEN)
    (tmp_path / "input").write_text("text")
    options: dict[str, dict[str, Any]] = {
        "chdir": {"chdir": str(tmp_path)},
        "env": {"env": {"COLOUR": "red", "TZ": "Etc/GMT-5", "HOME": "/nowhere", "OMP_NUM_THREADS": "7"}},
        "stdin": {"stdin": b"x" * 100_000},
        "file": {"stdin": str(tmp_path / "input")},
        "output": {"output": str(tmp_path / "out")},
        "error": {"error": str(tmp_path / "err")},
        "both": {"output": str(tmp_path / "both"), "error": str(tmp_path / "both"), "env": {"A": "1"}},
        "apart": {},
        "refused": {"chdir": str(tmp_path), "env": {"A": "1"}, "output": "out", "error": "/proc/no"},
    }
    look = "tests.worker.pollution:look"
    fresh = desk.run(look).result
    wrong: dict[str, Any] = {}
    for what, target in itertools.product(options, (TELL, SH)):
        words = ("-c", "cat; env; pwd; echo >&2") if target == SH else ()
        request = TaskRequest(target, words, **options[what]).check()
        ended = submit(desk, request, {"apart": 1_000_000} if what == "apart" else {})
        assert ended.state is (State.FAILED if what == "refused" else State.COMPLETED), (what, ended.error)
        after = desk.run(look)
        found = differences(fresh, after.result)  # its process is compared, too
        if output := desk.output(after.task_id):
            found["output"] = output
        if found:
            wrong[f"{what}, {target}"] = found
    assert wrong == {}


def submit(desk: Desk, request: TaskRequest, hints: dict[str, Any]) -> TaskInfo:
    """A task with hints, when it has ended."""
    request.hints = hints
    desk.link.run(desk.store.submit([request]))
    return desk.end(str(request.task_id))


def test_output_is_told_apart_where_that_is_asked_for(desk: Desk, tmp_path: Path):
    desk.node(**OPEN)
    for name, other, left in (("output", 2, b"err\n"), ("error", 1, b"out\n")):  # one goes into a file
        file = tmp_path / name
        one = TaskRequest(SH, ["-c", "echo out; echo err >&2"], **{name: str(file)}).check()  # type: ignore[arg-type]
        info = submit(desk, one, {"apart": 1_000_000})
        assert streams(desk, info.task_id) == {1: b"", 2: b""} | {other: left}
        assert file.read_bytes() == (b"out\n" if name == "output" else b"err\n")
    script = "for i in 1 2 3; do echo out; echo err >&2; sleep 0.01; done; sleep 60 & echo last"
    for target, words, out, err in (
        (SH, ("-c", script), b"out\n" * 3 + b"last\n", b"err\n" * 3),
        (TELL, (), b"printed\nby a process\n", b"complained\n"),
    ):
        info = submit(desk, TaskRequest(target, words).check(), {"apart": 1_000_000})
        assert info.state is State.COMPLETED, info.error
        assert streams(desk, info.task_id) == {1: out, 2: err}
    request = TaskRequest(SH, ["-c", "head -c 300000 /dev/zero"], log_limit="512K").check()
    fast = submit(desk, request, {"apart": 600_000})  # it waits, so that nothing is cut
    assert streams(desk, fast.task_id) == {1: bytes(300_000), 2: b""}


def streams(desk: Desk, task_id: str) -> dict[int, bytes]:
    found, now = {1: b"", 2: b""}, 1
    for part in Reader().feed(desk.link.run(desk.store.log(task_id))):
        if isinstance(part, StreamMark):
            now = part.number
        elif isinstance(part, bytes):
            found[now] += part
    return found


def test_the_log_keeps_as_much_as_is_asked_for(desk: Desk):
    desk.node()
    kept = [len(desk.output(shell(desk, "head -c 400000 /dev/zero", log_limit=n).task_id)) for n in (None, "300K")]
    assert 65_536 <= kept[0] < 66_000
    assert 307_200 <= kept[1] < 308_000


# -- what a worker allows ----------------------------------------------------------------------------


def test_what_one_node_does_not_allow_another_one_does(desk: Desk, tmp_path: Path):
    desk.node(node_id="strict")
    open_node = desk.node(node_id="open", up=False, **OPEN)
    open_node.wait_up()
    for number in range(4):
        info = shell(desk, "pwd", chdir=str(tmp_path), env={"PATH": os.environ["PATH"]}, task_id=f"t{number}")
        assert (info.state, info.node_id) == (State.COMPLETED, "open"), info.error


NOT_ALLOWED: list[tuple[Any, str]] = [
    ({"chdir": "/"}, "doesn't allow chdir /: start its worker with --allow-dir FOLDER"),
    ({"chdir": "up"}, "doesn't allow chdir up (/"),
    ({"output": "../escaped"}, "doesn't allow output"),
    ({"output": "up/%t"}, "doesn't allow output"),
    ({"error": "/tmp/%n/x"}, "doesn't allow error /tmp/n1/x"),
    ({"stdin": "/etc/passwd"}, "doesn't allow stdin /etc/passwd"),
    ({"env": {"A": "1", "LD_PRELOAD": "x.so"}}, "doesn't allow the variable LD_PRELOAD"),
    ({"env": {"PATH": "/"}}, "the variable PATH: start its worker with --allow-env PATH"),
    ({"env": {"PYTHONPATH": "/"}}, "the variable PYTHONPATH"),
    ({"env": {"RQ_SCHED_TASK_ID": "other"}}, "the variable RQ_SCHED_TASK_ID"),
]
NOT_FOUND: list[tuple[Any, str]] = [
    ({"chdir": "missing"}, "no folder"),
    ({"stdin": "missing"}, "can't be opened on this node: No such file"),
    ({"output": "file/x"}, "can be made on this node"),
    ({"output": "folder"}, "can't be opened on this node: Is a directory"),
]


def test_what_no_node_allows_or_has_fails_and_says_what_helps(desk: Desk, tmp_path: Path):
    own = tmp_path / "own"
    (own / "folder").mkdir(parents=True)
    (own / "file").touch()
    (own / "up").symlink_to("/")
    desk.node(chdir=str(own))
    for reason, cases in (("not_allowed", NOT_ALLOWED), ("not_found", NOT_FOUND)):
        for options, said in cases:
            info = shell(desk, "touch ran", **options)
            assert (info.state, info.reason) == (State.FAILED, reason), options
            assert said in str(info.error)
    assert sorted(path.name for path in own.iterdir()) == ["file", "folder", "up"]
    assert not (tmp_path / "escaped").exists()


def test_own_folder_and_dev_null_need_no_allowance(desk: Desk, tmp_path: Path):
    desk.node(chdir=str(tmp_path))
    info = shell(desk, "echo x; pwd >&2", output="/dev/null", error="deep/below/%t", task_id="t", stdin="/dev/null")
    assert info.state is State.COMPLETED, info.error
    assert (tmp_path / "deep" / "below" / "t").read_text() == f"{tmp_path}\n"


def test_the_folder_of_the_submit_is_a_hint(desk: Desk, tmp_path: Path):
    """It is no part of what is asked for; a node that doesn't allow it, or hasn't got it, takes its own."""
    (tmp_path / "mine").mkdir()
    desk.node(allow_dir=(str(tmp_path),))
    ran: dict[str, str] = {}
    for folder in (str(tmp_path / "mine"), "/", str(tmp_path / "gone")):
        info = submit(desk, TaskRequest(SH, ["-c", "pwd"]).check(), {"folder": folder})
        *said, ran[folder] = desk.output(info.task_id).splitlines()
        assert bool(said) is (folder == str(tmp_path / "gone")), said
    assert ran == {str(tmp_path / "mine"): str(tmp_path / "mine"), "/": str(ROOT), str(tmp_path / "gone"): str(ROOT)}
    first, second = (TaskRequest(SH, ["-c", "pwd"], task_id="x").check() for _ in range(2))
    second.hints = {"folder": "/elsewhere"}
    assert encode(first)[2] == encode(second)[2]
    assert encode(first)[3] != encode(second)[3]


def test_patterns() -> None:
    reach = Reach("/srv/work", ["/scratch", "/home/*/jobs"], ["OMP_*", "TZ"])
    for path in ("/scratch", "/scratch/a/b", "/home/ada/jobs/x"):
        assert reach.may_name(path), path
    for path in ("/scratch2", "/home/ada", "/home/ada/x/jobs", "/srv/work", "/"):
        assert not reach.may_name(path), path
    assert [name for name in ("OMP_X", "TZ", "HOME", "PATH") if reach.may_set(name)] == ["OMP_X", "TZ"]
    assert Reach("/srv", ["*"]).may_name("/etc/passwd")
    with pytest.raises(InvalidValue, match="full path"):
        Reach("/srv", ["jobs"])


def test_a_signature_covers_it() -> None:
    signer = Signer("a key of at least 16 characters", "default")
    request = TaskRequest("m:f", [1], task_id="t", chdir="/srv", stdin=b"\xc4\x10" + bytes(16)).check()
    plain, packed = request.pack_arguments(), encode(request, signer)[3].partition(b"with=")[2]
    assert signer.verify("t", "m:f", packed, None)
    assert not signer.verify("t", "m:f", packed.replace(b"/srv", b"/etc"), None)
    assert not signer.verify("t", "m:f", plain, None)
    for other in (TaskRequest("m:f", [1], task_id="t"), TaskRequest("m:f", [1], task_id="t", chdir="/tmp")):
        unsigned = other.check().pack_arguments()
        forged = bytes([unsigned[0] + 1]) + unsigned[1:] + packed[-18:]
        assert not signer.verify("t", "m:f", forged, None)
