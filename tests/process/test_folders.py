"""Folders and files that somebody else could have put there, or could change, are refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from rq_sched.errors import InvalidValue
from rq_sched.process import folders, health
from rq_sched.process.embedded import EmbeddedServer, running_url
from rq_sched.process.folders import make_private, open_own, weakness
from rq_sched.process.health import Mood, Reporter
from rq_sched.worker.parent.run_record import RunRecord

Change = Callable[[Path], None]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Two folders of ours, one in the other."""
    (tmp_path / "a" / "b").mkdir(parents=True, mode=0o755)
    (tmp_path / "a").chmod(0o755)
    return tmp_path


def of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there belongs to somebody else: to whom it belonged before we became another user."""
    before = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: before + 1)
    monkeypatch.setattr(folders, "ROOT", before + 2)  # tests may be run by root


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702, 0o1777, 0o775])
def test_a_folder_that_others_may_write_to(top: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_own_group", lambda group: False)
    monkeypatch.setattr(folders, "ROOT", -1)
    monkeypatch.setattr(folders, "weakness", lambda folder: None)  # root's folders above aren't root's here
    (top / "a").chmod(mode)
    with pytest.raises(PermissionError, match="others may write to .*chmod go-w"):
        make_private(top / "a")


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o757, True), (0o1777, False), (0o755, False)])
def test_one_above_it(top: Path, mode: int, refused: bool) -> None:
    (top / "a").chmod(mode)
    for folder in (top / "a" / "b", top / "a" / "new" / "one"):
        assert bool(weakness(folder)) == refused
    if refused:
        with pytest.raises(PermissionError, match="others may write to"):
            make_private(top / "a" / "new")
        assert not (top / "a" / "new").exists()


def test_what_is_another_users(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_another_user(monkeypatch)
    with pytest.raises(PermissionError, match="belongs to another user"):
        make_private(top / "a")
    with pytest.raises(PermissionError, match="isn't a file of this user's own"):
        open_own(top / "a" / "x", os.O_RDWR | os.O_CREAT)


def test_a_group_with_nobody_else_in_it_is_no_other(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / "a").chmod(0o775)
    found = (top / "a").stat()
    monkeypatch.setattr(folders, "ROOT", -1)
    monkeypatch.setattr(folders, "_own_group", lambda group: group == found.st_gid)
    assert not folders.others_write(found)
    monkeypatch.setattr(folders, "_own_group", lambda group: False)
    assert folders.others_write(found)


def test_a_link_on_the_way(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / "link").symlink_to(top / "a")
    assert weakness(top / "link" / "b") is None  # our own may lead anywhere that is ours
    owner = os.geteuid()
    found = os.lstat(top / "link")
    strange = os.stat_result((*found[:4], owner + 1, *found[5:10]))
    monkeypatch.setattr(Path, "lstat", lambda self: strange if os.path.islink(self) else os.lstat(self))
    assert "is a link of another user" in str(weakness(top / "link" / "b"))


def test_parents_that_are_made_are_nobody_elses(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        make_private(tmp_path / "x" / "y" / "z")
    finally:
        os.umask(before)
    for folder in (tmp_path / "x", tmp_path / "x" / "y", tmp_path / "x" / "y" / "z"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def _link(path: Path) -> None:
    (path.parent / "target").write_text("precious")
    path.symlink_to(path.parent / "target")


def _hard_link(path: Path) -> None:
    (path.parent / "target").write_text("precious")
    os.link(path.parent / "target", path)


def _open_to_all(path: Path) -> None:
    path.write_text("")
    path.chmod(0o666)


PLANTED: list[Change] = [_link, _hard_link, os.mkfifo, Path.mkdir, _open_to_all]


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("name", ["owner.lock", "server.lock", "server.log"])
def test_a_server_uses_nothing_that_was_put_there(
    tmp_path: Path, name: str, plant: Change, server_binary: Path | None
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    plant(data / name)
    with pytest.raises((InvalidValue, OSError)):
        EmbeddedServer(data, binary=server_binary).start()
    assert not (data / "target").exists() or (data / "target").read_text() == "precious"


@pytest.mark.parametrize("name", ["run", "appendonlydir"])
def test_nor_a_folder(tmp_path: Path, name: str, server_binary: Path | None) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir(mode=0o700)
    elsewhere.mkdir()
    (data / name).symlink_to(elsewhere)
    with pytest.raises(InvalidValue, match="can't use"):
        EmbeddedServer(data, binary=server_binary).start()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("plant", PLANTED)
def test_a_worker_believes_no_record_that_was_put_there(tmp_path: Path, plant: Change) -> None:
    path = tmp_path / "workers" / "space+n1+0"
    path.parent.mkdir(mode=0o700)
    plant(path)
    with pytest.raises(InvalidValue, match="set XDG_STATE_HOME"):
        RunRecord(path)


def test_nor_one_in_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    path = tmp_path / "workers" / "space+n1+0"
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(InvalidValue, match="others may write to"):
        RunRecord(path)


def test_notes_of_running_servers_are_not_believed_there_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_binary: Path | None
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with EmbeddedServer(tmp_path / "data", announce=True, binary=server_binary) as server:
        assert running_url() == server.url
        (tmp_path / "state" / "rq-sched" / "running").chmod(0o777)
        assert running_url() is None


def test_health_is_not_written_by_another_users_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    path = tmp_path / "health"
    (tmp_path / f".health.{os.getpid()}").symlink_to(tmp_path / "precious")
    Reporter("worker", "n1", str(path)).note(Mood.OK)
    assert (tmp_path / "precious").read_text() == "precious"
    note = health.read(path)
    assert note is not None
    assert note.mood is Mood.OK


@pytest.mark.parametrize("plant", [os.mkfifo, _link, Path.mkdir])
def test_nor_read_from_what_is_no_file(tmp_path: Path, plant: Change) -> None:
    plant(tmp_path / "x.health")
    assert health.read(tmp_path / "x.health") is None


def test_nor_from_a_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "health"
    Reporter("worker", "n1", str(path)).note(Mood.OK)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert health.read(path) is not None  # whose folder it is may write there
    monkeypatch.setattr(Path, "stat", lambda self, **_: os.stat_result((0o40755, 0, 0, 1, me + 2, 0, 0, 0, 0, 0)))
    assert health.read(path) is None
