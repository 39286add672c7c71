"""What tasks ask for and nodes offer beside CPU and memory: as users write it, and as it stands in Redis."""

from __future__ import annotations

from typing import Any

import pytest

from rq_sched import TaskRequest
from rq_sched.errors import InvalidResources
from rq_sched.model.asked import MOST, items, parse_limits, parse_resources, sums, thousandths
from rq_sched.model.held import Held, read_held
from rq_sched.model.offers import Stock, offered, parse_offers, read_stocks, words_of
from rq_sched.store.parts import of_lines
from rq_sched.store.records import decode
from rq_sched.store.requests import encode


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"gpu": 0}, "gpu must be above 0"), ({"gpu": -1}, "gpu must be above 0"),
        ({"gpu": 1.5}, "must be whole, or below 1"), ({"gpu": 0.0001}, "whole thousandths"),
        ({"gpu": True}, "must be a number"), ({"gpu": "2"}, "must be a number"),
        ({"gpu": float("nan")}, "must be a number"), ({"gpu": float("inf")}, "must be a number"),
        ({"gpu": MOST + 1}, "count in larger units"), ({"GPU": 1}, "bad name 'GPU'"), ({"2gpu": 1}, "bad name"),
        ({"g" * 33: 1}, "bad name"), ({"": 1}, "bad name"), ({"a=b": 1}, "bad name"), ({7: 1}, "bad name 7"),
        (["gpu"], "must be NAME=AMOUNT, such as gpu=2"), (["gpu=two"], "must be NAME=AMOUNT"),
        (["gpu=1", "gpu=2"], "names gpu twice"), ([7], "must be words such as gpu=2"),
        ("gpu=2", "must be names with amounts"), (7, "must be names with amounts"),
        ({f"r{n}": 1 for n in range(17)}, "at most 16"),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_for(given: Any, why: str):
    with pytest.raises(InvalidResources, match=f"^resources.*{why}"):
        parse_resources(given, "resources")


@pytest.mark.parametrize(
    ("given", "why"),
    [({"api": 0}, "whole number from 1"), ({"api": 0.5}, "whole number from 1"), ({"api": 10**9 + 1}, "at most"),
     (["api=x"], "must be NAME=AMOUNT, such as api=2"), (["Api"], "bad name"), (["api", "api=2"], "names api twice")],
)  # fmt: skip
def test_what_can_not_be_a_limit(given: Any, why: str):
    with pytest.raises(InvalidResources, match=f"^limits.*{why}"):
        parse_limits(given, "limits")


@pytest.mark.parametrize(
    ("words", "why"),
    [(["gpu"], "such as gpu=4"), (["gpu=0"], "whole number from 1"), (["gpu=1.5"], "whole number"),
     (["gpu=[]"], "bad index ''"), (["gpu=[0,0]"], "an index twice"), (["gpu=[a b]"], "bad index"),
     (["gpu=[0:1]"], "bad index"), (["GPU=1"], "bad name"), (["gpu=1", "gpu=2"], "names gpu twice"),
     (["gpu=9e9"], "whole"),
     ([f"gpu=[{','.join(map(str, range(257)))}]"], "at most 256"), ([f"r{n}=1" for n in range(17)], "at most 16"),
     ([7], "such as gpu=4"), (7, "must be words"), (["gpu=auto"], "whole number")],
)  # fmt: skip
def test_what_a_node_can_not_offer(words: Any, why: str):
    with pytest.raises(InvalidResources, match=why):
        parse_offers(words)


def test_a_request_says_it_in_its_class_and_is_read_back():
    request = TaskRequest("m:f", require=["ssd"], resources={"scratch": 5000, "gpu": 0.125}, limits=["db=2", "api"])
    assert request.check().check() == request, "checked twice it is the same"
    task_id, task_class, digest, text = encode(request)
    assert task_class == "1:256+ssd*gpu=125*scratch=5000000@api=1@db=2"
    info = decode(task_id, {b"class": task_class.encode() + b"!n1:5f", **of_lines(text)})
    assert (info.resources, info.limits) == ({"gpu": 0.125, "scratch": 5000}, {"api": 1, "db": 2})
    assert (info.require, info.refused, info.cpu_needed) == (["ssd"], ["n1:5f"], 1)
    for other in ({"resources": {"gpu": 0.125}}, {"limits": {"api": 1}}, {}):
        assert encode(TaskRequest("m:f", require=["ssd"], task_id=task_id, **other).check())[2] != digest


def test_a_damaged_class_shows_none_of_it():
    info = decode("t1", {b"class": b"1:256*gpu=" + b"9" * 5000})
    assert (info.resources, info.limits, info.reason) == ({}, {}, "unreadable")


def test_each_thousandth_comes_back():
    for number in range(1, 1000):
        amounts = parse_resources([f"gpu={number / 1000}"], "resources")
        assert thousandths(items(amounts)) == {"gpu": number}
    assert sums([{"gpu": 0.1}] * 10) == {"gpu": 1}


def test_offers_there_and_back():
    offers = parse_offers(["gpu=[0,2,GPU-1a]", "scratch=257", "fpga=256"])
    assert parse_offers(words_of(offers)) == parse_offers(" ".join(words_of(offers))) == offers
    assert parse_offers({"gpu": ["0", 2, "GPU-1a"], "scratch": 257, "fpga": 256}) == offers
    assert offers["fpga"] == tuple(map(str, range(256)))
    assert offers["scratch"] == 257
    stocks = read_stocks(offered(offers), "gpu=0:1000,2:500,GPU-1a:0 scratch=#7000")
    assert stocks["gpu"] == Stock(3000, 1500, {"0": 1000, "2": 500, "GPU-1a": 0})
    assert stocks["scratch"] == Stock(257_000, 7000)
    assert stocks["fpga"].free == 0, "what isn't said is none"


@pytest.mark.parametrize(
    ("indexes", "fits", "not_"),
    [({"0": 1000, "1": 500}, [1000, 500, 1, 999], [2000]), ({"0": 500, "1": 500}, [500], [501, 1000]),
     ({"0": 1000, "1": 1000}, [2000, 1000], [3000]), ({"0": 0}, [], [1])],
)  # fmt: skip
def test_whole_ones_are_whole_indexes_and_a_share_is_of_one(indexes: dict[str, int], fits: list[int], not_: list[int]):
    stock = Stock(1000 * len(indexes), sum(indexes.values()), indexes)
    assert [n for n in (*fits, *not_) if stock.fits(n)] == fits


def test_what_is_held_is_read_strictly():
    held = read_held("fpga=0*250;gpu=0*1000,2*1000;scratch=#5000000;@api=2")
    assert held == {"fpga": Held(0.25, ("0",)), "gpu": Held(2, ("0", "2")), "scratch": Held(5000)}
    bad = "gpu gpu= gpu=0 gpu=0*x gpu=0*0 gpu=# gpu=#-1 G=0*1 gpu=0*1;gpu=1*1 gpu=/*1 gpu=#9999999999999999999"
    for text in bad.split():
        with pytest.raises(ValueError):
            read_held(text)
