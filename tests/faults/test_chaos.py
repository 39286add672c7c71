"""A short form of ``make chaos``: real processes, everything once or more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import chaos


@pytest.mark.timeout(400)
def test_chaos(tmp_path: Path) -> None:
    report = chaos.play(tmp_path, seconds=30, seed=3)
    assert not report["problems"], report
    assert report["done"].keys() >= chaos.ACTS.keys(), report
    assert report["counts"]["completed"] > 100, report
    assert report["done"]["of the limit in use at most"] > 2, report
