"""What a server or the driver says when something is wrong, as one of our errors: a class to catch, and what to do."""

from __future__ import annotations

import re

from redis import exceptions

from rq_sched import errors
from rq_sched.errors import RqSchedError

LEAST_VERSION = 7

# What servers answer with, by the first word; {} is the whole text.
WORDS: dict[str, tuple[type[RqSchedError], str]] = {
    "WRONGPASS": (errors.RedisRefused, "refused the password: give user and password in --redis ({})"),
    "NOAUTH": (errors.RedisRefused, "refused the password: give user and password in --redis ({})"),
    "NOPERM": (errors.RedisRefused, "refused a command to this user: see deploy/ for what it may need ({})"),
    "LOADING": (errors.RedisNotReady, "is loading its data: try again in a moment"),
    "READONLY": (errors.RedisNotReady, "is a read-only replica: give the address of the master, or of its sentinels"),
    "MASTERDOWN": (errors.RedisNotReady, "is a replica that has lost its master: give the address of the master"),
    "NOREPLICAS": (errors.RedisNotReady, "has fewer replicas than its min-replicas-to-write asks for ({})"),
    "BUSY": (errors.RedisNotReady, "is busy with a script that takes too long: try again in a moment ({})"),
    "UNKILLABLE": (errors.RedisNotReady, "is busy with a script that takes too long: try again in a moment ({})"),
    "MISCONF": (errors.RedisNotReady, "can't write its data to disk, and refuses writes: look at its disk ({})"),
    "CLUSTERDOWN": (errors.RedisNotReady, "says that its cluster is down ({})"),
    "TRYAGAIN": (errors.RedisNotReady, "says to try again ({})"),
    "MOVED": (errors.RedisRefused, "is part of a Redis Cluster, which rq-sched can't use yet ({})"),
    "ASK": (errors.RedisRefused, "is part of a Redis Cluster, which rq-sched can't use yet ({})"),
    "CROSSSLOT": (errors.RedisRefused, "is part of a Redis Cluster, which rq-sched can't use yet ({})"),
    "OOM": (errors.RedisFull, "is full: wait until tasks have drained, or raise its maxmemory"),
    "WRONGTYPE": (
        errors.WrongType,
        "holds something else in a key of this namespace: `rq-sched doctor` says what; choose another --namespace if "
        "others use it ({})",
    ),
}
LEAVE = frozenset({"READONLY", "MASTERDOWN", "NOREPLICAS"})
"""Answers of a server that may no longer be the master: connections to it are given up."""
# The driver takes the word off, and makes a class of it.
_CLASSES = {
    exceptions.NoPermissionError: "NOPERM",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
    exceptions.MovedError: "MOVED",
    exceptions.ClusterCrossSlotError: "CROSSSLOT",
    exceptions.AskError: "ASK",
    exceptions.AuthenticationError: "NOAUTH",
}


def word_of(error: BaseException) -> str:
    """The word that a server's error begins with, such as ``READONLY``; empty for other errors."""
    for cls, word in _CLASSES.items():
        if isinstance(error, cls):
            return word
    if isinstance(error, exceptions.ResponseError):
        return str(error).partition(" ")[0]
    return ""


def is_unknown_function(error: object) -> bool:
    """Whether the server says that it has no such function."""
    return isinstance(error, exceptions.ResponseError) and str(error) == "Function not found"


def translate(error: BaseException, where: str = "") -> RqSchedError:
    """The error of the driver as one of ours."""
    if isinstance(error, RqSchedError):  # ours already: some of them are OSErrors too
        return error
    text = " ".join(str(error).split())
    word = word_of(error)
    if word.startswith("RQS_"):
        return errors.by_code().get(word[4:].lower(), errors.Refused)(text.partition(" ")[2])
    if is_unknown_function(error):
        return errors.FunctionsMissing(
            f"Redis{where} doesn't know the functions of this version of rq-sched yet, and this user may not load "
            "them: start a scheduler of this version, which loads them for all"
        )
    if word == "ERR" and "WRONGTYPE" in text:  # a script ran into it
        word = "WRONGTYPE"
    if "Script killed by user" in text:
        return errors.RedisNotReady(
            f"Redis{where} stopped the script of this call as it took too long: try again ({text})"
        )
    if word not in WORDS and ("user_function" in text or "user_script" in text):
        return errors.Unreadable(f"a script met what it can't read: `rq-sched doctor --repair` mends it ({text})")
    if word in WORDS:
        cls, says = WORDS[word]
        return cls(f"Redis{where} {says.format(text)}")
    if isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError)):
        return errors.RedisUnavailable(
            f"Redis{where} can't be reached: start one with `rq-sched up`, or say where it is with --redis ({text})"
        )
    if isinstance(error, exceptions.RedisError):
        return errors.RedisRefused(f"Redis{where} refused a command ({text})")
    return errors.RqSchedError(text or type(error).__name__)


def check_version(info: bytes, where: str) -> None:
    """Refuse servers that are too old.

    Raises:
        ServerTooOld
    """
    found = re.search(rb"redis_version:(\S+)", info)
    version = found[1].decode() if found else "0"
    if int(version.split(".")[0]) < LEAST_VERSION:
        raise errors.ServerTooOld(f"Redis{where} is version {version}: rq-sched needs Redis 7 or Valkey, or newer")
