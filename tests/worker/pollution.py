"""What tasks leave behind, and what the next one finds: run by the worker in ``test_pollution.py``.

``ctypes`` and ``resource`` are imported only where they are used: a child is looked at more closely from then on.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import locale
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_kept: list[Any] = []


# -- what the next task finds ---------------------------------------------------------------------


def look() -> dict[str, Any]:
    """Everything that a task could find changed."""
    import resource

    return {
        "pid": os.getpid(),
        "environment": {name: value for name, value in os.environ.items() if name != "RQ_SCHED_TASK_ID"},
        "environment in C": _c_environment(),
        "hour": time.localtime(0).tm_hour,
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": _or_error(os.getcwd),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in _names(resource, "RLIMIT_")},
        "nice": os.nice(0),
        "policy": os.sched_getscheduler(0),
        "cores": sorted(os.sched_getaffinity(0)),
        "handlers": {int(number): str(signal.getsignal(number)).split(" at ")[0] for number in signal.valid_signals()},
        "timers": [signal.getitimer(timer) for timer in (0, 1, 2)],
        "descriptors": _descriptors(),
        "output flags": fcntl.fcntl(1, fcntl.F_GETFL),
        "status": _status(),
        "prctl": [_prctl(option) for option in (2, 37)]
        + [_libc().prctl(option, 0, 0, 0, 0) for option in (3, 27, 30, 42)],
        "personality": _libc().personality(0xFFFFFFFF),
        "disk": _libc().syscall(_IOPRIO_GET, 1, 0),
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
        "leads": [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid()],
        "root": os.stat("/").st_ino,
        "oom": Path("/proc/self/oom_score_adj").read_text(),
        "streams": [type(stream).__name__ + stream.name.__repr__() for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "open": [stream.closed for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "text": [
            (one.encoding, one.errors, one.line_buffering, sorted(vars(one)))
            for one in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "loop": _event_loop(),
        "temporary": tempfile.gettempdir(),
        "start": multiprocessing.get_start_method(allow_none=True),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "python": [
            sys.getrecursionlimit(),
            sys.getswitchinterval(),
            gc.isenabled(),
            gc.get_threshold(),
            sys.gettrace(),
            socket.getdefaulttimeout(),
            sys.get_int_max_str_digits(),
            getattr(sys, "tracebacklimit", None),
            sys.dont_write_bytecode,
            gc.get_debug(),
            len(gc.callbacks),
            threading.stack_size(),
        ],
        "signals are written to": signal.set_wakeup_fd(-1),
        "hooks": [str(hook).split(" at ")[0] for hook in (sys.excepthook, sys.displayhook, threading.excepthook)],
        "warnings": len(warnings.filters),
        "logging": [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        "threads": len(threading.enumerate()),
    }


async def look_later() -> dict[str, Any]:
    await asyncio.sleep(0)
    found = look()
    await asyncio.sleep(0)
    return found


def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None)


def _c_environment() -> list[str]:
    import ctypes

    pointers = ctypes.cast(ctypes.c_void_p.in_dll(_libc(), "environ").value or 0, ctypes.POINTER(ctypes.c_char_p))
    found: list[bytes] = []
    while (text := pointers[len(found)]) is not None:
        found.append(text)
    return sorted(text.decode() for text in found if not text.startswith(b"RQ_SCHED_TASK_ID="))


def _descriptors() -> dict[str, str]:
    """Without the loop's, and without those that looking opens; what a socket or pipe is called tells nothing."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        target = _or_error(lambda number=number: os.readlink(f"/proc/self/fd/{number}"))  # type: ignore[misc]
        kind = target.partition(":")[0] if not target.startswith("/proc") else "proc"
        if "epoll" not in target and number.isdigit() and int(number) < 3:
            found[number] = kind
    return found


