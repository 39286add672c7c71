"""The embedded server: private, durable, one a data folder, gone with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pytest
import redis

from rq_sched.errors import InvalidValue, RedisUnavailable, ServerRunning, ServerTooOld
from rq_sched.process.embedded import EmbeddedServer, find_server, running_url, state_dir
from tests.support import wait_for

Start = Callable[..., EmbeddedServer]
Owner = Callable[[], tuple[subprocess.Popen[str], int]]

# A process that owns a server, for tests to kill: prints the server's pid once it answers.
OWNER = """
import sys, time
from pathlib import Path
from rq_sched.process.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), binary=Path(sys.argv[2]) if sys.argv[2:] else None)
server.start()
print(server.pid, flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(autouse=True)
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may see, or be seen by, the user's own servers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "a space, é"  # short: the path of a socket has 107 bytes


@pytest.fixture
def start(data: Path, server_binary: Path | None) -> Iterator[Start]:
    """Starts servers, and stops those that the test leaves."""
    servers: list[EmbeddedServer] = []

    def started(folder: Path = data, **options) -> EmbeddedServer:
        server = EmbeddedServer(folder, **{"binary": server_binary, **options})
        servers.append(server)
        server.start()
        return server

    yield started
    for server in servers:
        server.stop()


@pytest.fixture
def owner(data: Path, server_binary: Path | None) -> Iterator[Owner]:
    """Starts another process that owns a server over ``data``."""
    owners: list[subprocess.Popen[str]] = []

    def started() -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-c", OWNER, str(data), *([str(server_binary)] if server_binary else [])]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        owners.append(process)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    yield started
    for process in owners:
        process.communicate()


def connect(server: EmbeddedServer) -> Any:
    return redis.Redis.from_url(server.url, decode_responses=True)


def socket_of(server: EmbeddedServer) -> Path:
    return Path(unquote(server.url.removeprefix("unix://")))


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_is_a_real_server_with_the_settings_that_matter(start: Start) -> None:
    client = connect(start())
    assert int(client.info("server")["redis_version"].split(".")[0]) >= 7
    config = client.config_get()
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["save"] == ""
    assert config["maxmemory-policy"] == "noeviction"
    assert set(config["notify-keyspace-events"]) == set("Ex")
    assert config["port"] == "0"


def test_further_settings_win(start: Start) -> None:
    assert connect(start(settings={"appendfsync": "always"})).config_get("appendfsync") == {"appendfsync": "always"}


def test_nobody_else_can_reach_it_or_read_its_data(start: Start, data: Path) -> None:
    server = start()
    connect(server).set("secret", "1")
    assert stat.S_IMODE(socket_of(server).parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for path in data.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert psutil.Process(server.pid).net_connections("inet") == []


def test_data_is_kept_between_runs_and_the_url_too(start: Start) -> None:
    first = start()
    connect(first).set("kept", "yes")
    url = first.url
    first.stop()
    assert first.pid is None
    again = start()
    assert again.url == url
    assert connect(again).get("kept") == "yes"


def test_an_open_socket_folder_is_closed(start: Start, data: Path) -> None:
    (data / "run").mkdir(parents=True, mode=0o777)
    server = start()
    assert stat.S_IMODE(socket_of(server).parent.stat().st_mode) == 0o700


def test_a_long_path_gets_a_short_socket(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    server = start(folder)
    path = socket_of(server)
    assert len(os.fsencode(path)) < 104
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert connect(server).ping()
    url = server.url
    server.stop()
    assert start(folder).url == url
    shutil.rmtree(path.parent)


def test_a_folder_of_someone_else_is_not_trusted(monkeypatch: pytest.MonkeyPatch, start: Start, data: Path) -> None:
    (data / "run").mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(InvalidValue, match="belongs to someone else"):
        start()


def test_a_second_server_on_the_same_data_is_refused(start: Start, data: Path) -> None:
    server = start()
    with pytest.raises(ServerRunning, match=rf"already served by process {os.getpid()}\b"):
        start()
    assert connect(server).ping()
    server.stop()
    assert connect(start()).ping()


def test_a_second_process_is_refused_and_told_by_whom(start: Start, owner: Owner) -> None:
    process, _ = owner()
    with pytest.raises(ServerRunning, match=rf"already served by process {process.pid}\b"):
        start()


def test_a_killed_owner_takes_its_server_along_and_loses_nothing(start: Start, data: Path, owner: Owner) -> None:
    process, server_pid = owner()
    client: Any = redis.Redis(unix_socket_path=str(data / "run" / "redis.sock"), decode_responses=True)
    client.set("kept", "yes")
    process.kill()
    process.wait()
    # At once: the server may still be ending, and both locks may be in their last moments.
    again = start()
    assert connect(again).get("kept") == "yes"
    wait_for(lambda: ended(server_pid))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends it")
def test_a_killed_owner_leaves_no_server_even_if_none_starts_again(owner: Owner) -> None:
    process, server_pid = owner()
    process.kill()
    process.wait()
    wait_for(lambda: ended(server_pid))


def test_a_server_left_behind_is_ended_by_the_next(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel doesn't tie the server to its owner: as on macOS."""
    monkeypatch.setattr(sys, "platform", "darwin")
    left = start()
    connect(left).set("kept", "yes")
    left_pid = left.pid
    while left._locks:
        os.close(left._locks.pop())  # as if its owner had been killed
    again = start()
    assert again.pid != left_pid
    assert left.pid is None
    assert connect(again).get("kept") == "yes"


def test_a_server_started_in_a_thread_outlives_the_thread(start: Start) -> None:
    server: list[EmbeddedServer] = []
    thread = threading.Thread(target=lambda: server.append(start()))
    thread.start()
    thread.join()
    client = connect(server[0])
    for _ in range(3):  # rounds of its own clock, in which it would also notice a signal to end
        client.set("short-lived", "1", px=1)
        wait_for(lambda: client.dbsize() == 0, dump=client.info)


def test_a_killed_server_is_started_again_by_start(start: Start) -> None:
    server = start()
    connect(server).set("kept", "yes")
    wait_for(lambda: connect(server).info("persistence")["aof_pending_bio_fsync"] == 0)
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: server.pid is None)
    server.start()
    assert server.pid not in (None, first)
    assert connect(server).get("kept") == "yes"


def test_it_has_a_session_of_its_own(start: Start) -> None:
    """Ctrl-C in a terminal goes to the whole foreground group: the server must not be in it."""
    server = start()
    assert server.pid is not None
    assert os.getsid(server.pid) == server.pid


def test_damaged_data_is_named(start: Start, data: Path) -> None:
    server = start()
    connect(server).set("a", "1")
    server.stop()
    for part in (data / "appendonlydir").glob("*.incr.aof"):
        part.write_bytes(b"*1\r\n$5\r\nHELLO" * 10)
    with pytest.raises(RedisUnavailable, match=r"did not start: .*append only file"):
        start()


def test_a_bad_setting_is_named(start: Start, data: Path) -> None:
    with pytest.raises(RedisUnavailable, match="Bad directive"):
        start(settings={"no-such-setting": "1"})
    assert connect(start()).ping()


def test_a_missing_binary_is_named(start: Start) -> None:
    with pytest.raises(RedisUnavailable, match="No such file"):
        start(binary=Path("/no/such/server"))


def test_an_unusable_folder_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidValue, match=r"can't use .*file/data as data folder"):
        start(tmp_path / "file" / "data")


def test_a_server_that_does_not_answer_is_given_up(start: Start, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\nexec sleep 60\n")
    deaf.chmod(0o755)
    server = EmbeddedServer(tmp_path / "data", binary=deaf)
    with pytest.raises(RedisUnavailable, match=r"no answer within 0\.2 s"):
        server.start(timeout=0.2)
    assert server.pid is None


def test_no_server_says_what_to_install(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert find_server() is None
    with pytest.raises(RedisUnavailable, match=r"rq-sched\[embedded\].*apt-get install redis-server"):
        start(binary=None)


def test_only_an_old_server_on_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_server(tmp_path / "redis-server", "Redis server v=6.2.7 sha=0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerTooOld, match="redis-server is older than version 7"):
        find_server()


def test_a_new_server_on_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_server(tmp_path / "valkey-server", "Redis server v=6.2.7 sha=0")
    _fake_server(tmp_path / "redis-server", "Redis server v=7.2.4 sha=0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == tmp_path / "redis-server"


def _fake_server(path: Path, version: str) -> None:
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)


# -- the server of a running `up` ------------------------------------------------------------------


def test_running_url_names_only_announced_servers(start: Start, tmp_path: Path) -> None:
    assert running_url() is None
    start()
    assert running_url() is None
    announced = start(tmp_path / "other", announce=True)
    assert running_url() == announced.url
    announced.stop()
    assert running_url() is None


def test_running_url_names_the_newest_of_several(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path / "1", announce=True)
    second = start(tmp_path / "2", announce=True)
    assert first._note is not None
    os.utime(first._note, (0, 0))  # older, no matter how coarse the clock of the file system is
    assert running_url() == second.url
    second.stop()
    assert running_url() == first.url


def test_running_url_does_not_name_a_dead_server(start: Start) -> None:
    server = start(announce=True)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: server.pid is None)
    assert running_url() is None


def test_running_url_names_a_server_too_busy_to_answer(start: Start) -> None:
    """Else a client would silently turn to another Redis."""
    server = start(announce=True)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert running_url() == server.url
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_refused_second_server_keeps_the_first_announced(start: Start) -> None:
    first = start(announce=True)
    with pytest.raises(ServerRunning):
        start(announce=True)
    assert running_url() == first.url


def test_a_server_that_can_not_be_announced_says_why(start: Start, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(InvalidValue, match="XDG_STATE_HOME"):
        start(announce=True)


@pytest.mark.parametrize("text", ["", "\n", "unix:///no/such/socket", "\x00"])
def test_running_url_survives_odd_notes(text: str) -> None:
    folder = state_dir() / "running"
    folder.mkdir(parents=True)
    (folder / "note").write_text(text)
    assert running_url() is None


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_state_dir_without_a_usable_setting(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    if value is not None:
        monkeypatch.setenv("XDG_STATE_HOME", value)
    assert state_dir() == Path.home() / ".local/state/rq-sched"
