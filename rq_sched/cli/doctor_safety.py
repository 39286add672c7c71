"""What ``rq-sched doctor`` says about safety: who can get at Redis, and what a failover may lose."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rq_sched.link.address import Address, parse

Said = tuple[str, bool, str]
"""Check, whether it is well, message."""


def safety(url: str, info: Mapping[str, str], users: Callable[[], list[str] | None]) -> Iterator[Said]:
    """The findings.

    Parameters:
        info: what the server says of itself.
        users: asks for its ACL users; None where this user may not look.
    """
    address = parse(url)
    if address.socket:
        yield _socket(Path(unquote(urlsplit(url).path)))
    else:
        yield _encryption(address)
        yield _password(address, users)
    yield from _replicas(info)


def _socket(path: Path) -> Said:
    """Who may enter the socket's folder, and write to the socket."""
    try:
        open_socket = bool(path.stat().st_mode & stat.S_IWOTH)
        open_folders = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    except OSError as error:
        return ("security", True, f"unix socket, which can't be looked at ({error.strerror})")
    if open_socket and open_folders:
        return (
            "security",
            False,
            f"any user of this machine may write to {path}: make its folder 0700",
        )
    return ("security", True, "unix socket: only users of this machine whom its folder admits")


def _encryption(address: Address) -> Said:
    if address.tls:
        unchecked = address.options.get("ssl_cert_reqs") == "none"
        if unchecked:
            return ("encryption", False, "TLS, but nobody checks who answers: leave ssl_cert_reqs=none out")
        return ("encryption", True, "TLS")
    if address.loopback:
        return ("encryption", True, "loopback only")
    hosts = ", ".join(host for host, _ in address.hosts)
    return ("encryption", False, f"plain TCP to {hosts}: anyone on the way can read and write (rediss://)")


def _password(address: Address, users: Callable[[], list[str] | None]) -> Said:
    if not address.password or _open_default_user(users()):
        return (
            "password",
            False,
            "the server lets anyone in (nopass): set a password, see deploy/acl for users and their rights",
        )
    return ("password", True, "asked for")


def _open_default_user(users: list[str] | None) -> bool:
    """Whether the user `default` is on and needs no password; False where this user may not look."""
    words: list[str] = next((user.split() for user in users or () if user.startswith("user default ")), [])
    return "on" in words and "nopass" in words


def _replicas(info: Mapping[str, str]) -> Iterator[Said]:
    """A master that has lost its replicas must stop accepting: a failover would lose what it takes."""
    count = int(info.get("connected_slaves", 0))
    if not count or info.get("role") != "master":
        return
    if "min_slaves_good_slaves" in info:  # shown only where min-replicas-to-write is set
        yield ("replicas", True, f"{count} connected, and min-replicas-to-write is set")
    else:
        yield (
            "replicas", False,
            f"{count} connected, but min-replicas-to-write is 0: a master that is cut off from them goes on accepting "
            f"tasks, which a failover then loses (min-replicas-to-write 1)",
        )  # fmt: skip
