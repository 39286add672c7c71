"""What was given to a process: variables of the environment, options, arguments. Something that was given but says
nothing (a variable of a script that was never set) is a mistake: taken for "not given" it would switch off what it was
to switch on."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

from rq_sched.errors import InvalidValue

T = TypeVar("T")


def not_blank(value: T, name: str) -> T:
    """The value itself.

    Raises:
        InvalidValue: it is a text without a letter in it.
    """
    if isinstance(value, str) and not value.strip():
        raise InvalidValue(f"{name} is empty: give it a value, or leave it away")
    return value


def variable(name: str) -> str | None:
    """What a variable of the environment says; None: it isn't set.

    Raises:
        InvalidValue: it is set, but empty.
    """
    value = os.environ.get(name)
    if value is None:
        return None
    if not value.strip():
        raise InvalidValue(f"the variable {name} is set, but empty: give it a value, or unset it")
    return value


def secret_of(file: str, what: str) -> str:
    """The text of a file with a secret, without the space around it.

    Raises:
        InvalidValue: it can't be read, everybody can read it, or it is empty.
    """
    try:
        mode = Path(file).stat().st_mode
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"the {what} can't be read from {file}: {error}") from None
    if S_ISREG(mode) and mode & 0o007:
        raise InvalidValue(f"everybody can read the {what} in {file}: chmod 600 {file}")
    if not text:
        raise InvalidValue(f"the {what} is missing: {file} is empty")
    return text