def _status() -> dict[str, str]:
    lines = (line.partition(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    names = ("Name", "Umask", "Uid", "Gid", "Groups", "Threads", "SigBlk", "SigIgn", "SigCgt", "CapEff", "NoNewPrivs")
    found = {name: text for name, _, text in lines if name in (*names, "Seccomp")}
    found["SigCgt"] = hex(int(found["SigCgt"], 16) & ~(0b11 << 31))  # the C library's own, from the first thread on
    return found


def _prctl(option: int) -> int:
    import ctypes

    answer = ctypes.c_int()
    _libc().prctl(option, ctypes.byref(answer), 0, 0, 0)
    return answer.value


def _names(module: Any, prefix: str) -> list[str]:
    return [name for name in dir(module) if name.startswith(prefix)]


_IOPRIO_SET, _IOPRIO_GET = (251, 252) if os.uname().machine == "x86_64" else (30, 31)


def _event_loop() -> str:
    """The kind of loop that a task has, or gets."""
    try:
        return type(asyncio.get_running_loop()).__name__
    except RuntimeError:
        policy = asyncio.get_event_loop_policy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop = policy.get_event_loop()
        loop.close()
        return type(loop).__name__


def _or_error(function: Callable[[], str]) -> str:
    try:
        return function()
    except OSError as error:
        return str(error)


# -- what a task leaves behind --------------------------------------------------------------------


def _change_environment() -> None:
    os.environ["PATH"] = "/nowhere"
    os.environ["SECRET"] = "of another"
    os.environ["OMP_NUM_THREADS"] = "99"
    os.environ["LD_PRELOAD"] = ""
    os.environ["RQ_SCHED_CPUS"] = "99"
    os.environ.pop("HOME", None)


def _change_zone() -> None:
    os.environ["TZ"] = "Pacific/Auckland"
    time.tzset()


def _change_environment_in_c() -> None:
    _libc().setenv(b"FROM_C", b"1", 1)
    _libc().setenv(b"PATH", b"/nowhere", 1)
    _libc().unsetenv(b"HOME")


def _replace_environment() -> None:
    os.environ = {"PATH": "/nowhere"}  # type: ignore[assignment]  # noqa: B003


def _stay_in_a_folder_that_is_gone() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def _limit(soft_only: bool) -> None:
    import resource

    for name, value in (("RLIMIT_FSIZE", 10_000), ("RLIMIT_CORE", 0), ("RLIMIT_NOFILE", 64), ("RLIMIT_CPU", 1000)):
        kind = getattr(resource, name)
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1] if soft_only else value))


def _handle(*_: object) -> None:
    raise TimeoutError("a signal of another task")


def _handle_signals() -> None:
    for number in (signal.SIGALRM, signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN + 3):
        signal.signal(number, _handle)


def _ignore_signals() -> None:
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGRTMIN + 3):
        signal.signal(number, signal.SIG_IGN)


def _block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM})
    os.kill(os.getpid(), signal.SIGUSR1)  # pending: it would kill the next one


def _leave_timers() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)
    signal.setitimer(signal.ITIMER_PROF, 0.2)


def _leave_timer_of_posix() -> None:
    import ctypes

    _libc().timer_create(1, None, ctypes.byref(ctypes.c_void_p()))


def _take_place_of(*numbers: int) -> Callable[[], None]:
    def take() -> None:
        file = os.open(os.devnull, os.O_RDWR)
        for number in numbers:
            os.dup2(file, number)
        os.close(file)

    return take


def _replace_streams() -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.stderr.close()


