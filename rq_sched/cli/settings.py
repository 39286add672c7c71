"""``rq-sched settings``: what all processes of a namespace share."""

from __future__ import annotations

import click

from rq_sched.cli import show
from rq_sched.cli.options import Session, command
from rq_sched.cli.show import Column
from rq_sched.config import SETTINGS
from rq_sched.errors import InvalidValue


@command("settings", context_settings={"ignore_unknown_options": True})
@click.argument("name", required=False)
@click.argument("value", required=False)
@click.pass_obj
def settings_command(session: Session, name: str | None, value: str | None) -> None:
    """Show the settings that all processes of the namespace share, or set NAME to VALUE ('default' resets it)."""
    if name is not None and name not in SETTINGS:
        raise InvalidValue(f"no setting {name!r}; there are {', '.join(SETTINGS)}")
    if name is not None and value is not None:
        session.run(session.store.set_setting(name, _number(name, value)))
    values = session.run(session.store.settings())
    if session.json:
        show.json_line(values if name is None else {name: values[name]})
        return
    columns = [Column("SETTING"), Column("VALUE", right=True), Column("DEFAULT", right=True), Column("WHAT IT IS")]
    show.table(
        columns,
        (
            (one, f"{values[one]:g}", f"{default:g}", meaning)
            for one, (default, meaning) in SETTINGS.items()
            if name in (None, one)
        ),
    )


def _number(name: str, value: str) -> float:
    if value == "default":
        return SETTINGS[name][0]
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e12:
        raise InvalidValue(f"{name} must be a number from 0, not {value!r}")
    return number
