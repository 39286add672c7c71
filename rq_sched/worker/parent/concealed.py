"""The secrets of a worker, kept where its tasks don't find them (Linux).

Children are forked from the parent, so whatever is in its memory is in theirs; and all run as the same user, who may
look into each other's memory, environment and descriptors. So a worker that has a secret to keep from its tasks (the
signing key; with ``--hide-redis`` an address with a password) begins anew, by ``exec``, with clean memory: the
secrets are in a file without a name, which only the agent reads, after the fork. A child closes it before it runs
anything. ``PR_SET_DUMPABLE`` then forbids other processes of this user to look into the parent and the agent. (Root
may.)
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rq_sched.link.address import PASSWORD_FILE, shown
from rq_sched.model.signing import without_key
from rq_sched.worker import system
from rq_sched.worker.config import WorkerConfig

VARIABLE = "_RQ_SCHED_SECRETS"
"""Tells the process that begins anew which descriptor has the secrets."""


def conceal(config: WorkerConfig) -> None:
    """Begin anew without the secrets, if there are any that tasks aren't to know; else just return.

    Parameters:
        config: complete, and checked: whoever begins anew can't check the secrets any more.
    """
    url = config.url if not config.share_redis and shown(config.url) != config.url else None
    if not (url or config.signing_key) or not system.LINUX or not sys.executable:
        return
    words, environment = cleaned(url, sys.orig_argv[1:], os.environ)
    file = os.memfd_create("secrets")
    os.write(file, json.dumps({"url": url, "signing_key": config.signing_key}).encode())
    os.set_inheritable(file, True)
    environment[VARIABLE] = str(file)
    os.execve(sys.executable, [sys.executable, *words], environment)


def cleaned(url: str | None, words: Sequence[str], variables: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Command line and environment without the secrets. ``url``: the address that is one; None: it isn't."""
    environment = without_key(variables)
    if url is None:
        return list(words), environment
    environment.pop(PASSWORD_FILE, None)
    for name in ("RQ_SCHED_REDIS_URL", "REDIS_URL"):
        if environment.get(name) == url:
            environment[name] = shown(url)
    return [word.replace(url, shown(url)) for word in words], environment


def secrets_descriptor() -> int | None:
    """The descriptor with the secrets of a process that has begun anew; None: it hasn't."""
    file = os.environ.pop(VARIABLE, None)
    if file is None:
        return None
    os.set_inheritable(int(file), False)
    system.keep_private()
    return int(file)


def reveal(config: WorkerConfig) -> WorkerConfig:
    """The configuration with its secrets, for the agent."""
    if config.secrets is None:
        return config
    found = json.loads(os.pread(config.secrets, 1 << 20, 0))
    return replace(config, url=found["url"] or config.url, signing_key=found["signing_key"])
