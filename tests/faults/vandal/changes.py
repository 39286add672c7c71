"""Who changes things, and what they are changed to."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rq_sched.link import Command
from rq_sched.store.keys import Keys

INNOCENT, GUILTY = "i", "x"
MENTIONS = re.compile(rb"(?<![A-Za-z0-9._-])i\d+(\.\d+T\d+Z)?(?![A-Za-z0-9._-])")
"""An innocent in the name of a key, or in an entry. (Members of queues begin with the sequence.)"""
QUEUED = re.compile(rb"^[0-9a-f]{13}i\d+(\.\d+T\d+Z)?/?$")

_WORDS = (
    "|0|-1|1|7|inf|-inf|nan|1e308|0x10|x1|x2|x3/1|x99|x1/x|n0|n1|n9|1:100|1:100+gpu|999:1|0:0|-1:100|x:y|1:1:1:1|x1:1:100:r|"
    "x1:1:100:z|n0:1:crashed|n9:zz:crashed|:|/|arr/|running|completed|pending|delayed|held|assigned|failed|up|dead|k.1.1|1-9|"
    "9-1|0-999999999|00000000000011:100|end|off|1.5|%s%n|$(id)|a b"
)
ODD = [word.encode() for word in _WORDS.split("|")]
"""What things are changed to."""
ODD += [b"9" * 30, b"-" + b"9" * 20, b"\xff\xfe", b"\x1b[31mred\x1b[0m\x07", b"a\nb", b"y" * 3000]
ODD += [b"\x81\xa1a" * 50, b"\x91" * 200, b"\x92\x90\x80"]
_LINES = (
    "state=held state=delayed state=completed state=retry due=5 array=1-9 after=end after=requeue started=5 priority=7 "
    "allocated=9:9 payload=300 stored=300 watch=c attempts=-1 asked=1:100 retries=x class=9:9 turn=0 digest="
)
LINES = [line.encode() for line in _LINES.split(" ")]
"""Lines of requests and outcomes, words of attempts."""
HOUR = 3_600_000
NODES = ("n0", "n1")
ODD_OF_NOBODY = [word for word in ODD if word.decode("latin-1") not in NODES]
"""As an entry of an index the name of a node isn't one task's own: it says where the node stands there."""


class Place(Protocol):
    """The namespace in which things are changed."""

    @property
    def keys(self) -> Keys: ...

    def plainly(self, *commands: Command) -> list[Any]:
        """The replies to commands."""


class Vandal:
    """Changes things.

    Parameters:
        tell: hears what was changed.
        shared: whether also what isn't one task's own.
        spared: what the names of keys and the entries that aren't touched have in them.
    """

    def __init__(
        self,
        seed: int,
        network: Place,
        tell: Callable[[str], object],
        *,
        shared: bool,
        spared: re.Pattern[bytes] = MENTIONS,
    ) -> None:
        self.rng = random.Random(f"vandal {seed}")
        self.spared = spared
        self._tell = tell
        self.network = network
        self.shared = shared
        self.prefix = network.keys.prefix.encode()
        self.count: Counter[str] = Counter()
        self.touched: set[str] = set()
        """Tasks whose state he may have written."""
        self._expiring: list[bytes] = []

    def act(self) -> None:
        """Change one thing."""
        self.expire()
        rng = self.rng
        keys: list[bytes] = sorted(self.network.plainly(("KEYS", self.prefix.decode() + "*"))[0])
        for _ in range(50):
            key = rng.choice(keys)
            name = key.removeprefix(self.prefix)
            if self.spared.search(name):
                continue
            own = re.match(rb"(task|ended|array|payload|result|log|live|apart|schedule):x", name) is not None
            kind = self.network.plainly(("TYPE", key))[0].decode()
            if self.shared and rng.random() < 0.02:
                self._do("library", ("FUNCTION", "FLUSH"))
                return
            if self.shared and rng.random() < 0.03:
                self._ring(rng.choice(NODES))
                return
            if (own or self.shared) and rng.random() < 0.15:
                self._whole(name, key, kind, keys)
                return
            if self._part(name, key, kind, own):
                return

    def _do(self, what: str, *commands: tuple[Any, ...]) -> None:
        self.count[what.split(" ")[0]] += 1
        self.network.plainly(*commands)
        words = b" ".join(_bytes(part).removeprefix(self.prefix)[:60] for part in commands[-1])
        self._tell(f"vandal: {what}: {words!r}")

    def expire(self) -> None:
        """What he gave a time to live is gone, if it still has one. By the real clock no story would be
        told twice."""
        for key in self._expiring:
            if self.network.plainly(("PTTL", key))[0] > 0:
                self.network.plainly(("DEL", key))
        self._expiring.clear()

    def _ring(self, node: str) -> None:
        """Nodes hear what nobody has told: odd words, or an order that looks like one of theirs."""
        rng, keys = self.rng, self.network.keys
        found = self.network.plainly(("HMGET", keys.node(node), "incarnation", "ordered"))[0]
        incarnation, ordered = found if isinstance(found, list) else (None, None)
        number = int(ordered) + 1 if ordered and ordered.isdigit() else 1
        order = rng.choice(
            [b"start k.1.1 x3 1\nclass=1:100\n", b"stop k.1.1 x3 0", b"resize k.1.1 x3 9:9", b"reload", b""]
        )
        message = rng.choice([self._odd(), b"9" * 15, b"%b %d %b" % (incarnation or b"", number, order)])
        self._do(f"message {node}", ("PUBLISH", keys.bell(node), message))

    def _note(self, name: bytes) -> None:
        self.touched.add(name.partition(b":")[2].decode("latin-1"))

    def _whole(self, name: bytes, key: bytes, kind: str, keys: Sequence[bytes]) -> None:
        """A key as a whole."""
        rng = self.rng
        self._note(name)
        choice = rng.choice(["gone", "type", "type", "expires", "other"])
        if choice == "gone":
            self._do("key-gone", ("DEL", key))
        elif choice == "expires":
            self._do("key-expires", ("PEXPIRE", key, HOUR))
            self._expiring.append(key)
        elif choice == "other":
            others = [one for one in keys if not self.spared.search(one) and one != key]
            self._do("key-of-another", ("COPY", rng.choice(others), key, "REPLACE"))
        else:
            make: list[tuple[Any, ...]] = [
                ("SET", key, self._odd()),
                ("HSET", key, self._odd(), self._odd()),
                ("RPUSH", key, self._odd()),
                ("ZADD", key, self._score(), self._odd()),
                ("SADD", key, self._odd()),
                ("XADD", key, "*", self._odd(), self._odd()),
            ]
            self._do("key-type", ("DEL", key), rng.choice(make))

    def _part(self, name: bytes, key: bytes, kind: str, own: bool) -> bool:
        """A field, an entry or a score of a key; False: nothing here may be changed."""
        rng = self.rng
        ask = self.network.plainly
        entries: list[bytes] = []
        if kind == "hash":
            entries = ask(("HKEYS", key))[0]
            values = dict(zip(entries, ask(("HVALS", key))[0], strict=True))
            entries = [one for one in entries if not self.spared.search(one) and not self.spared.search(values[one])]
            if not own and not self.shared:
                entries = [one for one in entries if (one if name == b"placed" else values[one]).startswith(b"x")]
        elif kind == "zset":
            entries = ask(("ZRANGE", key, 0, -1))[0]
        elif kind == "set":
            entries = ask(("SMEMBERS", key))[0]
        elif kind == "list":
            entries = ask(("LRANGE", key, 0, -1))[0]
        entries = sorted(one for one in entries if not self.spared.search(one) and not QUEUED.match(one))
        if not own and not self.shared and kind != "hash":
            entries = [one for one in entries if re.search(rb"(^|[ :]|^[0-9a-f]{13})x\d+", one)]
        if own:
            self._note(name)
        entry = rng.choice(entries) if entries else None
        return self._change(name, key, kind, entry, own)

    def _change(self, name: bytes, key: bytes, kind: str, entry: bytes | None, own: bool) -> bool:
        rng = self.rng
        index = name.partition(b":")[0] in (b"classes", b"groups", b"fresh", b"limited")
        if name == b"placed" and kind == "hash":
            self._placed(key, entry)
        elif kind == "hash":
            if entry is None:
                if not own and not self.shared and not name.endswith((b":tasks", b":grown")):
                    return False
                self._do("field-new", ("HSET", key, self._odd(), self._odd()))
            elif rng.random() < 0.25:
                self._do(f"field-gone {name.decode('latin-1')}", ("HDEL", key, entry))
            else:
                odd = self._odd()
                if entry == b"schema" and odd.isdigit():
                    odd = b"x:y"  # another version stops everybody
                self._do(f"field-odd {name.decode('latin-1')}", ("HSET", key, entry, odd))
        elif kind == "zset":
            if entry is None or rng.random() < 0.3:
                member = (b"%013x" % rng.randrange(50) if rng.random() < 0.5 else b"") + self._odd()
                self._do(f"entry-new {name.decode('latin-1')}", ("ZADD", key, self._score(), member))
            elif index and not self.shared:
                return False  # the heads of a class are everybody's
            elif rng.random() < 0.5:
                self._do(f"score-odd {name.decode('latin-1')}", ("ZADD", key, self._score(), entry))
            else:
                score = self.network.plainly(("ZSCORE", key, entry))[0]
                other = rng.choice([self._odd(), entry[:13] + self._odd(), b""])
                self._do(f"entry-odd {name.decode('latin-1')}", ("ZREM", key, entry), ("ZADD", key, score, other))
        elif kind == "set":
            if entry is None or rng.random() < 0.5:
                self._do(f"entry-new {name.decode('latin-1')}", ("SADD", key, self._odd()))
            else:
                self._do(f"entry-gone {name.decode('latin-1')}", ("SREM", key, entry))
        elif kind == "list":
            if name == b"wake":
                self._do("entry-odd wake", ("RPUSH", key, self._odd()))
            elif entry is not None:
                self._do(f"entry-odd {name.decode('latin-1')}", ("LREM", key, 1, entry), ("RPUSH", key, self._odd()))
            else:
                return False
        elif kind == "string":
            if not own and not self.shared:
                return False
            text = self.network.plainly(("GET", key))[0]
            lines = name.startswith((b"task:", b"ended:")) and text and rng.random() < 0.8
            changed = self._in_parts(text, b"\n") if lines else self._odd()
            self._do(f"string-odd {name.decode('latin-1')}", ("SET", key, changed))
        elif kind == "stream":
            self._do("entry-new events", ("XADD", key, "*", self._odd(), self._odd()))
        else:
            return False
        return True

    def _placed(self, key: bytes, entry: bytes | None) -> None:
        """Where a task is."""
        rng = self.rng
        task_id = entry or self._odd()
        self.touched.add(task_id.decode("latin-1"))
        text = self.network.plainly(("HGET", key, task_id))[0]
        if text is None or rng.random() < 0.2:
            self._do("attempt-odd", ("HSET", key, task_id, self._odd()))
        elif rng.random() < 0.25:
            self._do("attempt-gone", ("HDEL", key, task_id))
        else:
            self._do("attempt-odd", ("HSET", key, task_id, self._in_parts(text, b" ")))

    def _in_parts(self, text: bytes, between: bytes) -> bytes:
        """A text of which one part is another: the value behind a name, or all of it; or it is gone, or one more."""
        rng = self.rng
        parts = text.split(between)
        at = rng.randrange(len(parts))
        name, equals, _ = parts[at].partition(b"=")
        odd = rng.choice([self._odd(), rng.choice(LINES)])
        if name == b"array" and odd == b"0-999999999":
            odd = b"x:y"  # a billion elements are rightly before others
        choice = rng.choice(["value", "value", "whole", "gone", "more"])
        if choice == "gone":
            del parts[at]
        elif choice == "more":
            parts.insert(at, odd)
        else:
            parts[at] = name + equals + odd if choice == "value" and equals else odd
        return between.join(parts)

    def _odd(self) -> bytes:
        return self.rng.choice(ODD if self.shared else ODD_OF_NOBODY)

    def _score(self) -> str:
        rng = self.rng
        return rng.choice(["inf", "-inf", "0", "-1", "1e308", "-1e308", "1.5", "9007199254740993", "1000000000", "5"])


def _bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()
