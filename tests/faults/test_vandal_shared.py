"""Whatever is changed of what all share, innocents end rightly after ``doctor --repair``, which is one (I14)."""

from __future__ import annotations

import pytest

from tests.faults.test_vandal import KINDS, SEEDS
from tests.faults.vandal.scene import play


@pytest.mark.timeout(900)
def test_whatever_is_changed_that_all_share_innocents_end_rightly_after_a_repair(redis_url: str) -> None:
    seen = play(range(1, SEEDS, 2), redis_url)
    assert seen["innocents"] > SEEDS
    assert all(seen[kind] > 0 for kind in (*KINDS, "library")), seen
