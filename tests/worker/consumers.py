"""Functions that use cores and memory, for the tests of what a worker enforces."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rq_sched import current_task

MB = 1024**2


def mask() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def masks_of_threads() -> list[list[int]]:
    return [sorted(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task")]


def mask_of_command() -> str:
    text = "import os; print(len(os.sched_getaffinity(0)))"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, check=True, text=True).stdout.strip()


def widen(thread: bool) -> int:
    """As programs do that think they know better; ``thread``: leaves one behind."""
    if thread:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return os.getpid()


def follow(path: str, until: str) -> list[int]:
    """Notes each change of what it and a process that it has started may use: cores by mask, by ``current_task()``,
    of the process."""
    other = subprocess.Popen(["sleep", "1000"])
    me, last = current_task(), None
    while not Path(until).exists():
        now = (len(os.sched_getaffinity(0)), me.cpu, len(os.sched_getaffinity(other.pid)))
        if now != last:
            last = now
            with open(path, "a") as file:
                file.write(f"{now[0]} {now[1]} {now[2]}\n")
        time.sleep(0.002)
    other.kill()
    other.wait()
    return [me.cpu, me.memory]


def spin(until: str, threads: int = 1) -> None:
    """Uses cores."""
    for _ in range(threads - 1):
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
    while not Path(until).exists():
        pass


def hold(megabytes: int, until: str) -> int:
    """Uses so much memory until there is a file."""
    data = _filled(megabytes)
    while not Path(until).exists():
        time.sleep(0.005)
    return len(data) // MB


def leak(path: str, step: int, pause: float, most: int) -> int:
    """Uses ever more memory, and notes how much."""
    held: list[bytearray] = []
    while len(held) * step < most:
        held.append(_filled(step))
        Path(path + "+").write_text(str(len(held) * step))
        os.replace(path + "+", path)  # it may be killed at any time
        time.sleep(pause)
    return len(held) * step


def hold_then_leak(until: str, path: str, step: int, pause: float, most: int) -> int:
    """Little at first, much later."""
    return hold(50, until) and leak(path, step, pause, most - 50)


def blink(megabytes: int) -> int:
    """All at once."""
    return len(_filled(megabytes))


def fork_and_hold(path: str, processes: int, megabytes: int, until: str) -> int:
    """Processes that use so much each."""
    text = f"import time; x = b'x' * {megabytes * MB}; open({path!r}, 'a').write('.'); time.sleep(1000)"
    started = [subprocess.Popen([sys.executable, "-c", text]) for _ in range(processes)]
    while not Path(until).exists():
        time.sleep(0.005)
    for process in started:
        process.kill()
        process.wait()
    return processes


def share(megabytes: int, processes: int, until: str) -> int:
    """Forked processes that read what one has written, and a file that all have mapped: little memory in all."""
    data = _filled(megabytes)
    with open(sys.executable, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            total = sum(data[i] for i in range(0, len(data), 4096)) + sum(
                mapped[i] for i in range(0, len(mapped), 4096)
            )
            while not Path(until).exists():
                time.sleep(0.01)
            os._exit(0 if total else 1)
        children.append(pid)
    return sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)


def keep_forever(megabytes: int) -> int:
    """What a library might do that it loads."""
    _kept.append(_filled(megabytes))
    time.sleep(0.3)
    return os.getpid()


_kept: list[Sequence[int]] = []


def linger(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def _filled(megabytes: int) -> bytearray:
    data = bytearray(megabytes * MB)
    for i in range(0, len(data), 4096):
        data[i] = 1
    return data
