"""The options of a task: each stands here once, with its names, its default, its unit, and what it may be.

``TaskRequest``, ``client.submit``, ``client.options``, ``@task``, files of tasks and the command line are made from
this list, or held against it by ``tests/model/test_options.py``. A new option is an entry here, a field of
``TaskRequest``, a parameter of ``AsyncClient.submit``, what is done with it (``store/requests.py``), and a line in the
docs.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, TypedDict, get_type_hints

from rq_sched.errors import InvalidValue
from rq_sched.model.after import parse_after, parse_each
from rq_sched.model.arrays import parse_array
from rq_sched.model.asked import AmountsGiven, parse_limits, parse_resources
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.given import given
from rq_sched.model.ids import check_id
from rq_sched.model.labels import parse_labels
from rq_sched.model.output import LIMIT, parse_limit
from rq_sched.model.resources import parse_cpu, parse_memory
from rq_sched.model.surroundings import NOWHERE, parse_env, parse_file, parse_path, parse_stdin
from rq_sched.model.tags import parse_name, parse_tags

DEFAULT_MEMORY = 256
DEFAULT_CRASH_LIMIT = 3
PRIORITY_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a task.

    Parameters:
        help: what it says, in a few words.
        parse: from what was given (and the name for its error) to the value.  Raises: UsageError.
        default: what holds where it isn't given.  default_text: the same in words, where the value doesn't say it.
        unit: what it is counted in, or what kind of text it is.
        long: the field of ``TaskRequest`` and of all output, where that isn't the keyword.
        short: the name in files and on the command line, where that isn't the keyword.
        letter: its short name on the command line.
        whole: whether it is a whole number, which on the command line is text.
        choices: the words that it may be.
        keyword: the parameter of ``client.submit``.
    """

    help: str
    parse: Callable[[Any, str], Any]
    default: Any = None
    default_text: str = ""
    unit: str = ""
    long: str = ""
    short: str = ""
    letter: str = ""
    whole: bool = False
    choices: tuple[str, ...] = ()
    keyword: str = ""

    def read(self, text: str, name: str) -> Any:
        """The value of a word on the command line.  Raises: UsageError."""
        value: Any = text
        if self.whole:
            try:
                value = int(text)
            except ValueError:
                pass  # the error is that of any value
        return self.parse(value, name)


def _whole(value: object, name: str, least: int, most: int = 2**31) -> int:
    if type(value) is not int or not least <= value <= most:
        bounds = f"in ±{most}" if least == -most else f"between {least} and {most}"
        raise InvalidValue(f"{name} must be a whole number {bounds}, not {given(value)}")
    return value


def _elastic(value: object, name: str) -> str:
    if not isinstance(value, str) or value not in ELASTIC:
        raise InvalidValue(f"{name} must be off, cpu or all, not {given(value)}")
    return value


def _on_failure(value: object, name: str) -> str:
    if not isinstance(value, str) or value not in ON_FAILURE:
        raise InvalidValue(f"{name} must be cancel or keep, not {given(value)}")
    return value


def _infeasible(value: object, name: str) -> str:
    if not isinstance(value, str) or value not in INFEASIBLE:
        raise InvalidValue(f"{name} must be wait or fail, not {given(value)}")
    return value


def _flag(value: object, name: str) -> bool:
    if type(value) is not bool:
        raise InvalidValue(f"{name} must be true or false, not {given(value)}")
    return value


ELASTIC = ("off", "cpu", "all")
ON_FAILURE = ("cancel", "keep")
INFEASIBLE = ("wait", "fail")


