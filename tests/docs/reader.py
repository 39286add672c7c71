"""A reader who does what a page says: types its commands, writes its files, compares what is printed.

- ``sh``: each command is typed, one after the other, in one session. Its exit code must be 0, or what a comment at its
  end says (``# exit code 1``). What goes on until it is stopped (``rq-sched up``, ``scheduler``, ``worker``) gets a
  terminal of its own, and is stopped at the end.
- ``python``: begins with ``# NAME.py`` and becomes that file.
- ``text``: what the block before it printed. ``…`` stands for anything within a line, alone for any number of lines.
- Everything else is only looked at.

The reader has a home and a folder of its own. Only what can't be so in a test is replaced: the package index by a
wheel of this checkout (the environment has no pip of its own), and the address ``redis.example:6379`` by a server of
the test.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.docs.pages import ROOT, Block, blocks, name_of
from tests.support import wait_for

INSTALL = "pip install 'rq-sched[embedded]'"
VENV, VENV_WITHOUT_PIP = "python3 -m venv .venv", "python3 -m venv --without-pip .venv"
"""The second takes a tenth of the time."""
REDIS = "redis.example:6379"
READY = {"up": "ready: ", "worker": "node joined", "scheduler": "scheduler ready"}
"""What says that a long-running command has begun."""
_EXIT_CODE = re.compile(r"# exit code (\d+)$")
_LONG = re.compile(r"^rq-sched (up|worker|scheduler)\b(?!.*--help)")
_NOT_COPIED = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__", "docs", "bench", "tests")


def make_wheel(folder: Path) -> Path:
    """A wheel of this checkout, made from a copy of it."""
    copy = folder / "source"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=_NOT_COPIED)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def dependencies(folder: Path) -> Path:
    """A ``.pth`` file that leads to all that is installed here, except rq-sched itself."""
    shadow = folder / "dependencies"
    shadow.mkdir()
    for place in {Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))}:
        for entry in place.iterdir():
            ours = entry.name.replace("-", "_").startswith(("rq_sched", "__editable__"))
            if not ours and entry.suffix != ".pth" and not (shadow / entry.name).exists():
                (shadow / entry.name).symlink_to(entry)
    (folder / "dependencies.pth").write_text(f"{shadow}\n")
    return folder / "dependencies.pth"


@dataclass
class Terminal:
    """A command that goes on."""

    command: str
    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        return self.output.read_text()


@dataclass
class Reader:
    """Follows pages in a folder of its own.

    Parameters:
        folder: what is written, a home included, stays below it.
        install: the command that stands for ``INSTALL``.
        redis: HOST:PORT of the server that stands for ``REDIS``.
    """

    folder: Path
    install: str
    redis: str
    terminals: list[Terminal] = field(default_factory=list)
    printed: str = ""

    def __post_init__(self) -> None:
        self.place = self.folder / "home"
        self.place.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RQ_SCHED", "XDG"))}
        python = Path(sys.executable).parent
        path = [entry for entry in kept["PATH"].split(os.pathsep) if Path(entry) != python]
        system = Path(os.path.realpath(sys.executable)).parent
        self.environment = {
            **kept, "HOME": str(self.place), "PATH": os.pathsep.join([str(self._python3()), str(system), *path]),
            "PS1": "", "VIRTUAL_ENV": "", "TERM": "dumb", "COLUMNS": "120",
        }  # fmt: skip
        self.environment.pop("REDIS_URL", None)

    def _python3(self) -> Path:
        """A folder in which ``python3`` is the Python that runs this test, as readers have one."""
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / "python3").symlink_to(os.path.realpath(sys.executable))
        return folder

    def type(self, *commands: str) -> None:
        """Commands that stand on no page."""
        for command in commands:
            self._type(command, "before the page")

    def follow(self, page: Path) -> None:
        """Everything that the page says, in order."""
        before = ""
        for block in blocks(page):
            where = f"{name_of(page)}:{block.line}"
            if block.language == "sh":
                self.printed = ""
                for command in commands(block.text):
                    self._type(command, where)
            elif block.language == "python":
                self._write(block, where)
            elif block.language == "text" and before == "sh":
                assert matches(block.text, self.printed), f"{where}: printed was\n{self.printed}"
            before = block.language

    def _write(self, block: Block, where: str) -> None:
        name = re.match(r"# ([\w/]+\.py)\n", block.text)
        assert name, f"{where}: the first line must name the file: # NAME.py"
        file = self.place / name[1]
        file.write_text(block.text + "\n")
        shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)  # readers don't write twice within a second

    def _type(self, command: str, where: str) -> None:
        typed = command.replace(VENV, VENV_WITHOUT_PIP).replace(INSTALL, self.install).replace(REDIS, self.redis)
        if kind := _LONG.match(typed):
            self._open(typed, READY[kind[1]], where)
            return
        expected = int(code[1]) if (code := _EXIT_CODE.search(typed)) else 0
        state = self.folder / "session"
        script = f"{typed}\nrq_code=$?\n{{ pwd; env -0; }} >{shlex.quote(str(state))}\nexit $rq_code"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        self.printed += done.stdout
        known = "".join(f"\n--- {terminal.command}\n{terminal.said()}" for terminal in self.terminals)
        assert done.returncode == expected, f"{where}: {typed}: exit code {done.returncode}\n{done.stdout}{known}"
        place, _, variables = state.read_bytes().partition(b"\n")
        self.place = Path(os.fsdecode(place))
        pairs = (entry.partition("=") for entry in os.fsdecode(variables).split("\0") if entry)
        self.environment = {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "PWD", "OLDPWD")}

    def _open(self, command: str, ready: str, where: str) -> None:
        output = self.folder / f"terminal-{len(self.terminals)}"
        with output.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        terminal = Terminal(command, process, output)
        self.terminals.append(terminal)
        wait_for(lambda: ready in terminal.said() or process.poll() is not None, 30, terminal.said)
        assert process.poll() is None, f"{where}: {command}: {terminal.said()}"
        self.printed += terminal.said()

    def leave(self) -> None:
        """Ctrl-C in every terminal, the newest first; nothing may be left running."""
        for terminal in reversed(self.terminals):
            family = psutil.Process(terminal.process.pid).children(recursive=True)
            terminal.process.send_signal(signal.SIGINT)
            code = terminal.process.wait(30)
            _, left = psutil.wait_procs(family, timeout=15)
            assert not left, left
            assert code == 0, f"{terminal.command}: exit code {code}\n{terminal.said()}"


def commands(text: str) -> list[str]:
    r"""The commands of a block: a line each, or more where a line ends with a backslash or an open quote.

    >>> commands("a 'b\nc'\n# only said\nd \\\n e")
    ["a 'b\nc'", 'd \\\n e']
    """
    found: list[str] = []
    gathered = ""
    for line in text.splitlines():
        gathered = f"{gathered}\n{line}" if gathered else line
        quoted = re.sub(r"(^|\s)#.*", "", gathered) if "'" not in gathered.partition(" #")[0] else gathered
        if line.endswith("\\") or quoted.count("'") % 2:
            continue
        if gathered.strip() and not gathered.lstrip().startswith("#"):
            found.append(gathered)
        gathered = ""
    assert not gathered, f"not closed: {gathered}"
    return found


def matches(expected: str, printed: str) -> bool:
    """Whether it was printed so.

    >>> matches("a … c\\n…\\nz", "a b c\\nmore\\nand more\\nz\\n")
    True
    >>> matches("a", "a\\nb\\n")
    False
    """
    parts = []
    for line in expected.splitlines():
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(r"[^\n]*".join(re.escape(piece) for piece in line.rstrip().split("…")) + r"[ ]*\n")
    return re.fullmatch("".join(parts), printed if printed.endswith("\n") else printed + "\n") is not None
