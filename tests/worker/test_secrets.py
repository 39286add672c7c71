"""What tasks aren't to know: they search their own memory and environment for it, and those of their worker's other
processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from rq_sched.client.blocking import Client
from rq_sched.worker import system
from rq_sched.worker.parent.concealed import cleaned
from tests.faults.servers import Server
from tests.support import wait_for
from tests.worker.kit import ROOT

KEY = "c0ffee5ca1ab1ec0ffee5ca1ab1ec0ffee"
PASSWORD = "dea1beef0ddba11dea1beef0ddba11"
HUNTER = '''
import os, re

def found(data, first, rest):
    """Whether both halves stand there, one behind the other: the whole is nowhere in the task."""
    return any(data[m.end():m.end() + len(rest)] == rest for m in re.finditer(re.escape(first), data))

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""

def memory(pid):
    """What a process has in its memory, piece by piece."""
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for line in read(f"/proc/{pid}/maps").decode().splitlines():
                span, rights, *_ = line.split()
                begin, end = (int(part, 16) for part in span.split("-"))
                if rights[0] == "r" and "[v" not in line:
                    try:
                        mem.seek(begin)
                        yield mem.read(end - begin)
                    except (OSError, ValueError):
                        pass
    except OSError:
        return

def descriptors(pid):
    try:
        files = [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
        return [read(file) for file in files if "memfd" in os.readlink(file)]
    except OSError:
        return []

def hunt(first, rest):
    first, rest = first.encode(), rest.encode()
    places = []
    parent = os.getppid()
    neighbours = [int(name) for name in read(f"/proc/{parent}/task/{parent}/children").split()]
    for pid in [os.getpid(), parent, *neighbours]:
        who = "self" if pid == os.getpid() else read(f"/proc/{pid}/comm").decode().strip()
        looks = {"environ": [read(f"/proc/{pid}/environ")], "cmdline": [read(f"/proc/{pid}/cmdline")],
                 "memory": memory(pid), "descriptors": descriptors(pid)}
        places += [f"{who}: {what}" for what, pieces in looks.items() if any(found(p, first, rest) for p in pieces)]
    if any(found(text.encode(), first, rest) for text in os.environ.values()):
        places.append("os.environ")
    return sorted(set(places))
'''
# Root may look everywhere: a worker that is run by root gives up what makes it more than a user who owns its files.
LAUNCHER = """
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="rqs-", dir="/tmp"))
    (made / "hunter.py").write_text(HUNTER)
    (made / "key").write_text(KEY + "\n")
    (made / "password").write_text(PASSWORD + "\n")
    for path in (made, *made.iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def server(tmp_path: Path, server_binary: Path | None) -> Iterator[Server]:
    server = Server(tmp_path / "server", {"requirepass": PASSWORD}, binary=server_binary)
    server.url = f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"
    with server:
        yield server


class Worker:
    """A worker as its administrator starts it, with a scheduler."""

    def __init__(
        self, server: Server, folder: Path, words: list[str], variables: Mapping[str, str], *more: str
    ) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.client = Client(server.url, "secrets", signing_key=KEY)
        base = {name: value for name, value in os.environ.items() if not name.startswith("RQ_SCHED")}
        base |= {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}
        base["RQ_SCHED_NAMESPACE"] = "secrets"
        self._start(["--redis", server.url, "scheduler"], base)
        common = ["worker", "--node-id", "n1", "--cpu", "1", "--memory", "512", "--allow", "hunter:*", "--ttl", "5"]
        self._start([*words, *common, "--chdir", str(folder), *more], {**base, **variables})

    def _start(self, words: list[str], environment: Mapping[str, str]) -> None:
        with (self.folder / f"log{len(self.processes)}").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", LAUNCHER, "-m", "rq_sched.cli", *words],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                )
            )

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log*")))

    def hunt(self, secret: str) -> list[str]:
        handle = self.client.submit("hunter:hunt", secret[:11], secret[11:])
        try:
            found: list[str] = handle.result(timeout=30)
            return found
        except Exception as error:
            pytest.fail(f"{error!r}\n{self.log()}")

    @property
    def agent(self) -> int:
        (agent,) = [p.pid for p in psutil.Process(self.processes[1].pid).children() if p.name() == "rqs-agent"]
        return agent

    def close(self) -> None:
        self.client.close()
        for process in reversed(self.processes):
            process.terminate()
            process.wait(20)


@pytest.fixture
def started(server: Server, folder: Path) -> Iterator[list[Worker]]:
    workers: list[Worker] = []
    yield workers
    for worker in workers:
        worker.close()


def plain(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


@pytest.mark.parametrize(
    "given", ["words and variable", "variables", "files", "files and an address with the password"]
)
def test_no_secret_is_to_be_found(server: Server, folder: Path, started: list[Worker], given: str) -> None:
    words, variables = {
        "words and variable": (["--redis", server.url], {"RQ_SCHED_SIGNING_KEY": KEY}),
        "variables": ([], {"RQ_SCHED_REDIS_URL": server.url, "REDIS_URL": server.url, "RQ_SCHED_SIGNING_KEY": KEY}),
        "files": (
            [f"--redis={plain(server)}"],
            {
                "RQ_SCHED_REDIS_PASSWORD_FILE": str(folder / "password"),
                "RQ_SCHED_SIGNING_KEY_FILE": str(folder / "key"),
            },
        ),
        "files and an address with the password": (
            ["--redis", server.url],
            {"RQ_SCHED_REDIS_PASSWORD_FILE": "/nowhere", "RQ_SCHED_SIGNING_KEY_FILE": str(folder / "key")},
        ),
    }[given]
    worker = Worker(server, folder, words, variables, "--hide-redis")
    started.append(worker)
    assert worker.hunt(KEY) == []
    assert worker.hunt(PASSWORD) == []
    os.kill(worker.agent, signal.SIGKILL)  # the next agent knows them all the same
    wait_for(lambda: "the agent died" in worker.log(), 10, worker.log)
    assert worker.hunt(KEY) == []


def test_shared_addresses_are_found_and_the_key_is_not(server: Server, folder: Path, started: list[Worker]) -> None:
    """The control: the hunter finds what is there."""
    worker = Worker(server, folder, ["--redis", server.url], {"RQ_SCHED_SIGNING_KEY": KEY})
    started.append(worker)
    assert "os.environ" in worker.hunt(PASSWORD)
    assert worker.hunt(KEY) == []


def test_clean_words_and_variables() -> None:
    url = "redis://me:secret@h/0"
    words, variables = cleaned(url, ["x.py", "--redis", url, f"--redis={url}", "me"], {"A": "1", "REDIS_URL": url})
    assert words == ["x.py", "--redis", "redis://me:***@h/0", "--redis=redis://me:***@h/0", "me"]
    assert variables == {"A": "1", "REDIS_URL": "redis://me:***@h/0"}


def test_who_is_private_can_be_looked_at_again() -> None:
    """As a child is measured by its agent."""
    if not system.LINUX:
        return
    script = (
        "from rq_sched.worker import system as s, measure; import os; s.keep_private(); s.keep_private(False); "
        "print(measure.exact([os.getpid()]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(done.stdout) > 1