class Options(TypedDict, total=False):
    """What may be said of a task when it is submitted, besides its function and arguments.

    What is left out, or None, is as the function's ``@task`` says, and else the default.
    """

    cpu: Annotated[
        int | None,
        Option("cores that it needs; 0: none, as it waits for others", partial(parse_cpu, least=0), 1, unit="cores",
               long="cpu_needed"),
    ]  # fmt: skip
    memory: Annotated[
        int | str | None,
        Option("memory that it needs, in MB or such as 2G", parse_memory, DEFAULT_MEMORY, unit="MB",
               long="memory_needed"),
    ]  # fmt: skip
    max_cpu: Annotated[
        int | None,
        Option("cores that it may grow to", partial(parse_cpu, least=0), default_text="what it needs", unit="cores",
               long="max_cpu_needed"),
    ]  # fmt: skip
    max_memory: Annotated[
        int | str | None,
        Option("memory that it may grow to, in MB or such as 2G", parse_memory, default_text="what it needs",
               unit="MB", long="max_memory_needed"),
    ]  # fmt: skip
    require: Annotated[
        Sequence[str] | None, Option("labels that its node must carry", parse_labels, (), "none", unit="labels")
    ]
    resources: Annotated[
        AmountsGiven | None,
        Option("what it needs of a resource of its node, such as gpu=2; below 1 a share of one", parse_resources,
               default_text="none", unit="NAME=AMOUNT", short="resource"),
    ]  # fmt: skip
    limits: Annotated[
        AmountsGiven | None,
        Option("a limit of the namespace that it counts against, such as api or api=2", parse_limits,
               default_text="none", unit="NAME[=AMOUNT]", short="limit"),
    ]  # fmt: skip
    array: Annotated[
        str | range | None,
        Option("run it once for each of these indexes, such as 1-1000", lambda value, _: parse_array(value),
               default_text="no array", unit="FIRST-LAST"),
    ]  # fmt: skip
    priority: Annotated[
        int | None,
        Option("higher goes first", partial(_whole, least=-PRIORITY_LIMIT, most=PRIORITY_LIMIT), 0, unit="number",
               letter="-p", whole=True),
    ]  # fmt: skip
    task_id: Annotated[
        str | None,
        Option("the task's id", lambda value, _: check_id(value), default_text="generated", unit="id", short="id"),
    ]
    retries: Annotated[
        int | None, Option("how many failures are tried again", partial(_whole, least=0), 0, unit="number", whole=True)
    ]
    crash_limit: Annotated[
        int | None,
        Option("deaths of its process or node that end it", partial(_whole, least=1), DEFAULT_CRASH_LIMIT,
               unit="number", whole=True),
    ]  # fmt: skip
    time_limit: Annotated[
        Duration | None,
        Option("how long a run may take: seconds, or such as 10m", partial(parse_duration, least=0.001),
               default_text="no limit", unit="seconds"),
    ]  # fmt: skip
    delay: Annotated[
        Duration | None,
        Option("how long it isn't placed: seconds, or such as 10m", parse_duration, 0.0, "none", unit="seconds"),
    ]
    deadline: Annotated[
        Duration | None,
        Option("how long after its submit it must have started for the first time, else it fails: seconds, or such as "
               "10m", partial(parse_duration, least=0.001), default_text="none", unit="seconds"),
    ]  # fmt: skip
    infeasible: Annotated[
        str | None,
        Option("what becomes of it where no node could hold it even when empty", _infeasible, "wait", unit="word",
               choices=INFEASIBLE),
    ]  # fmt: skip
    elastic: Annotated[
        str | None,
        Option("what it lends to others while it doesn't use it", _elastic, "cpu", unit="word", choices=ELASTIC),
    ]
    preemptible: Annotated[
        bool | None, Option("a task of higher priority may stop it", _flag, False, "it may not", unit="flag")
    ]
    chdir: Annotated[
        str | None,
        Option("the folder in which it runs", parse_path, default_text="that of its worker; of a command that of the "
               "submit, where its worker allows it", unit="DIR"),
    ]  # fmt: skip
    env: Annotated[
        Mapping[str, str] | Sequence[str] | None,
        Option("a variable of its environment, NAME=TEXT, or NAME to copy it from here", parse_env,
               default_text="none", unit="NAME[=TEXT]"),
    ]  # fmt: skip
    stdin: Annotated[
        str | bytes | None,
        Option("the file on its node that is its standard input", parse_stdin, default_text=NOWHERE, unit="FILE"),
    ]
    output: Annotated[
        str | None,
        Option("the file on its node for its standard output, with %t (id), %a (attempt), %i (index), %n (node)",
               parse_file, default_text="the log", unit="FILE", long="output_path"),
    ]  # fmt: skip
    error: Annotated[
        str | None,
        Option("the same for its standard error", parse_file, default_text="the log", unit="FILE", long="error_path"),
    ]
    log_limit: Annotated[
        int | str | None,
        Option("how much of what it writes the log keeps, in bytes or such as 512K: the last ones", parse_limit,
               LIMIT, "64K", unit="SIZE"),
    ]  # fmt: skip
    name: Annotated[str | None, Option("what people call it: any text", parse_name, default_text="none", unit="TEXT")]
    tags: Annotated[
        Mapping[str, str] | Sequence[str] | None,
        Option("a tag, NAME=TEXT", parse_tags, default_text="none", unit="NAME=TEXT", short="tag"),
    ]
    after: Annotated[
        Sequence[Any] | str | None,
        Option("tasks that must have ended first: ID, ID:any (however), ID:failed", parse_after, (), "none",
               unit="ids"),
    ]  # fmt: skip
    after_each: Annotated[
        Any,
        Option("the array that this one waits for element by element: each for the one with its index, which must have "
               "completed", parse_each, default_text="none", unit="ARRAY"),
    ]  # fmt: skip
    on_failure: Annotated[
        str | None,
        Option("what becomes of it when one of these ends otherwise", _on_failure, "cancel", unit="word",
               choices=ON_FAILURE),
    ]  # fmt: skip