def _wake_up() -> None:
    """And the number is free for others again."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    signal.set_wakeup_fd(theirs)
    os.close(ours)
    os.close(theirs)


def _change_python() -> None:
    sys.path[:] = ["/nowhere"]
    sys.argv = ["another"]
    sys.setrecursionlimit(200)
    sys.setswitchinterval(1.0)
    sys.settrace(lambda *_: None)
    sys.excepthook = lambda *_: None
    gc.disable()
    gc.set_threshold(1)
    gc.set_debug(gc.DEBUG_UNCOLLECTABLE)
    gc.callbacks.append(lambda *_: None)
    sys.set_int_max_str_digits(640)
    sys.tracebacklimit = 0
    sys.dont_write_bytecode = True
    threading.stack_size(65536)
    socket.setdefaulttimeout(0.001)
    warnings.simplefilter("error")
    logging.basicConfig(level=logging.DEBUG)
    logging.disable(logging.CRITICAL)
    locale.setlocale(locale.LC_ALL, "C")


async def _nothing() -> None: ...


def _tell_once() -> None:
    """What a program does at its beginning, and may do once only."""
    if asyncio._get_running_loop() is None:
        asyncio.run(_nothing())
    multiprocessing.set_start_method("fork")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = None
        tempfile.gettempdir()


class _Broken(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        raise RuntimeError("of another task")


def _set_policy() -> None:
    asyncio.set_event_loop_policy(_Broken())


def _close_streams() -> None:
    streams: Any = sys
    streams.stdin.close()
    streams.stdout.buffer.raw.close()
    streams.stderr.detach()
    streams.__stdout__.close()


def _change_streams() -> None:
    streams: Any = sys
    streams.stdin.detach()
    streams.stdout.reconfigure(encoding="ascii", errors="strict", line_buffering=False)
    streams.stderr.write = len


def _change_in_the_kernel() -> None:
    libc = _libc()
    libc.prctl(29, 1_000_000_000, 0, 0, 0)  # the slack of timers
    libc.prctl(41, 1, 0, 0, 0)  # no huge pages
    libc.personality(0x0040000)  # addresses that aren't random
    libc.syscall(_IOPRIO_SET, 1, 0, 3 << 13)


def _go_on(seconds: float = 60) -> None:
    """What goes on in a thread: prints, and speaks for its task."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        print("from another task", flush=True)
        time.sleep(0.001)


def _start_thread() -> None:
    threading.Thread(target=_go_on, daemon=True).start()


def _join_threads() -> None:
    """They are gone for Python, and not yet for the kernel."""
    for _ in range(20):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


def _start_native_thread() -> None:
    import ctypes

    sleep = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("sleep", _libc()))
    _kept.append(sleep)
    handle = ctypes.c_ulong()
    assert _libc().pthread_create(ctypes.byref(handle), None, sleep, ctypes.c_void_p(60)) == 0


def _start_loop_in_thread() -> None:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    _kept.append(loop)


def _fork(then: Callable[[], Any]) -> Callable[[], Any]:
    def fork() -> Any:
        pid = os.fork()
        if pid == 0:
            return then()
        os.waitpid(pid, 0)
        return "the task's own"

    return fork


def _raise() -> None:
    raise ValueError("in the forked process")


def _drop_privileges() -> None:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


def _fill() -> None:
    _kept.append(bytearray(b"x") * (80 << 20))


def _close_in_a_line() -> None:
    print("of the first", end="")
    os.close(1)


def _print_without_end() -> None:
    _libc().printf(b"%s", b"of the first")
    print("of the first", end="")


def _call(name: str, *arguments: Any) -> Callable[[], Any]:
    return lambda: getattr(_libc(), name)(*arguments)


