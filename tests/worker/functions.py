"""Functions that the tests let a worker run."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from rq_sched import current_task, task
from rq_sched.context import StopRequested

UNKNOWN_MODULE = "this_module_is_not_installed"


def write_file(name: str, number: int) -> None:
    """As ``Path.write_text``, by ``os.write``."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT)
    try:
        os.write(descriptor, str(number).encode())
    finally:
        os.close(descriptor)


def add(a: int, b: int = 0) -> int:
    return a + b


@task(cpu=1)
def marked(a: int) -> int:
    return a + 1


async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def loop_of() -> int:
    """Which event loop runs it; leaves something in it."""
    asyncio.ensure_future(asyncio.sleep(1000))  # noqa: RUF006
    return id(asyncio.get_running_loop())


def number_of_process() -> int:
    return os.getpid()


def submits(target: str, *args: Any) -> str:
    """Submits another task where it runs itself."""
    from rq_sched import Client  # here: it makes the import of this module three times as slow

    with Client() as client:
        return client.submit(target, *args, task_id="from-inside").id


def environment(*names: str) -> list[str | None]:
    return [os.environ.get(name) for name in names]


def folder(change: str = "") -> str:
    before = os.getcwd()
    if change:
        os.chdir(change)
    return before


def fail(text: str) -> None:
    def deeper() -> None:
        raise ValueError(text)

    deeper()


def interrupt() -> None:
    raise KeyboardInterrupt


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def unprintable() -> None:
    raise Unprintable


def recurse(n: int = 0) -> int:
    return recurse(n + 1) + 1


def leave(code: int) -> None:
    """SystemExit."""
    sys.exit(code)


def vanish(code: int) -> None:
    """Ends the process without a word."""
    print("almost gone", flush=True)
    os._exit(code)


def segfault() -> None:
    ctypes.string_at(0)


def kill_the_agent() -> None:
    """What takes a node down at once: the agent hasn't reported this task's start yet."""
    worker = psutil.Process(os.getppid()).parent()  # above the subreaper
    assert worker is not None
    (agent,) = [child for child in worker.children() if child.name() == "rqs-agent"]
    agent.kill()
    time.sleep(60)


def anything() -> object:
    return object()


def many_bytes(n: int) -> bytes:
    return b"x" * n


def needs_unknown() -> None:
    __import__(UNKNOWN_MODULE)


def speak() -> None:
    print("one")
    print("two", file=sys.stderr)
    subprocess.run(["echo", "three"], check=True)
    ctypes.CDLL(None).puts(b"four")
    print("five", end="")


def speak_much(lines: int) -> None:
    for n in range(lines):
        print(f"line {n:06}")


def close_output() -> None:
    sys.stdout.close()
    sys.stderr.close()


def say_and_wait(path: str) -> None:
    """Prints, then waits for a file."""
    print("so far so good")
    wait_for_file(path)


def wait_for_file(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.005)
    return "there"


def _note(path: str, what: str) -> None:
    with open(path, "a") as file:
        file.write(what + "\n")


def sleep(path: str, seconds: float = 60) -> str:
    """Sleeps, and notes how that went."""
    _note(path, "begun")
    try:
        time.sleep(seconds)
    except StopRequested:
        _note(path, "cancelled")
        raise
    return "slept"


async def sleep_later(path: str) -> None:
    _note(path, "begun")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        _note(path, "cancelled")
        raise


def sleep_cooperatively(path: str) -> str:
    me = current_task()
    _note(path, "begun")
    while not me.cancelled:
        time.sleep(0.005)
    _note(path, "looked")
    return "ended by itself"


def sleep_deaf(path: str) -> None:
    """Hears no SIGTERM, and neither does what it has started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 61"])
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 62"], start_new_session=True)
    _note(path, f"begun {os.getpid()}")
    while True:
        time.sleep(1)


def start_processes(path: str, sessions: bool = False) -> int:
    """Leaves processes behind: in the group, in a session of its own, and a daemon whose parent is gone."""
    pids = [subprocess.Popen(["sleep", "63"]).pid]
    pids.append(subprocess.Popen(["sleep", "64"], start_new_session=True).pid)
    daemon = subprocess.run(
        ["sh", "-c", "setsid sleep 65 > /dev/null 2>&1 & echo $!"], capture_output=True, check=True, text=True
    )
    pids.append(int(daemon.stdout))
    _note(path, " ".join(map(str, pids)))
    return len(pids)


def start_processes_and(path: str, then: str) -> None:
    start_processes(path)
    actions: dict[str, Callable[[], Any]] = {"vanish": lambda: os._exit(1), "sleep": lambda: time.sleep(60)}
    actions[then]()


def about_me() -> list[Any]:
    me = current_task()
    return [me.id, me.attempt, me.cpu, me.memory]


def ask_in_a_fork() -> str:
    """The first to ask is a process that the task has forked."""
    ears, mouth = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            current_task().progress(0.5)
        except Exception as error:
            os.write(mouth, str(error).encode())
        os._exit(0)
    os.close(mouth)
    with open(ears) as heard:
        said = heard.read()
    os.waitpid(pid, 0)
    return said


def ask_when_told_to_stop(path: str) -> None:
    """It asks nothing before."""
    _note(path, "begun")
    try:
        time.sleep(60)
    except StopRequested:
        _note(path, f"cancelled: {current_task().cancelled}")
        raise


def resize() -> list[Any]:
    """Gives back, asks for more than there is, then for what there is."""
    me = current_task()
    told: list[Any] = [[me.cpu, me.memory]]
    me.shrink_to(cpu=1, memory="128M")
    told.append([me.cpu, me.memory, os.environ["RQ_SCHED_CPUS"], os.environ["OMP_NUM_THREADS"]])
    told.append([me.try_grow_to(cpu=1000), me.cpu])
    told.append([me.try_grow_to(cpu=3), me.cpu, os.environ["RQ_SCHED_MEMORY_MB"]])
    told.append([me.try_grow_to(cpu=2), me.cpu])  # it has more already
    return told


def progress(path: str) -> None:
    for n in range(1000):
        current_task().progress(n / 1000)
    wait_for_file(path)


def close_descriptors() -> None:
    """As programs do that want to be daemons."""
    os.closerange(3, 1000)


def change_everything() -> None:
    """What a task should not leave to the next one."""
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def release_and_wait(path: str) -> None:
    current_task().shrink_to(cpu=1)
    wait_for_file(path)


def square(n: int) -> int:
    return n * n


def squares(n: int) -> list[int]:
    with multiprocessing.Pool(2) as pool:
        return pool.map(square, range(n))


def write_to_socket(data: bytes) -> None:
    os.write(3, data)
    time.sleep(60)


def say_my_name() -> None:
    print("I am", current_task().id)


def element(*values: str) -> list[Any]:
    """What an element knows of itself, and how long its arguments are."""
    print("element", current_task().index)
    return [current_task().index, os.environ.get("RQ_SCHED_ARRAY_INDEX"), sum(map(len, values))]


def fail_once_at(index: int, mark: str) -> int | None:
    """The element of this index fails in its first attempt, which leaves a mark."""
    here = current_task()
    if here.index == index and not Path(mark).exists():
        Path(mark).touch()
        raise ValueError(f"the first attempt of {index}")
    return here.index
