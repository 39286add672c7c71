"""``rq-sched settings``: what all processes of a namespace share."""

from __future__ import annotations

import click

from rq_sched.cli import show
from rq_sched.cli.options import Invocation, command
from rq_sched.cli.table import Column, table
from rq_sched.errors import InvalidValue
from rq_sched.model.settings import OFF, SETTINGS


@command("settings", context_settings={"ignore_unknown_options": True})
@click.argument("name", required=False)
@click.argument("value", required=False)
@click.pass_obj
def settings_command(session: Invocation, name: str | None, value: str | None) -> None:
    """Show the settings that all processes of the namespace share, or set NAME to VALUE. Below them stand the version
    of the data's format, and the features beyond it that are in use.

    VALUE 'default' resets it; 'off' works where a time may never come. A change takes effect at once, everywhere.

    \b
    rq-sched settings reserve_after 60
    rq-sched settings preempt_after off
    """
    if name is not None and name not in SETTINGS:
        raise InvalidValue(f"no setting {name!r}; there are {', '.join(SETTINGS)}")
    if name is not None and value is not None:
        session.run(session.store.set_setting(name, value))
    values = session.run(session.store.settings())
    shown = {one: SETTINGS[one].show(value) for one, value in values.items() if name in (None, one)}
    if session.json:
        show.json_line({one: "off" if values[one] == OFF else values[one] for one in shown})
        return
    columns = [Column("SETTING"), Column("VALUE", right=True), Column("DEFAULT", right=True, rank=1),
               Column("WHAT IT IS", rank=2, fold=True)]  # fmt: skip
    rows = ((one, shown[one], SETTINGS[one].show(SETTINGS[one].default), SETTINGS[one].meaning) for one in shown)
    table(columns, rows)
    if name is None:
        version, features = session.run(session.store.data_format())
        said = f"version {version}" if version else "none yet"
        show.pairs([("data", said + (f", with {', '.join(features)}" if features else ""))])
