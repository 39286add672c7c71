"""What stands in deploy/: a real server takes redis.conf; units and compose.yaml say what they must."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from rq_sched.process.embedded import SETTINGS, find_server
from tests.support import wait_for

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
DEBIAN_SERVER = Path("/usr/bin/redis-server")


# -- redis.conf ------------------------------------------------------------------------------------


@contextmanager
def served(binary: Path, folder: Path, *options: str) -> Iterator[Any]:
    """A client of a server that runs with ``redis.conf``, as an administrator would start it, on a socket."""
    path = folder / "s"
    command = [str(binary), str(DEPLOY / "redis.conf"), "--port", "0", "--unixsocket", str(path), *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        client: Any = redis.Redis(unix_socket_path=str(path), decode_responses=True)
        wait_for(
            lambda: process.poll() is not None or answers(client),
            dump=lambda: (folder / "log").read_text(),
        )
        assert process.poll() is None, (folder / "log").read_text()
        yield client
    finally:
        process.terminate()
        process.wait()


def answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def assert_fits(binary: Path, folder: Path) -> None:
    with served(binary, folder) as client:
        config = client.config_get()
        assert config["appendonly"] == "yes"
        assert config["appendfsync"] == "everysec"
        assert config["save"] == ""
        assert config["maxmemory-policy"] == "noeviction"
        assert set(config["notify-keyspace-events"]) == set("Ex")
        expiries = client.pubsub(ignore_subscribe_messages=True)
        expiries.psubscribe("__keyevent@*__:expired")
        client.set("heartbeat", "1", px=1)
        heard = wait_for(lambda: expiries.get_message(timeout=0.1), dump=lambda: client.info())
        assert heard["data"] == "heartbeat"
        client.set("kept", "yes")
    with served(binary, folder) as client:
        assert client.get("kept") == "yes"


def test_the_embedded_server_starts_with_redis_conf(tmp_path: Path, server_binary: Path | None) -> None:
    binary = server_binary or find_server()
    assert binary is not None
    assert_fits(binary, tmp_path)


@pytest.mark.full
def test_debians_redis_starts_with_redis_conf(tmp_path: Path) -> None:
    assert_fits(DEBIAN_SERVER, tmp_path)


def test_who_reads_no_answers_is_cut_off(tmp_path: Path, server_binary: Path | None) -> None:
    """Who may only look could fill the server's memory so."""
    binary = server_binary or find_server()
    assert binary is not None
    with served(binary, tmp_path) as client:
        client.hset("large", mapping={f"f{i}": "x" * 10_000 for i in range(200)})
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(tmp_path / "s"))
            line.sendall(b"HGETALL large\r\n" * 200)  # 400 MB
            wait_for(lambda: client.info("clients")["connected_clients"] == 1, 20, lambda: client.info("memory"))
        assert client.info("memory")["used_memory_peak"] < 350 * 1024**2


def test_at_full_memory_it_refuses_and_evicts_nothing(tmp_path: Path, server_binary: Path | None) -> None:
    binary = server_binary or find_server()
    assert binary is not None
    with served(binary, tmp_path) as client:
        client.set("kept", "yes")
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("refused", "x")
        assert client.get("kept") == "yes"


def test_redis_conf_and_the_embedded_server_agree() -> None:
    lines = (DEPLOY / "redis.conf").read_text().splitlines()
    words = (shlex.split(line, comments=True) for line in lines)
    said = {pair[0]: pair[1] for pair in words if pair}
    assert {"appendonly", "maxmemory-policy", "notify-keyspace-events"} <= said.keys() & SETTINGS.keys()
    for name in said.keys() & SETTINGS.keys():
        assert said[name] == SETTINGS[name], name


# -- systemd units ---------------------------------------------------------------------------------


def unit_values(unit: Path) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(name, []).append(value)
    return values


def seconds_after(option: str, words: list[str]) -> float:
    return float(words[words.index(option) + 1])


def assert_understood(words: list[str]) -> None:
    """The program knows this command and all of its options."""
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from rq_sched.cli import main; sys.exit(main())", *words, "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert words[0] in run.stdout


def test_there_are_two_units() -> None:
    assert [unit.name for unit in UNITS] == ["rq-sched-scheduler@.service", "rq-sched-worker.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_run_what_the_program_knows(unit: Path) -> None:
    (line,) = unit_values(unit)["ExecStart"]
    assert_understood(shlex.split(line)[1:])


def test_the_worker_unit_lets_the_worker_stop_its_tasks() -> None:
    values = unit_values(DEPLOY / "rq-sched-worker.service")
    assert values["KillMode"] == ["mixed"]
    assert values["OOMPolicy"] == ["continue"]
    grace = seconds_after("--grace", shlex.split(values["ExecStart"][0]))
    assert float(values["TimeoutStopSec"][0]) >= grace + 15


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_go_on_after_any_failure_but_a_usage_error(unit: Path) -> None:
    values = unit_values(unit)
    assert values["Restart"] == ["always"]
    assert values["RestartPreventExitStatus"] == ["2"]
    assert values["StartLimitIntervalSec"] == ["0"]
    assert values["EnvironmentFile"] == ["/etc/rq-sched/environment"]


@pytest.mark.full
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    """On copies whose program exists: where rq-sched is installed is the administrator's choice."""
    (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/rq-sched/bin/rq-sched", "/bin/true"))
    run = _verify(tmp_path / unit.name)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.full
def test_systemd_would_find_something_wrong(tmp_path: Path) -> None:
    (tmp_path / "bad.service").write_text("[Service]\nExecStart=/bin/true\nKillMod=mixed\n")
    assert "KillMod" in _verify(tmp_path / "bad.service").stderr


def _verify(unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )


# -- Docker ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_names_a_server_two_schedulers_and_workers(compose: Any) -> None:
    services = compose["services"]
    assert services["scheduler"]["deploy"]["replicas"] == 2
    assert services["worker"]["deploy"]["replicas"] >= 2
    assert "valkey" in services["redis"]["image"]
    assert "./redis.conf:/etc/redis.conf:ro" in services["redis"]["volumes"]
    assert "data:/data" in services["redis"]["volumes"]
    assert "data" in compose["volumes"]


@pytest.mark.parametrize("name", ["scheduler", "worker", "cli"])
def test_compose_runs_what_the_program_knows(compose: Any, name: str) -> None:
    assert_understood(compose["services"][name]["command"])


def test_compose_keeps_the_server_private(compose: Any) -> None:
    server = compose["services"]["redis"]
    assert "ports" not in server
    assert any("REDIS_PASSWORD:?" in word for word in server["command"])


def test_compose_lets_a_worker_drain(compose: Any) -> None:
    worker = compose["services"]["worker"]
    grace = seconds_after("--grace", worker["command"])
    assert float(worker["stop_grace_period"].removesuffix("s")) >= grace + 15
    offered = int(worker["command"][worker["command"].index("--memory") + 1])
    assert int(worker["deploy"]["resources"]["limits"]["memory"].removesuffix("M")) > offered


def test_files_that_compose_names_exist(compose: Any) -> None:
    build = compose["services"]["worker"]["build"]
    context = DEPLOY / build["context"]
    assert (context / build["dockerfile"]).is_file()
    for volume in compose["services"]["redis"]["volumes"] + compose["services"]["worker"]["volumes"]:
        source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
        assert not source.startswith(".") or (DEPLOY / source).exists(), source


def test_the_image_is_not_root_and_installs_what_was_built() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    assert 'ENTRYPOINT ["rq-sched"]' in text
    assert "--no-index" in text
