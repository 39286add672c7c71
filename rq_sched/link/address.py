"""Where Redis is: the URL, taken apart.

``redis://[user:password@]host[:port][/db]``, ``rediss://…`` (TLS), ``unix:///path/to/socket[?db=N]``, and with Sentinel
``redis+sentinel://[user:password@]host[:port],host[:port],…/service[/db]`` (``rediss+sentinel://``: all with TLS). User
and password are those of Redis; ``?sentinel_username=…&sentinel_password=…`` are those of the sentinels. Other query
parameters go to the driver as they are, such as ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from rq_sched.errors import InvalidValue
from rq_sched.process.environment import secret_of, variable

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
PORT, SENTINEL_PORT = 6379, 26379
PASSWORD_FILE = "RQ_SCHED_REDIS_PASSWORD_FILE"
"""The variable that names a file with the password for addresses that have none."""
OPTIONS = frozenset(
    {
        "db",
        "username",
        "password",
        "sentinel_username",
        "sentinel_password",
        "client_name",
        "max_connections",
        "health_check_interval",
        "socket_timeout",
        "socket_connect_timeout",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_certfile",
        "ssl_cert_reqs",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_keyfile",
        "ssl_min_version",
        "ssl_password",
    }
)
"""Query parameters; those of TLS are named as the driver names them."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/]+)(?::(\d{1,5}))?")
_FORM = "use redis://HOST:PORT/DB, rediss://…, unix:///PATH or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB"


@dataclass(frozen=True, slots=True)
class Address:
    """A URL's parts. ``hosts``: the servers, or the sentinels, with their ports; empty for a socket."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    username: str | None = None
    password: str | None = None
    service: str = ""
    database: int = 0
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @property
    def sentinel(self) -> bool:
        """Whether the hosts are sentinels, which are asked who is the master of ``service``."""
        return self.scheme.endswith("+sentinel")

    @property
    def tls(self) -> bool:
        return self.scheme.startswith("rediss")

    @property
    def socket(self) -> bool:
        """Whether it is a socket of this machine."""
        return self.scheme == "unix"

    @property
    def loopback(self) -> bool:
        """Whether what is said stays on this machine."""
        return all(host in ("localhost", "::1") or host.startswith("127.") for host, _ in self.hosts)


def parse(url: str) -> Address:
    """The parts of a URL.

    Raises:
        InvalidValue: it isn't one that rq-sched can use; the message shows no password.

    >>> parse("redis+sentinel://:secret@a,b:26380/main/1").hosts
    (('a', 26379), ('b', 26380))
    """
    try:
        parts = urlsplit(url)
        url.encode()  # text that has no UTF-8 names no host
    except UnicodeEncodeError:
        raise _bad(url, "it must be UTF-8 text") from None
    except ValueError as error:
        raise _bad(url, str(error)) from None
    if parts.scheme == "redis+cluster":
        raise _bad(url, f"Redis Cluster isn't supported yet, as a namespace lives on one master; {_FORM}")
    if parts.scheme not in SCHEMES:
        raise _bad(url, _FORM)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if not value.strip():
            raise _bad(url, f"{name} is empty")
        if name not in OPTIONS:
            raise _bad(url, f"unknown option {name!r}; known are {', '.join(sorted(OPTIONS))}")
        if name.startswith("ssl_") and not parts.scheme.startswith("rediss"):
            raise _bad(url, f"{name} is for TLS: use rediss:// or rediss+sentinel://")
    database = options.pop("db", None)
    if parts.scheme == "unix":
        if not parts.path:
            raise _bad(url, "unix:// needs the path of the socket, as in unix:///run/redis.sock")
        if parts.password == "":
            raise _bad(url, "the password is empty")
        return Address("unix", (), parts.username, parts.password, "", _database(url, database), options=options)
    credentials, _, netloc = parts.netloc.rpartition("@")
    username, colon, password = credentials.partition(":")
    if colon and not password.strip():
        raise _bad(url, "the password is empty")
    sentinel = parts.scheme.endswith("+sentinel")
    path = [unquote(part) for part in parts.path.split("/") if part]
    service = path.pop(0) if sentinel and path else ""
    if sentinel and not service:
        raise _bad(url, "the name of the service that the sentinels watch is missing: …/SERVICE/DB")
    if len(path) > 1:
        raise _bad(url, _FORM)
    hosts = tuple(_host(url, one, SENTINEL_PORT if sentinel else PORT) for one in netloc.split(","))
    if len(hosts) > 1 and not sentinel:
        raise _bad(url, "several hosts are for redis+sentinel:// only")
    return Address(
        parts.scheme,
        hosts,
        unquote(username) or None,
        unquote(password) or None,
        service,
        _database(url, database or (path[0] if path else None)),
        options.pop("sentinel_username", None),
        options.pop("sentinel_password", None),
        options,
    )


def complete(url: str) -> str:
    """The URL, with the password of the file that ``RQ_SCHED_REDIS_PASSWORD_FILE`` names where it has none itself. A
    socket's stays as it is: `rq-sched up` has no password.

    Raises:
        InvalidValue: it isn't a URL, or the file can't be used.
    """
    address = parse(url)
    if address.password is not None or address.socket or (file := variable(PASSWORD_FILE)) is None:
        return url
    scheme, _, rest = url.partition("://")
    end = min((i for i in map(rest.find, "/?#") if i >= 0), default=len(rest))
    username, _, hosts = rest[:end].rpartition("@")
    return f"{scheme}://{username}:{quote(secret_of(file, 'password of Redis'), safe='')}@{hosts}{rest[end:]}"


def shown(url: str) -> str:
    """The URL without its passwords.

    >>> shown("redis://me:secret@host:6379/0")
    'redis://me:***@host:6379/0'
    """
    url = re.sub(r"^([a-z+]+://[^/?]*?):[^/?]*@", r"\1:***@", url)
    return re.sub(r"([?&](?:\w*password|ssl_password)=)[^&]*", r"\1***", url)


def _bad(url: str, why: str) -> InvalidValue:
    return InvalidValue(f"bad Redis address {shown(url)!r}: {why}")


def _host(url: str, text: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text or "localhost")
    if found is None or (found[2] and int(found[2]) > 65535):
        raise _bad(url, _FORM)
    return unquote(found[1].strip("[]")), int(found[2] or port)


def _database(url: str, text: str | None) -> int:
    if text is None:
        return 0
    if not text.isdecimal():
        raise _bad(url, f"the database must be a number, not {text!r}")
    return int(text)
