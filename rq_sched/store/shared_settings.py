"""The settings that all processes of a namespace share (``model/settings.py``)."""

from __future__ import annotations

from rq_sched.errors import InvalidValue
from rq_sched.link import Command, Op
from rq_sched.model.reading import as_dict, text
from rq_sched.model.settings import SETTINGS
from rq_sched.store.base import Base


class SharedSettings(Base):
    """Reading and changing them."""

    def settings(self) -> Op[dict[str, float | str]]:
        """The settings that all processes share, with their defaults (``settings.SETTINGS``; ``off`` is infinity). What
        can't be read is its default."""
        flat = as_dict((yield [("HGETALL", self.keys.settings)])[0])
        known = {text(name): text(value) for name, value in flat.items()}
        return {name: setting.read(known.get(name)) for name, setting in SETTINGS.items()}

    def set_setting(self, name: str, value: float | str) -> Op[None]:
        """Change a setting that all processes share; ``"default"`` resets it.

        Raises:
            InvalidValue: there is no such setting, or it can't be that.
        """
        setting = SETTINGS.get(name)
        if setting is None:
            raise InvalidValue(f"no setting {name!r}; there are {', '.join(SETTINGS)}")
        try:
            text = setting.show(setting.parse(value))
        except InvalidValue as error:
            raise InvalidValue(f"{name} {error}") from None
        command: Command = ("HSET", self.keys.settings, name, text)
        yield [command]
