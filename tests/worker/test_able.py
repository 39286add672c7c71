"""What a child looks at when it is to say whether tasks can begin and work on this machine."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rq_sched.worker.child import able
from rq_sched.worker.frames import ParentChannel, Word, pack


def looked(folder: object, first: str = "") -> str:
    """What a process of its own sees: it goes there."""
    code = f"import os, resource, errno\nfrom rq_sched.worker.child import able\n{first}\n"
    code += f"print(able.why_unable({str(folder)!r}, thorough=True))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_where_all_is_well_nothing_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    assert looked(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert looked(gone) == f"tasks run in {gone}, and that is not possible: No such file or directory"


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in looked(tmp_path / "file")


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EROFS", "EIO"])
def test_a_folder_in_which_nothing_can_be_written(tmp_path: Path, code: str) -> None:
    refuses = f"def refused(*_): raise OSError(errno.{code}, os.strerror(errno.{code}))\nos.write = refused"
    text = os.strerror(getattr(errno, code))
    assert looked(tmp_path, refuses) == f"nothing can be written in {tmp_path}: {text}"


def test_no_more_descriptors(tmp_path: Path) -> None:
    """Those that are open stay so."""
    used = "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\nkept = [os.dup(0) for _ in range(9)]"
    assert looked(tmp_path, used + "\nos.access('/', os.R_OK)").endswith("Too many open files")


@pytest.mark.parametrize("code", ["EAGAIN", "ENOMEM"])
def test_no_more_processes(tmp_path: Path, code: str) -> None:
    refuses = f"def refused(): raise OSError(errno.{code}, os.strerror(errno.{code}))\nos.fork = refused"
    assert looked(tmp_path, refuses) == f"no process can be started: {os.strerror(getattr(errno, code))}"


def test_a_path_of_imports_that_went_away(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert looked(tmp_path, f"able.IMPORT_PATHS = ({str(gone)!r},)").startswith(f"modules are looked for in {gone}")
    assert str(Path(able.__file__).parents[3]) in able.IMPORT_PATHS or "" in sys.path


def test_descriptors_that_the_agent_has_no_room_for_are_said_to_be_missing() -> None:
    """The frame comes, what should come with it doesn't."""
    ours, theirs = socket.socketpair()
    heard: list[object] = []

    class Loop:
        def add_reader(self, *_: object) -> None: ...

    channel = ParentChannel(Loop(), ours, heard.append, lambda: None)  # type: ignore[arg-type]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    ends = os.pipe()
    socket.send_fds(theirs, [pack((Word.FORKED, 7, 123))], list(ends))
    for end in ends:
        os.close(end)
    lowest = os.dup(0)
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, before[1]))
        channel._read()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        ours.close()
        theirs.close()
    assert heard == [[Word.FORKED, 7, 123]]
    assert channel.descriptors == [-1, -1]
