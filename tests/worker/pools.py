"""Tasks that use multiprocessing, by each of its start methods; run by workers in tests."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from multiprocessing import shared_memory
from typing import Any


def square(n: int) -> int:
    return n * n


def squares(method: str, n: int) -> list[int]:
    """By an executor: a queue, a semaphore, a feeding thread."""
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(square, range(n)))


def by_pool(method: str, n: int) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(square, range(n))
        pool.close()
        pool.join()  # else it is terminated, which may hang: a process may be killed while it holds the pool's lock
        return found


def one_process(method: str) -> Any:
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=square, args=(3,))
    process.start()
    process.join()
    return process.exitcode


def left_running(method: str) -> int:
    """A pool that nobody closes."""
    pool = multiprocessing.get_context(method).Pool(2)
    return pool.apply(os.getpid)


def shared() -> int:
    memory = shared_memory.SharedMemory(create=True, size=1024)
    memory.close()
    memory.unlink()
    return os.getpid()