class RequestOptions(Options, total=False):
    """The same, also by the other names: those of the fields, and of the command line."""

    id: str | None
    cpu_needed: int | None
    memory_needed: int | str | None
    max_cpu_needed: int | None
    max_memory_needed: int | str | None
    output_path: str | None
    error_path: str | None
    tag: Mapping[str, str] | Sequence[str] | None
    resource: AmountsGiven | None
    limit: AmountsGiven | None


def _named(keyword: str, option: Option) -> Option:
    return replace(option, keyword=keyword, long=option.long or keyword, short=option.short or keyword)


OPTIONS: dict[str, Option] = {
    keyword: _named(keyword, hint.__metadata__[0])
    for keyword, hint in get_type_hints(Options, include_extras=True).items()
}
"""By keyword."""
NAMES: dict[str, Option] = {
    name: option for option in OPTIONS.values() for name in (option.keyword, option.short, option.long)
}
"""By every name."""


def by_keyword(options: Mapping[str, Any]) -> Options:
    """Options under their keywords, whatever names they were given by. Those that are None are left out.

    Raises:
        InvalidValue: there is no such option, or one is given by two names.

    >>> by_keyword({"cpu_needed": 2, "id": "t1", "delay": None})
    {'cpu': 2, 'task_id': 't1'}
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        option = NAMES.get(name)
        if option is None:
            raise unknown("option", name, NAMES)
        if value is not None:
            if option.keyword in found:
                raise twice(option)
            found[option.keyword] = value
    return found  # type: ignore[return-value]


def twice(option: Option) -> InvalidValue:
    """The error for an option that was given by two of its names."""
    names = sorted({option.keyword, option.short, option.long}, key=len)
    return InvalidValue(f"{' and '.join(names)} are the same: give one of them")


def unknown(what: str, name: str, known: Iterable[str]) -> InvalidValue:
    """The error for a name that there isn't: it tells the nearest one, or all.

    >>> str(unknown("field", "memroy", ["cpu", "memory"]))
    "unknown field 'memroy': did you mean memory?"
    """
    nearest = near(name, known)
    if nearest:
        return InvalidValue(f"unknown {what} {given(name)}: did you mean {nearest}?")
    return InvalidValue(f"unknown {what} {given(name)}; known are {', '.join(sorted(known))}")


def near(name: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """The name that one is most like, if any. ``least``: how like, from 0 to 1."""
    found = difflib.get_close_matches(name, list(known), 1, least)
    return found[0] if found else None
