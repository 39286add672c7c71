"""Which version of the format a namespace has, and which processes are there with what they know."""

from __future__ import annotations

from typing import NamedTuple

from rq_sched.link import Op, Row
from rq_sched.model.labels import suffix
from rq_sched.model.reading import text
from rq_sched.model.schema import FEATURES, SCHEMA, VERSION, other_schema
from rq_sched.store.base import Base


class Process(NamedTuple):
    """A process that lives: ``worker`` or ``scheduler``, its name, and what it knows (``1+FEATURE``)."""

    kind: str
    name: str
    knows: str


class DataFormat(NamedTuple):
    """The version of the data's format (``""``: there are none yet), and the features beyond it that are in use."""

    version: str
    features: list[str]


class Schema(Base):
    """The version of the data, and who is there."""

    def check_schema(self) -> Op[None]:
        """See whether the data are of the version that this code works with. The scripts look themselves; this is for
        those who only read, and to be told at once.

        Raises:
            OtherSchema
        """
        keys = self.keys
        found, some = yield [Row(("HGET", keys.settings, "schema")), ("EXISTS", keys.seq)]
        version = text(found) if isinstance(found, bytes) else ""
        if VERSION.fullmatch(version):
            if version != str(SCHEMA):
                raise other_schema(keys.namespace, version)
        elif some:  # no entry says it: a script looks closer
            yield [self.call("node_rooms")]

    def data_format(self) -> Op[DataFormat]:
        """What the namespace says of its data, as it says it."""
        version, features = yield from self.rows(
            [("HGET", self.keys.settings, name) for name in ("schema", "features")]
        )
        return DataFormat(text(version or b""), [name for name in text(features or b"").split("+") if name])

    def processes(self) -> Op[list[Process]]:
        """The workers and schedulers that live."""
        now, keys = (yield from self.now()), self.keys
        nodes, schedulers = yield [
            ("ZRANGEBYSCORE", keys.nodes, f"({now}", "+inf"),
            ("ZRANGEBYSCORE", keys.schedulers, f"({now}", "+inf"),
        ]
        known = yield from self.rows([("HGET", keys.node(text(node)), "knows") for node in nodes])
        workers = [Process("worker", text(node), text(k)) for node, k in zip(nodes, known, strict=True)]
        return workers + [Process("scheduler", *text(one).partition(" ")[::2]) for one in schedulers]


def known_features() -> str:
    """What this process knows, as it tells when it registers."""
    return suffix(sorted(FEATURES))
