"""Where Redis is, which namespace, and the settings that all processes of a namespace share."""

from __future__ import annotations

import os

from rq_sched.keys import check_id

DEFAULT_URL = "redis://localhost:6379/0"

SETTINGS: dict[str, tuple[float, str]] = {
    # name: (default, what it is). Kept in the `settings` hash, so that every replica and script agrees.
    "keep_seconds": (86_400, "seconds that a finished task is kept"),
    "keep_tasks": (100_000, "how many finished tasks are kept"),
    "aging": (0, "priority that a waiting task gains an hour"),
}


def resolve_url(option: str | None = None) -> str:
    """Where Redis is: the option, else ``RQ_SCHED_REDIS_URL``, else ``REDIS_URL``, else the socket of a running
    ``rq-sched up`` of this user, else ``redis://localhost:6379/0``.
    """
    from rq_sched import server  # only looked at when nothing was said

    return (
        option
        or os.environ.get("RQ_SCHED_REDIS_URL")
        or os.environ.get("REDIS_URL")
        or server.running_url()
        or DEFAULT_URL
    )


def resolve_namespace(option: str | None = None) -> str:
    """The namespace: the option, else ``RQ_SCHED_NAMESPACE``, else ``default``.

    Raises:
        InvalidId: it isn't a name.
    """
    return check_id(option or os.environ.get("RQ_SCHED_NAMESPACE") or "default", "namespace")