SAME, NEW, EITHER = "the same child", "a new child", "either"
LEFT: dict[str, tuple[Callable[[], Any], str]] = {
    "environment": (_change_environment, SAME),
    "environment emptied": (os.environ.clear, SAME),
    "environment replaced": (_replace_environment, SAME),
    "environment in C": (_change_environment_in_c, SAME),
    "environment emptied in C": (_call("clearenv"), SAME),
    "putenv": (lambda: os.putenv("FROM_C", "1"), SAME),
    "time zone": (_change_zone, SAME),
    "folder": (lambda: os.chdir("/"), SAME),
    "folder gone": (_stay_in_a_folder_that_is_gone, SAME),
    "umask": (lambda: os.umask(0o777), SAME),
    "soft limits": (lambda: _limit(True), SAME),
    "hard limits": (lambda: _limit(False), EITHER),  # root may raise them again
    "nice": (lambda: os.nice(5), EITHER),
    "cores": (lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}), SAME),
    "policy": (lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)), SAME),
    "handlers": (_handle_signals, SAME),
    "ignored signals": (_ignore_signals, SAME),
    "blocked signals": (_block_signals, SAME),
    "alarm": (lambda: signal.alarm(1), SAME),
    "timers": (_leave_timers, SAME),
    "timer of POSIX": (_leave_timer_of_posix, NEW),
    "input closed": (lambda: os.close(0), SAME),
    "output closed": (lambda: os.closerange(1, 3), SAME),
    "output replaced": (_take_place_of(1, 2), SAME),
    "input replaced": (_take_place_of(0), SAME),
    "output closed in a line": (_close_in_a_line, SAME),
    "output not blocking": (lambda: os.set_blocking(1, False), SAME),
    "descriptor left": (lambda: _kept.append(open(os.devnull)), NEW),  # noqa: SIM115
    "high descriptor left": (lambda: os.dup2(0, 200), NEW),
    "streams": (_replace_streams, SAME),
    "streams none": (lambda: setattr(sys, "stdout", None), SAME),
    "python": (_change_python, SAME),
    "told once": (_tell_once, SAME),
    "loop policy": (_set_policy, SAME),
    "streams closed": (_close_streams, SAME),
    "streams changed": (_change_streams, SAME),
    "in the kernel": (_change_in_the_kernel, SAME),
    "line not blocking": (lambda: os.set_blocking(3, False), SAME),
    "parent stopped": (lambda: os.kill(os.getppid(), signal.SIGSTOP), EITHER),
    "where signals are written": (_wake_up, SAME),
    "thread": (_start_thread, NEW),
    "threads that have ended": (_join_threads, SAME),
    "native thread": (_start_native_thread, NEW),
    "loop in a thread": (_start_loop_in_thread, NEW),
    "loop never closed": (lambda: _kept.append(asyncio.new_event_loop()), NEW),
    "fork that returns": (_fork(lambda: "from the forked process"), SAME),
    "fork that raises": (_fork(_raise), SAME),
    "fork that exits": (_fork(lambda: sys.exit(3)), SAME),
    "process": (lambda: os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60"), NEW),
    "name": (_call("prctl", 15, b"another", 0, 0, 0), SAME),
    "death with its parent": (_call("prctl", 1, 0, 0, 0, 0), SAME),
    "dumpable": (_call("prctl", 4, 0, 0, 0, 0), SAME),
    "subreaper": (_call("prctl", 36, 1, 0, 0, 0), SAME),
    "no new privileges": (_call("prctl", 38, 1, 0, 0, 0), NEW),
    "oom score": (lambda: Path("/proc/self/oom_score_adj").write_text("900"), NEW),
    "memory": (_fill, NEW),
    "output without an end": (_print_without_end, SAME),
}
FOR_ROOT: dict[str, tuple[Callable[[], Any], str]] = {
    "privileges": (_drop_privileges, NEW),
    "effective user": (lambda: os.seteuid(65534), NEW),
    "root": (lambda: os.chroot(tempfile.gettempdir()), NEW),
    "secure bits": (_call("prctl", 28, 1, 0, 0, 0), NEW),
    "mounts": (_call("unshare", 0x20000), NEW),
}


def pollute(what: str) -> int:
    (LEFT | FOR_ROOT)[what][0]()
    return os.getpid()


async def pollute_later(what: str) -> int:
    await asyncio.sleep(0)
    (LEFT | FOR_ROOT)[what][0]()
    await asyncio.sleep(0)
    return os.getpid()


async def leave_in_loop(what: str) -> int:
    """What an event loop keeps."""
    loop = asyncio.get_running_loop()
    if what == "task":
        _kept.append(asyncio.ensure_future(asyncio.sleep(60)))
    elif what == "call":
        loop.call_later(0.001, print, "from another task")
    elif what == "thread":
        await asyncio.to_thread(int)
    elif what == "signal":
        loop.add_signal_handler(signal.SIGUSR1, print)
    elif what == "writer":
        loop.add_writer(1, int)
    elif what == "settings":
        loop.set_debug(True)
    return os.getpid()


def renew() -> None:
    """The next task has a new child."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


LOOK_FROM_OUTSIDE = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.worker.pollution import look
print(json.dumps(look()))
"""


def outside(text: str) -> dict[str, Any]:
    """What a command has found, without what is its own."""
    found: dict[str, Any] = json.loads(text)
    return {
        name: found[name] for name in ("environment", "folder", "limits", "nice", "policy", "cores", "output flags")
    } | {
        "umask": found["status"]["Umask"],
        "signals": [found["status"][name] for name in ("SigBlk", "SigIgn")],
        "descriptors": found["descriptors"],
    }


def leave(megabytes: int) -> int:
    """A cache that only grows."""
    _kept.append(bytearray(b"x") * (megabytes << 20))
    return os.getpid()


def last(seconds: float) -> int:
    """So long that what it uses is looked at."""
    time.sleep(seconds)
    return os.getpid()
