"""What was given to a process: variables of its environment, files that they name, options. What was given but says
nothing (a variable of a script that was never set) is a mistake: taken for "not given" it would switch off what it was
to switch on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

from rq_sched.errors import InvalidValue
from rq_sched.model.durability import LEVELS, SECONDS, Durability
from rq_sched.model.ids import check_id
from rq_sched.model.signing import KEY

T = TypeVar("T")

DEFAULT_URL = "redis://localhost:6379/0"


DEFAULT_NAMESPACE = "default"


def resolve_url(option: str | None = None) -> str:
    """Where Redis is: the option, else ``RQ_SCHED_REDIS_URL``, else ``REDIS_URL``, else the socket of a running
    ``rq-sched up`` of this user, else ``redis://localhost:6379/0``.

    Raises:
        InvalidValue: the first of them that is given is empty.
    """
    from rq_sched.process import embedded  # only looked at when nothing was said

    if option is not None:
        return not_blank(option, "the address of Redis")
    return variable("RQ_SCHED_REDIS_URL") or variable("REDIS_URL") or embedded.running_url() or DEFAULT_URL


def resolve_namespace(option: str | None = None) -> str:
    """The namespace: the option, else ``RQ_SCHED_NAMESPACE``, else ``default``.

    Raises:
        UsageError: it isn't a name, or the first of them that is given is empty.
    """
    if option is None:
        option = variable("RQ_SCHED_NAMESPACE") or DEFAULT_NAMESPACE
    return check_id(not_blank(option, "the namespace"), "namespace")


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


def signing_key(file: str | None = None) -> str | None:
    """The shared secret: of the file, else of the file that ``RQ_SCHED_SIGNING_KEY_FILE`` names, else the text of
    ``RQ_SCHED_SIGNING_KEY``; None: requests aren't signed.

    Raises:
        InvalidValue: the file can't be read, everybody can read it, or a variable or the file is empty.
    """
    file = variable("RQ_SCHED_SIGNING_KEY_FILE") if file is None else not_blank(file, "the file of the signing key")
    if file is not None:
        return secret_of(file, "signing key")
    text = variable(KEY)
    return text and text.strip()


def durability_level(option: str | None = None, seconds: float = SECONDS) -> Durability:
    """The level: the option, else ``RQ_SCHED_DURABILITY``, else ``memory``.

    Raises:
        InvalidValue: no such level, or a time out of range.

    >>> str(durability_level("replicated"))
    'replicated:1'
    """
    text = option if option is not None else variable("RQ_SCHED_DURABILITY") or "memory"
    level, colon, count = text.partition(":")
    replicas = int(count or 1) if level == "replicated" and (not colon or count.isdecimal()) else 0
    if level not in LEVELS or (colon and level != "replicated") or (level == "replicated" and not replicas):
        raise InvalidValue(f"durability must be memory, aof, replicated or replicated:N, not {text!r}")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= 3600:
        raise InvalidValue(f"the time for a durability level must be between 0 and 3600 seconds, not {seconds!r}")
    return Durability(level, replicas, float(seconds))


_told = ""


def tell_of_held_cores() -> None:
    """Called where a client begins to wait. A task that waits for others holds its cores meanwhile: it is told so,
    once, in its log; so is a program that it has started."""
    global _told
    task_id, cores = os.environ.get("RQ_SCHED_TASK_ID", ""), os.environ.get("RQ_SCHED_CPUS", "0")
    if not task_id or task_id == _told or not cores.isdigit() or cores == "0":
        return
    _told = task_id
    what = "a core" if cores == "1" else f"{cores} cores"
    print(
        f"rq-sched: this task waits for others, and holds {what} meanwhile. Submit it with --cpu 0 (in Python cpu=0)",
        file=sys.stderr,
        flush=True,
    )
