"""Celery: results ignored, many messages prefetched (short tasks); prefork, or two solo nodes."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery

from bench.peers import noop

app = Celery("bench", broker=noop.URL)
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
f = app.task(name="f")(noop.f)
_START = ["celery", "-A", "bench.peers.app_celery", "worker", "-l", "ERROR", "--without-gossip", "--without-mingle"]
WORKERS = {
    "prefork 2": [[*_START, "--pool", "prefork", "-c", "2"]],
    "2 solo": [[*_START, "--pool", "solo", "-n", f"w{i}@bench"] for i in range(2)],
}
COUNTS = {"prefork 2": 2000, "2 solo": 3000}


def submit(numbers: Sequence[int]) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for n in numbers:
            f.apply_async((n, "x"), producer=producer)


def submit_one(number: int) -> None:
    f.delay(number, "x")
