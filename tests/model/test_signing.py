"""The signature: what it covers, and that unsigned requests know nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rq_sched.errors import InvalidValue
from rq_sched.model.orders import Start
from rq_sched.model.resources import Resources
from rq_sched.model.schedule import signed_as
from rq_sched.model.signing import Signer
from rq_sched.model.task import TaskRequest
from rq_sched.model.values import pack
from rq_sched.process.environment import signing_key
from rq_sched.store.parts import of_lines
from rq_sched.store.records import decode
from rq_sched.store.requests import encode
from rq_sched.worker.agent.attempt import signed

KEY = "0123456789abcdef"
SIGNER = Signer(KEY, "space")
PACKED = pack([[1, b"x"], {"k": "v"}], "")


def fields(request: TaskRequest, signer: Signer | None) -> tuple[bytes, dict[bytes, bytes]]:
    """The digest, and the record as Redis would have it."""
    _, task_class, digest, text = encode(request, signer)
    return digest, {b"class": task_class.encode()} | of_lines(text)


@pytest.mark.parametrize("packed", [b"", PACKED, pack([["x" * 1000], {}], "")], ids=["none", "short", "long"])
@pytest.mark.parametrize("limit", [None, 1.5])
def test_only_exactly_this_request_is_signed(packed: bytes, limit: float | None) -> None:
    signed = SIGNER.sign("t", "m:f", packed, limit)
    assert SIGNER.verify("t", "m:f", signed, limit)
    assert not SIGNER.verify("u", "m:f", signed, limit)
    assert not SIGNER.verify("t", "m:g", signed, limit)
    assert not SIGNER.verify("t", "m:f", signed, 2.0)
    assert not SIGNER.verify("t", "m:f", packed, limit)
    assert not Signer(KEY, "other").verify("t", "m:f", signed, limit)
    assert not Signer(KEY[::-1], "space").verify("t", "m:f", signed, limit)
    for position in range(len(signed)):
        forged = bytearray(signed)
        forged[position] ^= 1
        assert not SIGNER.verify("t", "m:f", bytes(forged), limit), position
    assert not SIGNER.verify("t", "m:f", signed[:-1], limit)
    assert not SIGNER.verify("t", "m:f", b"", limit)


@pytest.mark.parametrize("args", [[], [1], ["x" * 40], ["x" * 100]], ids=["none", "short", "between", "long"])
def test_a_signed_record_reads_as_an_unsigned_one(args: list[object]) -> None:
    request = TaskRequest("m:f", args, retries=2, time_limit=5, task_id="t").check()
    plain, signed = fields(request, None), fields(request, SIGNER)
    assert plain[0] == signed[0]  # the same request, whether signed or not
    infos = [decode("t", record) for _, record in (plain, signed)]
    assert infos[0] == infos[1]
    assert infos[0].args == args
    assert SIGNER.verify("t", "m:f", signed[1][b"with"], 5.0)


def test_where_the_key_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RQ_SCHED_SIGNING_KEY", raising=False)
    monkeypatch.delenv("RQ_SCHED_SIGNING_KEY_FILE", raising=False)
    assert signing_key() is None
    monkeypatch.setenv("RQ_SCHED_SIGNING_KEY", "of the environment")
    assert signing_key() == "of the environment"
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("RQ_SCHED_SIGNING_KEY_FILE", str(file))
    assert signing_key() == KEY
    file.chmod(0o644)
    with pytest.raises(InvalidValue, match="everybody can read"):
        signing_key(str(file))
    with pytest.raises(InvalidValue, match="can't be read"):
        signing_key(str(tmp_path / "none"))
    with pytest.raises(InvalidValue, match="at least 16"):
        Signer("short", "space")


@pytest.mark.parametrize(
    ("task_id", "good"),
    [
        ("a/17", True),
        ("a", True),
        ("a/$(id)", False),
        ("a/017", False),
        ("a/1/2", False),
        ("a/", False),
        ("b/17", False),
    ],
)
def test_an_element_is_run_under_the_signature_of_its_array(task_id: str, good: bool) -> None:
    one = Resources(1, 100)
    arguments = SIGNER.sign("a", "m:f", PACKED, None)
    order = Start(1, "token", task_id, 1, "m:f", arguments, 0, one, one, None, "cpu")
    assert signed(order, SIGNER) is good


@pytest.mark.parametrize(
    ("task_id", "good"),
    [
        ("a.20261130T030000Z", True),
        ("a.20261130T030000.123Z", True),
        ("a", False),
        ("a.now", False),
        ("a.b.20261130T030000Z", False),
        ("b.20261130T030000Z", False),
    ],
)
def test_a_schedules_task_is_run_under_the_signature_of_its_schedule(task_id: str, good: bool) -> None:
    one = Resources(1, 100)
    arguments = SIGNER.sign(signed_as("a"), "m:f", PACKED, None)
    order = Start(1, "token", task_id, 1, "m:f", arguments, 0, one, one, None, "cpu")
    assert signed(order, SIGNER) is good
