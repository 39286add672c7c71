"""``limit`` and ``limits``, as they are typed."""

from __future__ import annotations

from tests.cli.kit import Cli, HandCell, rows


def test_set_shown_removed(cli: Cli, hand: HandCell) -> None:
    assert cli("limits").out.startswith("no limits: set one (`rq-sched limit api 20`)")
    hand.node("n1", 4, 1024, ttl=600)
    assert cli("limit", "api", "20").out == "limit api is 20\n"
    assert cli("limit", "db", "1000").out == "limit db is 1,000\n"
    cli("submit", "--id", "t", "--limit", "api=3", "-q", "m:f")
    cli("submit", "--id", "more", "--limit", "api=18", "-q", "m:f")
    assert rows(cli("limits"))["api"][1:] == ["20", "3", "17", "more"]
    assert cli.json("limits").json == [
        {"name": "api", "limit": 20, "in_use": 3, "first_waiting": "more"},
        {"name": "db", "limit": 1000, "in_use": 0, "first_waiting": None},
    ]
    assert cli("limit", "api", "off").out == "limit api is off: tasks that ask for it aren't limited\n"
    assert cli.json("limit", "db", "off").one == {"name": "db", "limit": None, "in_use": 0, "first_waiting": None}
    assert list(rows(cli("limits"))) == ["api"]  # some of it is in use
    assert cli("events").out.count("most off") == 2


def test_what_is_wrong(cli: Cli) -> None:
    refused = cli("submit", "--limit", "apj", "m:f", code=2).err
    assert "there is no limit apj: `rq-sched limits` lists them, `rq-sched limit apj 20` sets it" in " ".join(
        refused.split()
    )
    assert "bad name of a limit 'Api'" in cli("limit", "Api", "1", code=2).err
    for wrong in ("-1", "1.5", "many", "9999999999"):
        assert "a limit must be a whole number from 0" in cli("limit", "api", "--", wrong, code=2).err
