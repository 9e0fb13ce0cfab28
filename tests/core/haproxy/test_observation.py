"""What one look at a HAProxy found, and what a heartbeat makes of it."""

from __future__ import annotations

import pytest

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.observation import (
    GRACE,
    Absent,
    Answer,
    Answered,
    Memory,
    Observation,
    Silent,
    hide,
    is_of_another,
    listener_ids,
    report,
)
from amphora_agent.core.haproxy.stats import Frontend, Table
from amphora_agent.core.heartbeat.counters import Sample, Source, Totals
from amphora_agent.core.heartbeat.document import Listener, Part, Pool
from amphora_agent.core.process_id import ProcessId

WORKER, OLD = ProcessId(10, 1000), ProcessId(9, 500)
SOURCE = Source.of_process(WORKER)
NUMBERS = Totals(bytes_in=5, connections=1)
TABLE = Table({"l": Frontend("l", "OPEN", NUMBERS, 2)}, {"p:l": Pool("UP", {"m": "UP"})})


def test_listeners_are_those_of_the_configuration() -> None:
    part, memory = report(Answered(WORKER, TABLE), ("l", "new"), {}, Memory())
    assert part.listeners == {"l": Listener("OPEN", (Sample(SOURCE, NUMBERS, 2),)), "new": Listener("OPEN")}
    part, _ = report(Answered(WORKER, TABLE), (), {}, memory)
    assert part.listeners == {}


def test_old_workers_are_sampled_after_the_current_one() -> None:
    old = Table({"l": Frontend("l", "STOP", Totals(bytes_in=9), 1)})
    answered = Answered(
        WORKER, TABLE, (Answer(OLD, old), Answer(ProcessId(8, 1), None), Answer(ProcessId(7, 1), Table()))
    )
    part, _ = report(answered, ("l",), {}, Memory())
    assert part.listeners["l"] == Listener(
        "OPEN", (Sample(SOURCE, NUMBERS, 2), Sample(Source(9, 500), Totals(bytes_in=9), 1), Sample(Source(8, 1), None))
    )


def test_silence_is_bridged_for_a_while_and_then_reported() -> None:
    full = Table({"l": Frontend("l", "FULL", NUMBERS, 2)}, TABLE.pools)
    _, memory = report(Answered(WORKER, full), ("l",), {}, Memory())
    for _ in range(GRACE):
        part, memory = report(Silent("stopped"), ("l", "added"), {}, memory)
        assert part == Part({"l": Listener("FULL"), "added": Listener("OPEN")}, TABLE.pools)
    part, memory = report(Silent("stopped"), ("l",), {}, memory)
    assert part == Part()
    part, memory = report(Answered(WORKER, TABLE), ("l",), {}, memory)
    assert set(part.listeners) == {"l"}
    assert memory.missed == 0


def test_a_haproxy_that_is_gone_contributes_nothing() -> None:
    _, memory = report(Answered(WORKER, TABLE), ("l",), {}, Memory())
    assert report(Absent(), ("l",), {}, memory) == (Part(), Memory())


def test_members_being_removed_are_hidden_only_in_maintenance() -> None:
    pools = {
        "p:l": Pool("UP", {"going": "MAINT", "back": "UP", "stays": "MAINT"}),
        "q:l": Pool("DOWN", {"going": "MAINT"}),
        "r:l": Pool("DOWN", {"other": "DOWN"}),
    }
    gone = frozenset({"going", "back"})
    assert hide(pools, {"p:l": gone, "q:l": gone, "unknown": gone}) == {
        "p:l": Pool("UP", {"back": "UP", "stays": "MAINT"}),
        "q:l": Pool("UP", {}),
        "r:l": Pool("DOWN", {"other": "DOWN"}),
    }


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        (Answered(WORKER, TABLE), False),
        (Answered(OLD, TABLE), True),
        (Answered(ProcessId(WORKER.pid, 1), TABLE), True),
        (Answered(None, TABLE), False),
        (Silent("stopped"), False),
        (Absent(), False),
    ],
)
def test_a_record_is_of_another_only_if_another_worker_answered(observation: Observation, *, expected: bool) -> None:
    assert is_of_another(WORKER, observation) is expected


def test_the_exporters_frontend_is_no_listener() -> None:
    assert listener_ids(parse("frontend b\nfrontend prometheus-exporter-internal-endpoint\nfrontend a\n")) == ("b", "a")


def test_a_worker_that_is_replaced_says_nothing_of_this_moment() -> None:
    final = Answer(OLD, Table({"l": Frontend("l", "OPEN", Totals(bytes_in=9), 4)}), is_final=True)
    part, _ = report(Answered(WORKER, TABLE, (final,)), ("l",), {}, Memory())
    assert part.listeners["l"].samples[1] == Sample(Source(9, 500), Totals(bytes_in=9), 0, is_final=True)
