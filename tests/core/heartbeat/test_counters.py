"""Deltas: whatever HAProxy's workers do, the sum of what is reported is the sum of what was counted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.heartbeat.counters import (
    UNKNOWN,
    Counters,
    Record,
    Sample,
    Source,
    Totals,
    advance,
    parse_counters,
    render_counters,
    restore_counters,
)
from amphora_agent.core.process_id import ProcessId

OLD, NEW = Source(9, 500), Source(10, 1000)


def many(number: int) -> Totals:
    return Totals(bytes_in=number, bytes_out=2 * number, request_errors=number // 3, connections=number // 5)


def test_the_first_sight_reports_everything() -> None:
    assert advance(None, (Sample(NEW, many(100)),)) == (many(100), Record(many(100), NEW))


def test_no_answer_changes_nothing() -> None:
    record = Record(many(100), NEW)
    assert advance(record, ()) == (Totals(), record)
    assert advance(None, ()) == (Totals(), None)


@pytest.mark.parametrize("source", [NEW, UNKNOWN])
def test_the_same_worker_reports_its_growth(source: Source) -> None:
    assert advance(Record(many(100), source), (Sample(source, many(130)),)) == (
        many(130).since(many(100)),
        Record(many(130), source),
    )


@pytest.mark.parametrize("source", [NEW, UNKNOWN])
def test_a_counter_that_fell_was_reset(source: Source) -> None:
    assert advance(Record(many(100), source), (Sample(source, many(30)),))[0] == many(30)


def test_a_new_worker_that_passed_the_old_one_is_no_growth_of_it() -> None:
    assert advance(Record(many(100), OLD), (Sample(NEW, many(130)),))[0] == many(130)


def test_an_old_worker_goes_on_counting() -> None:
    first, record = advance(Record(many(100), OLD), (Sample(NEW, many(7)), Sample(OLD, many(160))))
    assert first == many(7).plus(many(160).since(many(100)))
    assert record == Record(many(7), NEW, {OLD: many(160)})
    second, record = advance(record, (Sample(NEW, many(7)), Sample(OLD, None)))
    assert (second, record) == (Totals(), Record(many(7), NEW, {OLD: many(160)}))
    third, record = advance(record, (Sample(NEW, many(7)), Sample(OLD, many(170))))
    assert third == many(170).since(many(160))
    fourth, record = advance(record, (Sample(NEW, many(8)),))
    assert (fourth, record) == (many(8).since(many(7)), Record(many(8), NEW))


def test_records_of_unknown_workers_are_continued_once() -> None:
    delta, record = advance(Record(many(100)), (Sample(NEW, many(110)), Sample(OLD, many(999))))
    assert delta == many(110).since(many(100))
    assert record == Record(many(110), NEW, {OLD: many(999)})
    assert advance(record, (Sample(UNKNOWN, many(115)),))[0] == many(115).since(many(110))


def test_after_a_loss_older_workers_are_counted_from_now_on() -> None:
    delta, record = advance(None, (Sample(OLD, many(100)),), baseline=700)
    assert (delta, record) == (Totals(), Record(many(100), OLD))
    assert advance(record, (Sample(OLD, many(105)),), baseline=700)[0] == many(105).since(many(100))
    assert advance(None, (Sample(NEW, many(100)),), baseline=700)[0] == many(100)


@dataclass
class Model:
    """HAProxy as it may behave: workers that count, are replaced, linger and end; `counted` is the truth."""

    workers: list[tuple[Source, int]] = field(default_factory=lambda: [(Source(1, 1), 0)])
    counted: int = 0

    def act(self, action: str, amount: int) -> None:
        """Let one thing happen to the workers."""
        match action:
            case "traffic":
                position = amount % len(self.workers)
                worker, value = self.workers[position]
                self.workers[position] = worker, value + amount
                self.counted += amount
            case "reload":
                newest = self.workers[0][0]
                self.workers.insert(0, (Source(newest.number % 3 + 1, newest.started + 1), 0))
            case "end" if len(self.workers) > 1:
                self.workers.pop()
            case "restart":
                newest = self.workers[0][0]
                self.workers = [(Source(newest.number, newest.started + 1), 0)]
            case _:
                pass


ACTIONS = st.tuples(
    st.sampled_from(["traffic", "reload", "end", "restart", "tick", "mute", "silence"]), st.integers(0, 1000)
)


@given(st.lists(ACTIONS, max_size=60))
def test_reports_add_up_to_what_was_counted(actions: list[tuple[str, int]]) -> None:
    model = Model()
    record: Record | None = None
    reported = 0

    def tick(*, is_old_mute: bool) -> None:
        nonlocal record, reported
        samples = [
            Sample(worker, None if is_old_mute and position else Totals(bytes_in=value))
            for position, (worker, value) in enumerate(model.workers)
        ]
        stored = Counters({} if record is None else {"l": record})
        record = parse_counters(render_counters(stored))[0].listeners.get("l")
        delta, record = advance(record, tuple(samples))
        assert min(delta.bytes_in, delta.bytes_out, delta.connections, delta.request_errors) >= 0
        reported += delta.bytes_in

    for action, amount in actions:
        if action == "tick":
            tick(is_old_mute=False)
        elif action == "mute":
            tick(is_old_mute=True)
        elif action in ("end", "restart"):
            # What a worker counts between the last look and its end nobody can know.
            tick(is_old_mute=False)
            model.act(action, amount)
        else:
            model.act(action, amount)
    tick(is_old_mute=False)
    assert reported == model.counted


def test_the_file_keeps_the_contract_shape() -> None:
    record = Record(Totals(bytes_in=1, bytes_out=2, request_errors=3, connections=4))
    assert json.loads(render_counters(Counters({"l": record}))) == {"l": {"bin": 1, "bout": 2, "ereq": 3, "stot": 4}}
    known = Record(record.totals, NEW, {OLD: many(50)})
    rendered = json.loads(render_counters(Counters({"l": known})))
    assert {key: rendered["l"][key] for key in ("bin", "bout", "ereq", "stot")} == {
        "bin": 1,
        "bout": 2,
        "ereq": 3,
        "stot": 4,
    }


COUNTS = st.integers(0, 2**70)
TOTALS = st.builds(Totals, bytes_in=COUNTS, bytes_out=COUNTS, request_errors=COUNTS, connections=COUNTS)
WORKERS = st.builds(Source, st.integers(1, 2**22), st.integers(0, 2**40))


@given(st.dictionaries(st.text(), st.tuples(TOTALS, WORKERS, st.dictionaries(WORKERS, TOTALS, max_size=3)), max_size=4))
def test_the_file_is_read_as_written(records: dict[str, tuple[Totals, Source, dict[Source, Totals]]]) -> None:
    listeners = {
        name: Record(totals, worker, {key: value for key, value in old.items() if key != worker})
        for name, (totals, worker, old) in records.items()
    }
    assert parse_counters(render_counters(Counters(listeners))) == (Counters(listeners), True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\xff",
        b"[" * 100_000,
        b'{"l": null}',
        b'{"l": []}',
        b'{"l": {}}',
        b'{"l": {"bin": 1, "bout": 2, "ereq": 3}}',
        b'{"l": {"bin": 1, "bout": 2, "ereq": 3, "stot": -4}}',
        b'{"l": {"bin": 1, "bout": 2, "ereq": 3, "stot": "4"}}',
        b'{"l": {"bin": 1, "bout": 2, "ereq": 3, "stot": true}}',
        b'{"l": {"bin": 1, "bout": 2, "ereq": 3, "stot": 4.0}}',
        b'{"l": {"bin": 1, "bout": 2, "ereq": 3, "stot": 4, "workers": 5}}',
    ],
)
def test_an_odd_file_is_noticed(data: bytes) -> None:
    assert parse_counters(data) == (Counters(), False)


def test_sound_records_beside_odd_ones_are_kept() -> None:
    counters, is_sound = parse_counters(
        b'{"a": [], "b": {"bin": 1, "bout": 2, "ereq": 3, "stot": 4, "workers": [[1]]}}'
    )
    assert not is_sound
    assert counters.listeners == {"b": Record(Totals(bytes_in=1, bytes_out=2, request_errors=3, connections=4))}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children) | st.dictionaries(st.sampled_from(["l", "bin", "bout", "ereq", "stot", "workers"]), children)
    ),
)


@given(JSON)
def test_any_json_is_taken(document: object) -> None:
    parse_counters(json.dumps(document).encode())


def test_a_worker_nobody_names_is_taken_for_the_last_one_unless_it_counts_less() -> None:
    record = Record(many(100), NEW, {OLD: many(50)})
    assert advance(record, (Sample(UNKNOWN, many(120)),)) == (
        many(120).since(many(100)),
        Record(many(120), NEW, {OLD: many(50)}),
    )
    assert advance(record, (Sample(UNKNOWN, many(20)),)) == (many(20), Record(many(20)))


def test_a_farewell_is_counted_once_and_never_below_what_was_heard_later() -> None:
    old, new = Source(1, 10), Source(2, 20)
    record = Record(Totals(connections=5), old)
    farewell = Sample(old, Totals(connections=9), is_final=True)
    delta, record_after = advance(record, (Sample(new, Totals(connections=2)), farewell))
    assert delta == Totals(connections=6)
    delta, record_after = advance(record_after, (Sample(new, Totals(connections=3)), farewell))
    assert delta == Totals(connections=1)
    lived_on = Record(Totals(connections=3), new, {old: Totals(connections=20)})
    assert advance(lived_on, (Sample(new, Totals(connections=3)), farewell))[0] == Totals()


def test_a_missing_file_says_that_nothing_was_reported_and_a_broken_one_that_something_was() -> None:
    assert restore_counters(None, 700) == (Counters(), True)
    assert restore_counters(b"", 700) == (Counters(baseline=700), False)
    whole = Counters({"l": Record(many(10), NEW)})
    assert restore_counters(render_counters(whole), 700) == (whole, True)
    half = json.dumps({**json.loads(render_counters(whole)), "other": 5}).encode()
    assert restore_counters(half, 700) == (Counters(whole.listeners, 700), False)


def test_only_a_worker_is_a_process() -> None:
    assert Source.of_process(ProcessId(9, 500)) == OLD
    assert OLD.process == ProcessId(9, 500)
    assert Source.of_process(None) == UNKNOWN
    assert UNKNOWN.process is None
    assert Source(12345).process is None
