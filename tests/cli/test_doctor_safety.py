"""What the doctor says about safety."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rq_sched.cli.doctor_safety import safety

CLOSED = ["user default off nopass", "user rqs-client on #abc"]
OPEN = ["user default on nopass ~* &* +@all"]


def said(url: str, info: dict[str, str] | None = None, users: list[str] | None = None) -> dict[str, bool]:
    return {check: ok for check, ok, _ in safety(url, info or {"role": "master"}, lambda: users)}


@pytest.mark.parametrize(
    ("url", "users", "encryption", "password"),
    [
        ("redis://u:p@10.0.0.1", CLOSED, False, True),
        ("redis://u:p@127.0.0.1", CLOSED, True, True),
        ("redis://u:p@localhost", None, True, True),
        ("redis://localhost", CLOSED, True, False),
        ("redis://u:p@localhost", OPEN, True, False),
        ("rediss://u:p@10.0.0.1", CLOSED, True, True),
        ("rediss://u:p@10.0.0.1?ssl_cert_reqs=none", CLOSED, False, True),
        ("redis+sentinel://u:p@localhost,10.0.0.1/main", CLOSED, False, True),
        ("rediss+sentinel://u:p@localhost,10.0.0.1/main", CLOSED, True, True),
    ],
)
def test_the_network(url: str, users: list[str] | None, encryption: bool, password: bool) -> None:
    assert said(url, users=users) == {"encryption": encryption, "password": password}


@pytest.mark.parametrize(
    ("mode", "folder", "well"), [(0o777, 0o755, False), (0o777, 0o700, True), (0o770, 0o755, True)]
)
def test_a_socket_that_everybody_may_write_to(
    mode: int, folder: int, well: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "run"
    home.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "s"))
        (home / "s").chmod(mode)
        home.chmod(folder)
        for parent in home.parents:  # pytest's own folders are private
            parent.chmod(0o755)
            if parent.name.startswith("pytest-of-"):
                break
        assert said(f"unix://{home}/s") == {"security": well}


def test_replicas_without_a_least_number() -> None:
    info = {"role": "master", "connected_slaves": "2"}
    assert said("unix:///nowhere", info)["replicas"] is False
    assert said("unix:///nowhere", {**info, "min_slaves_good_slaves": "2"})["replicas"] is True
    assert "replicas" not in said("unix:///nowhere", {"role": "master", "connected_slaves": "0"})
