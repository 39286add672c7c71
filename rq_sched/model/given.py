"""What was given, as an error shows it."""

from __future__ import annotations

MOST = 80
"""Characters."""


def given(value: object) -> str:
    """Anything as a line of ASCII, at most 80 characters of it.

    >>> given("a\\nb"), given(10**5000)
    ("'a\\\\nb'", "an object that can't be shown (int)")
    """
    try:
        text = ascii(value)
    except Exception:  # an int of thousands of digits, somebody's __repr__
        return f"an object that can't be shown ({type(value).__name__:.{MOST}})"
    return text if len(text) <= MOST else text[: MOST - 3] + "..."
