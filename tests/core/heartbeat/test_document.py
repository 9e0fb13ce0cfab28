"""The message: its shape, its deltas, its size, and where it goes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.heartbeat.counters import Counters, Record, Sample, Source, Totals
from amphora_agent.core.heartbeat.document import (
    DATAGRAM_MAX,
    Destination,
    Document,
    Listener,
    Part,
    Pool,
    Statistics,
    build,
    encode,
    fit,
    is_amphora_id,
    parse_destinations,
)
from amphora_agent.core.heartbeat.envelope import open_envelope

VECTORS: Any = json.loads((Path(__file__).parents[3] / "testbed" / "samples" / "heartbeat-vectors.json").read_text())
AMPHORA = "000000a1-0000-4000-8000-0000000000a1"
WORKER = Source(10, 1000)
TOTALS = Totals(bytes_in=512, bytes_out=1024, request_errors=1, connections=9)


def document_of(message: Any) -> Document:
    """Read a golden message back into a document."""
    listeners = {}
    for name, value in message["listeners"].items():
        stats = value["stats"]
        delta = Totals(
            bytes_in=stats["rx"], bytes_out=stats["tx"], request_errors=stats["ereq"], connections=stats["totconns"]
        )
        listeners[name] = value["status"], Statistics(delta, stats["conns"])
    pools = {key: Pool(value["status"], value["members"]) for key, value in message["pools"].items()}
    return Document(amphora_id=message["id"], seq=message["seq"], listeners=listeners, pools=pools)


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"]) for v in VECTORS["vectors"]])
def test_golden_messages_are_encoded_to_the_same_value(vector: Any) -> None:
    document = document_of(vector["message"])
    assert json.loads(encode(document)) == vector["message"]
    assert open_envelope(fit(document, vector["key"]).data, vector["key"]) == vector["message"]


def test_parts_are_merged_and_deltas_counted() -> None:
    first = Part({"l1": Listener("OPEN", (Sample(WORKER, TOTALS, 3),))}, {"p:l1": Pool("UP", {"m": "UP"})})
    second = Part({"l2": Listener("OPEN")})
    document, counters = build([first, second], Counters(), amphora_id=AMPHORA, seq=7, known=None)
    assert json.loads(encode(document)) == {
        "id": AMPHORA,
        "seq": 7,
        "listeners": {
            "l1": {"status": "OPEN", "stats": {"tx": 1024, "rx": 512, "conns": 3, "totconns": 9, "ereq": 1}},
            "l2": {"status": "OPEN", "stats": {"tx": 0, "rx": 0, "conns": 0, "totconns": 0, "ereq": 0}},
        },
        "pools": {"p:l1": {"status": "UP", "members": {"m": "UP"}}},
        "ver": 3,
    }
    assert counters == Counters({"l1": Record(TOTALS, WORKER)})
    document, again = build([first, second], counters, amphora_id=AMPHORA, seq=8, known=None)
    assert document.listeners["l1"][1] == Statistics(Totals(), 3)
    assert again == counters


def test_an_empty_amphora_has_all_keys() -> None:
    document, counters = build([], Counters(), amphora_id=AMPHORA, seq=0, known=frozenset())
    assert json.loads(encode(document)) == {"id": AMPHORA, "seq": 0, "listeners": {}, "pools": {}, "ver": 3}
    assert counters == Counters()


def test_only_listeners_without_configuration_are_forgotten() -> None:
    counters = Counters({name: Record(TOTALS, WORKER) for name in ("stopped", "deleted")})
    _, kept = build([], counters, amphora_id=AMPHORA, seq=0, known=frozenset({"stopped"}))
    assert set(kept.listeners) == {"stopped"}
    _, kept = build([], counters, amphora_id=AMPHORA, seq=0, known=None)
    assert set(kept.listeners) == {"stopped", "deleted"}


def pool(size: int) -> Pool:
    return Pool("UP", {str(uuid.uuid4()): "UP" for _ in range(size)})


def amphora(*sizes: int) -> Document:
    listeners = {str(uuid.uuid4()): ("OPEN", Statistics(TOTALS, 3)) for _ in range(3)}
    pools = {f"{uuid.uuid4()}:{next(iter(listeners))}": pool(size) for size in sizes}
    return Document(amphora_id=AMPHORA, seq=1, listeners=listeners, pools=pools)


@pytest.mark.parametrize(
    ("sizes", "dropped"),
    [
        ((3100,), []),
        ((10_000,), [10_000]),
        ((4000, 100, 200), [4000]),
        ((1000,) * 10, [1000] * 7),
        ((1, 20_000, 2, 15_000, 3), [20_000, 15_000]),
        ((50,) * 50, []),
    ],
)
def test_too_many_members_cost_the_largest_pools_only(sizes: tuple[int, ...], dropped: list[int]) -> None:
    document = amphora(*sizes)
    datagram = fit(document, "key")
    assert len(datagram.data) <= DATAGRAM_MAX
    assert [len(document.pools[key].members) for key in datagram.dropped] == dropped
    message: Any = open_envelope(datagram.data, "key")
    assert set(message["listeners"]) == set(document.listeners)
    assert set(message["pools"]) == set(document.pools) - set(datagram.dropped)


def test_no_pool_is_dropped_without_need() -> None:
    document = amphora(1500, 1400, 1300, 1200)
    limit = len(fit(document, "key", 1 << 30).data)
    assert fit(document, "key", limit).dropped == ()
    assert len(fit(document, "key", limit * 9 // 10).dropped) == 1


def test_members_in_another_order_are_tried_before_a_pool_is_dropped() -> None:
    document = amphora(3000)
    limit = len(fit(document, "key", 1 << 30).data)
    datagram = fit(document, "key", limit * 96 // 100)
    assert datagram.dropped == ()
    assert json.loads(encode(document)) == open_envelope(datagram.data, "key")


def test_listeners_that_alone_are_too_many_are_left_to_the_caller() -> None:
    datagram = fit(amphora(10, 10), "key", 100)
    assert len(datagram.data) > 100
    assert len(datagram.dropped) == 2
    assert len(fit(amphora(), "key", 100).data) > 100


@pytest.mark.parametrize(
    ("entry", "destination"),
    [
        ("10.0.0.1:5555", Destination("10.0.0.1", 5555)),
        ("[2001:db8::1]:5555", Destination("2001:db8::1", 5555)),
        ("2001:db8::1:5555", Destination("2001:db8::1", 5555)),
        ("[fe80::1%eth0]:5555", Destination("fe80::1%eth0", 5555)),
        ("controller.example.org:1", Destination("controller.example.org", 1)),
        (" 10.0.0.1:65535 ", Destination("10.0.0.1", 65535)),
        ("bad", None),
        ("", None),
        (":5555", None),
        ("[]:5555", None),
        ("10.0.0.1:", None),
        ("10.0.0.1:0", None),
        ("10.0.0.1:65536", None),
        ("10.0.0.1:-1", None),
        ("10.0.0.1:٣", None),
        ("10.0.0.1 10.0.0.2:5555", None),
    ],
)
def test_destinations(entry: str, destination: Destination | None) -> None:
    found, wrong = parse_destinations([entry])
    assert found == (() if destination is None else (destination,))
    assert wrong == ((entry,) if destination is None else ())


def test_a_bad_destination_costs_only_itself() -> None:
    entries = ["bad", "[fd00::1]:5555", "10.0.0.1:5555", "10.0.0.1:5555"]
    twice = Destination("10.0.0.1", 5555)
    assert parse_destinations(entries) == ((Destination("fd00::1", 5555), twice, twice), ("bad",))


@given(st.lists(st.text()))
def test_any_destinations_are_taken(entries: list[str]) -> None:
    found, wrong = parse_destinations(entries)
    assert len(found) + len(wrong) == len(entries)


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        (AMPHORA, True),
        (AMPHORA.upper(), True),
        (None, False),
        ("", False),
        ("None", False),
        ("<amphora-id>", False),
        (AMPHORA + "\n", False),
        (AMPHORA[:-1], False),
        ("00000000-0000-0000-0000-000000000000", False),
    ],
)
def test_only_a_real_id_is_one(text: str | None, is_id: bool) -> None:  # noqa: FBT001
    assert is_amphora_id(text) == is_id
