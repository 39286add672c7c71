"""The version of the format that the data of a namespace have, and what a process may know beyond it.

Both stand in the namespace's settings. Data of another version are not read, nor written: ``rq-sched upgrade`` converts
them. A *feature* needs no conversion: it is used from the first request on that needs it, if every process knows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rq_sched.errors import OtherSchema
from rq_sched.model.labels import of_suffix, suffix
from rq_sched.model.task import TaskRequest

SCHEMA = 2
"""The version that this code reads and writes."""
VERSION = re.compile(r"[1-9]\d?(?:>[1-9]\d?)?")
"""How a version stands in the settings; FROM>TO while data are converted."""
FEATURES: dict[str, Callable[[TaskRequest], bool]] = {
    "schedules": lambda request: False,  # used by what makes one (store/schedules.py)
}
"""What it knows beyond that: the feature's name (as a label's) → whether a request needs it."""
ENTRIES = {
    "schema": "the version of the format of these data; FROM>TO while they are converted",
    "features": "what is in use beyond that, so that every process must know it: +NAME…",
    "graphs": "1: tasks have waited for others here",
    "drivers": "1: tasks without cores have waited here",
}
"""What stands in the settings beside those that users set."""


def wrong_entry(name: str, value: str) -> str | None:
    """What is wrong with an entry of the settings, if anything is.

    >>> wrong_entry("schema", "x")
    "can't be 'x': these data are of version 2"
    """
    if name == "schema" and value != str(SCHEMA):
        return f"can't be {value!r}: these data are of version {SCHEMA}"
    if name == "features" and value != suffix(of_suffix(value)):
        return f"can't be {value!r}: write +NAME+NAME"
    if name == "features" and (unknown := set(of_suffix(value)) - set(FEATURES)):
        return f"names what isn't known here: {', '.join(sorted(unknown))}"
    return None


def other_schema(namespace: str, found: str) -> OtherSchema:
    """The error for data of a version that isn't ours.

    >>> print(other_schema("default", "7"))
    namespace default has data of version 7, and this process works with version 2: install a newer rq-sched here
    """
    command = upgrade_command(namespace)
    if not found.isdigit():
        advice = f"they are being converted: wait until {command} has ended; if it was stopped, run it again"
    elif int(found) > SCHEMA:
        advice = "install a newer rq-sched here"
    else:
        advice = f"stop all its processes, then run {command}"
    return OtherSchema(
        f"namespace {namespace} has data of version {found}, and this process works with version {SCHEMA}: {advice}"
    )


def upgrade_command(namespace: str) -> str:
    """What converts the data of a namespace, as it is typed.

    >>> upgrade_command("night")
    '`rq-sched upgrade --namespace night`'
    """
    return "`rq-sched upgrade`" if namespace == "default" else f"`rq-sched upgrade --namespace {namespace}`"
