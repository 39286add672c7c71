"""The example does what it says."""

from __future__ import annotations

import pytest

from examples import quickstart
from examples.quickstart_tasks import count_primes, think
from rq_sched import Client, testing
from tests.client.kit import whole  # noqa: F401  (a fixture)


def test_the_quickstart(
    whole: Client,  # noqa: F811
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RQ_SCHED_REDIS_URL", redis_url)
    monkeypatch.setenv("RQ_SCHED_NAMESPACE", whole.namespace)
    quickstart.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop(4) in {"it is pending", "it is assigned", "it is running"}
    failed = lines.pop()
    assert failed.startswith("failed -> ")
    assert failed.endswith("ValueError: math domain error")
    assert lines == [
        "3, 4 -> 5.0",
        "primes below a million -> 78498",
        "ended -> 200",
        f"sum -> {sum(map(count_primes, range(0, 5000, 100)))}",
        "cancel -> cancelled",
    ]


def test_its_tasks_can_be_tested_without_a_server() -> None:
    with testing.cluster(cpu=2) as client:
        handle = client.submit(think, 0.01, task_id="deep")
        assert handle.result() == "deep thought about it in attempt 1"
