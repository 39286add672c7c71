"""Where Redis is, which namespace, and the settings that all processes of a namespace share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rq_sched.errors import InvalidValue

OFF = math.inf
"""What ``off`` means where a setting is a time: it never comes."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that all processes of a namespace share: a number from 0, ``off``, or one of some words.

    >>> SETTINGS["reserve_after"].parse("off")
    inf
    """

    default: float | str
    meaning: str
    off: bool = False
    choices: tuple[str, ...] = ()

    def parse(self, text: object) -> float | str:
        """The value that a text means; ``default`` gives the default.

        Raises:
            InvalidValue: it means none; the text says what would.
        """
        word = str(text)
        if word == "default":
            return self.default
        if self.choices:
            if word in self.choices:
                return word
            raise InvalidValue(f"must be one of {', '.join(self.choices)}, not {text!r}")
        if self.off and word in ("off", "inf"):
            return OFF
        try:
            number = float(word)
        except ValueError:
            number = -1.0
        if not 0 <= number < 1e12:
            raise InvalidValue(f"must be a number from 0{', or off' if self.off else ''}, not {text!r}")
        return number

    def may_be(self, text: str) -> bool:
        """Whether a text in Redis means a value."""
        try:
            self.parse(text)
        except InvalidValue:
            return False
        return True

    def read(self, text: str | None) -> float | str:
        """The value of a text in Redis; the default where it is missing, or means none."""
        try:
            return self.default if text is None else self.parse(text)
        except InvalidValue:
            return self.default

    def show(self, value: float | str) -> str:
        """As it stands in Redis, and as people read it."""
        return value if isinstance(value, str) else "off" if value == OFF else f"{value:.15g}"


SETTINGS: dict[str, Setting] = {
    # Kept in the `settings` hash, so that every replica and script agrees.
    "keep_seconds": Setting(86_400, "seconds that a finished task is kept"),
    "keep_tasks": Setting(100_000, "how many finished tasks are kept"),
    "aging": Setting(0, "priority that a waiting task gains an hour"),
    "reserve_after": Setting(30, "seconds that the first blocked task waits until a node is reserved for it", off=True),
    "preempt_after": Setting(
        30, "seconds that the first blocked task waits until preemptible tasks of lower priority make room", off=True
    ),
    "grow_after": Setting(1, "seconds that a node's idle CPU is kept for others before elastic tasks grow", off=True),
    "node_choice": Setting(
        "first_fit",
        "how a node is chosen for a task (lua/_choose.lua)",
        choices=("first_fit", "best_fit", "tight", "aligned"),
    ),
}
