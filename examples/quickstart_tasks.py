"""Functions that ``quickstart.py`` submits. They stand in a module of their own, as workers import them by name."""

from __future__ import annotations

import time

from rq_sched import current_task, task


@task(cpu=1, memory="64M", retries=2)
def count_primes(below: int) -> int:
    """How many primes there are below a number."""
    sieve = bytearray([1]) * below
    for n in range(2, int(below**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, below, n)))
    return sum(sieve[2:])


@task(cpu=2, memory=64)
def think(seconds: float) -> str:
    """Takes its time, says how far it is, and gives back what it doesn't need."""
    me = current_task()
    me.shrink_to(cpu=1)
    for step in range(100):
        time.sleep(seconds / 100)
        me.progress(step / 100)
    return f"{me.id} thought about it in attempt {me.attempt}"
