"""Exceptions as text: how they travel."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

LIMIT = 16 * 1024
"""Characters of an error text; of a longer one the beginning and, mostly, the end are kept."""
_OURS = (
    os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), ""),
    os.path.join(os.path.dirname(os.__file__), "asyncio", ""),
    "<frozen importlib",
)


def describe(error: BaseException) -> str:
    """The traceback from the first frame of the user's code on, as Python prints it."""
    try:
        text = "".join(
            traceback.TracebackException(type(error), error, _users(error.__traceback__), compact=True).format()
        ).rstrip()
    except BaseException:  # an exception may even break while it is printed
        text = f"{type(error).__name__} (and it can't be printed)"
    return shorten(text)


def shorten(text: str) -> str:
    """What can be sent of a text: not too much, and what isn't a character (half of a surrogate pair, as in the names
    of files that aren't UTF-8) as its escape."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= LIMIT:
        return text
    head = LIMIT // 4
    return f"{text[:head]}\n… {len(text) - LIMIT} characters left out …\n{text[head - LIMIT :]}"


def _users(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace
