"""RQ: its bulk call; two workers, without a fork for each task (SimpleWorker) or with one (the default)."""

from __future__ import annotations

from collections.abc import Sequence

from rq import Queue

from bench.peers.noop import URL, f, line

queue = Queue("bench", connection=line())
WORKER = ["rq", "worker", "--url", URL, "--logging_level", "ERROR", "bench"]
WORKERS = {
    "no fork": [[*WORKER, "--worker-class", "rq.SimpleWorker"]] * 2,
    "fork": [WORKER] * 2,
}
COUNTS = {"no fork": 1500, "fork": 200}


def submit(numbers: Sequence[int]) -> None:
    for i in range(0, len(numbers), 500):
        queue.enqueue_many([Queue.prepare_data(f, args=(n, "x"), result_ttl=0) for n in numbers[i : i + 500]])


def submit_one(number: int) -> None:
    queue.enqueue(f, number, "x", result_ttl=0)
