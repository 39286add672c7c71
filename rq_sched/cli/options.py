"""What all commands have in common: where Redis is, the namespace, JSON or not; and the kinds of values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rq_sched.errors import InvalidValue, UsageError
from rq_sched.process.environment import not_blank

if TYPE_CHECKING:
    from rq_sched.cli.taker import Taker
    from rq_sched.client.flows import Flows
    from rq_sched.link import Link, Op
    from rq_sched.store import Store

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic only in newer versions of click

T = TypeVar("T")


class Invocation:
    """What one command line works with: its common options, and the connection, made when first used."""

    def __init__(self) -> None:
        self.redis: str | None = None
        self.namespace: str | None = None
        self.json = False
        self.durability: str | None = None
        self.durability_timeout = 5.0
        self.signing_key_file: str | None = None
        self.warned: set[str] = set()
        """Reasons for which tasks can't be placed that the user was told of."""

    def submits(self, durability: str | None, timeout: float, signing_key_file: str | None) -> None:
        """How safe what it submits must be, and with what it is signed."""
        self.durability, self.durability_timeout, self.signing_key_file = durability, timeout, signing_key_file

    @cached_property
    def url(self) -> str:
        from rq_sched.process.environment import resolve_url

        return resolve_url(self.redis)

    @cached_property
    def space(self) -> str:
        """The namespace, resolved."""
        from rq_sched.process.environment import resolve_namespace

        return resolve_namespace(self.namespace)

    @cached_property
    def signing_key(self) -> str | None:
        from rq_sched.process.environment import signing_key

        return signing_key(self.signing_key_file)

    @cached_property
    def link(self) -> Link:
        from rq_sched.link import Link

        return Link(self.url, answer_seconds=self.store.answer_seconds, greeting=self.store.check_schema)

    @cached_property
    def store(self) -> Store:
        from rq_sched.process.environment import durability_level
        from rq_sched.store import Store

        level = durability_level(self.durability, self.durability_timeout)
        return Store(self.space, durability=level, signing_key=self.signing_key)

    @cached_property
    def taker(self) -> Taker:
        """Takes the steps of a client's flows, for what needs more than one operation: waiting, following."""
        from rq_sched.cli.taker import Taker

        return Taker(self.link, self.store, as_json=self.json)

    @property
    def flows(self) -> Flows:
        """What a client can do, in steps for ``taker``."""
        return self.taker.flows

    def run(self, op: Op[T]) -> T:
        """Drive one operation of the store to its end."""
        return self.link.run(op)

    def close(self) -> None:
        if "link" in self.__dict__:
            self.link.close()


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Note a common option; one after the subcommand overrides one before it."""
    session = ctx.ensure_object(Invocation)
    not_blank(value, param.opts[0])
    if value:
        setattr(session, str(param.name), value)


def _common(*names: str, **settings: Any) -> click.Option:
    return click.Option(names, expose_value=False, is_eager=True, callback=_keep, **settings)


def _common_params() -> list[click.Parameter]:
    return [
        _common("--redis", metavar="URL", help="Where Redis is: redis://, rediss://, unix://, redis+sentinel://."),
        _common("--namespace", metavar="NAME", help="The namespace (default: default)."),
        _common("--json", is_flag=True, help="Print JSON."),
    ]


F = TypeVar("F", bound=Callable[..., Any])


def common_options(function: F) -> F:
    """``--redis``, ``--namespace`` and ``--json`` for the group itself: they work before the subcommand too."""
    known = function.__dict__.setdefault("__click_params__", [])
    known.extend(reversed(_common_params()))
    return function


def folded_help(ctx: click.Context, text: str) -> str:
    """A help text in which the examples, too, are no wider than the terminal: a shell reads their lines as one."""
    width = ctx.make_formatter().width
    lines = text.split("\n")
    if max(map(len, lines)) <= width:
        return text
    from rq_sched.cli.show import fold_command

    return "\n".join(part for line in lines for part in fold_command(line, width, margin="    "))


class CommonCommand(click.Command):
    """A command with the common options, none of which may be empty; it closes the connection at its end."""

    def get_help(self, ctx: click.Context) -> str:
        return folded_help(ctx, super().get_help(ctx))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common_params())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = self.make_parser(ctx).parse_args(list(args))[0]
        for param in self.params:  # before they are converted: the path "" becomes the present folder
            values = given.get(str(param.name)) if isinstance(param, click.Option) else None
            for value in values if isinstance(values, list) else [values]:
                not_blank(value, param.opts[-1])
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        ctx.call_on_close(ctx.ensure_object(Invocation).close)
        return super().invoke(ctx)


command = partial(click.command, cls=CommonCommand)


class Parsed(ParamType):
    """A value read by ``parse(text, option's name)``, whose refusal is the error that the user sees."""

    def __init__(self, name: str, parse: Callable[[str, str], Any]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value  # a default
        return self.parse(value, param.opts[0] if param is not None else self.name)


class Limit(click.IntRange):
    """At most so many: any number, as who wants all may give one of any size."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return min(super().convert(value, param, ctx), 2**40)


def _parse_duration(text: str, name: str) -> float:
    from rq_sched.model.durations import parse_duration

    return parse_duration(text, name)


def _parse_cpu(text: str, name: str) -> int:
    from rq_sched.model.resources import parse_cpu

    return parse_cpu(text, name)


def _parse_memory(text: str, name: str) -> int:
    from rq_sched.model.resources import parse_memory

    return parse_memory(text, name)


def _parse_id(text: str, what: str) -> str:
    from rq_sched.model.ids import check_id

    return check_id(text, what)


def _parse_known_id(text: str, _: str) -> str:
    from rq_sched.model.ids import known_id

    return known_id(text)


def _parse_label(text: str, name: str) -> str:
    from rq_sched.model.labels import parse_labels

    return parse_labels([text], name)[0]


def _parse_priority(text: str, name: str) -> int:
    from rq_sched.model.options import OPTIONS

    priority: int = OPTIONS["priority"].read(text, name)
    return priority


def _parse_text(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{name} must be UTF-8 text, not {text!r}") from None
    return text


TEXT = Parsed("text", _parse_text)
CPU = Parsed("cores", _parse_cpu)
MEMORY = Parsed("size", _parse_memory)
DURATION = Parsed("duration", _parse_duration)
LABEL = Parsed("label", _parse_label)
TASK_ID = Parsed("id", _parse_known_id)  # also an element of an array
NODE_ID = Parsed("node", lambda text, _: _parse_id(text, "node id"))


PRIORITY = Parsed("number", _parse_priority)

task_ids = click.argument("task_ids", metavar="ID...", nargs=-1, required=True, type=TASK_ID)
one_task_id = click.argument("task_id", metavar="ID", type=TASK_ID)
node_ids = click.argument("node_ids", metavar="NODE...", nargs=-1, required=True, type=NODE_ID)


def tag_option(text: str) -> Callable[[F], F]:
    """``--tag NAME=TEXT``, as a mapping."""

    def read(ctx: click.Context, param: click.Parameter, words: Any) -> dict[str, str]:
        from rq_sched.model.tags import parse_tags

        return parse_tags(words)

    return click.option("--tag", multiple=True, metavar="NAME=TEXT", callback=read, help=text)


def logging_options(level: str) -> Callable[[F], F]:
    """``--log-level`` (default ``level``) and ``--log-format`` of the long-running commands."""

    def add(function: F) -> F:
        levels = click.Choice(["debug", "info", "warning", "error"])
        function = click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="How the lines of the log look.",
        )(function)
        return click.option(
            "--log-level", type=levels, default=level, show_default=True, help="What is logged, on standard error."
        )(function)

    return add


def children_options(function: F) -> F:
    """``--fresh`` and ``--max-tasks-per-child``; ``tasks_of_child`` makes one number of them."""
    function = click.option(
        "--max-tasks-per-child",
        type=click.IntRange(1, 2**53),
        metavar="N",
        help="Tasks that a process runs before another takes its place (default: no limit).",
    )(function)
    return click.option("--fresh", is_flag=True, help="Each task runs in a new process.")(function)


def tasks_of_child(fresh: bool, most: int | None) -> int:
    """How many tasks a process runs; 0: no limit."""
    if fresh and most not in (None, 1):
        raise UsageError("--fresh is --max-tasks-per-child 1: give one of them")
    return 1 if fresh else most or 0
