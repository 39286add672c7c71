"""Options that had another name before 1.0: still read, with a warning that names the new one."""

from __future__ import annotations

import pytest

from rq_sched.worker import WorkerConfig
from tests.cli.kit import Cli


@pytest.mark.parametrize(
    ("words", "enforce", "share", "warning"),
    [
        ([], True, True, ""),
        (["--enforce-memory", "--share-redis"], True, True, ""),
        (["--no-enforce-memory"], False, True, ""),
        (["--hide-redis"], True, False, ""),
        (["--memory-limit", "off"], False, True, "`--memory-limit off` is deprecated: write `--no-enforce-memory`"),
        (["--memory-limit", "enforce"], True, True, "`--memory-limit enforce` is deprecated: write `--enforce-memory`"),
        (["--tasks-redis", "hide"], True, False, "`--tasks-redis hide` is deprecated: write `--hide-redis`"),
        (["--tasks-redis", "share"], True, True, "`--tasks-redis share` is deprecated: write `--share-redis`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_a_worker(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: list[str], enforce: bool, share: bool, warning: str
) -> None:
    found: list[WorkerConfig] = []

    def run(config: WorkerConfig) -> int:
        found.append(config)
        return 0

    monkeypatch.setattr("rq_sched.worker.run", run)
    monkeypatch.setattr("rq_sched.worker.parent.concealed.conceal", lambda config: None)
    typed = cli("worker", "--cpu", "1", "--memory", "100", *words)
    (config,) = found
    assert (config.enforce_memory, config.share_redis) == (enforce, share)
    assert typed.err == (f"rq-sched: warning: {warning}\n" if warning else "")
