"""How long to wait before something that failed is tried again. (The wait of a *task* before its retry is decided in
``lua/_end_attempt.lua``; that of a single command in ``link/drivers.py``.)"""

from __future__ import annotations

import random

FIRST = 0.05
MOST = 2.0


def backoff(failures: int, most: float = MOST, jitter: bool = True) -> float:
    """Seconds to wait after so many failures in a row: 0.05 s × 2ⁿ, at most ``most``.

    Parameters:
        jitter: whether to wait for a random part of that, at least half: who failed together doesn't try together.

    >>> [backoff(n, jitter=False) for n in (0, 1, 2, 10)]
    [0.05, 0.1, 0.2, 2.0]
    """
    seconds: float = min(most, FIRST * 2.0 ** min(failures, 10))
    return seconds * random.uniform(0.5, 1.0) if jitter else seconds
