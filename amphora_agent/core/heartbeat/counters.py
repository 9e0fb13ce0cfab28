"""Listener counters from absolute to delta, exact over HAProxy's reloads and restarts. Never reads a clock or a file.

Decision: each listener's record keeps, beside the contract's four numbers (the current worker's absolute values), which
worker they belong to and the values of older workers that still serve connections. So a reload is told from a restart
by the worker's identity and not by a falling number, which a busy listener has passed again within one interval.
It costs one more key in the contract's file, `workers`; readers of the four keys do not see it.

Exact are connections and errors, and the bytes of every worker that answers. HAProxy adds a long TCP connection's bytes
up when it ends, and a replaced worker ends with its last connection: what that one moved since it was last counted is
lost with it, for nothing outlives the worker that could be asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from amphora_agent.core.process_id import ProcessId

KEYS = ("bin", "bout", "ereq", "stot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Absolute or delta counters of one listener: bytes from and to clients, request errors, connections."""

    bytes_in: int = 0
    bytes_out: int = 0
    request_errors: int = 0
    connections: int = 0

    def plus(self, other: Totals) -> Totals:
        """Return the sum, field by field."""
        return Totals(
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
            request_errors=self.request_errors + other.request_errors,
            connections=self.connections + other.connections,
        )

    def at_least(self, other: Totals) -> Totals:
        """Return the larger number, field by field."""
        return Totals(
            bytes_in=max(self.bytes_in, other.bytes_in),
            bytes_out=max(self.bytes_out, other.bytes_out),
            request_errors=max(self.request_errors, other.request_errors),
            connections=max(self.connections, other.connections),
        )

    def since(self, last: Totals) -> Totals:
        """Return the growth from `last` to this; a counter that fell was reset, so all of it is growth."""
        return Totals(
            bytes_in=_growth(last.bytes_in, self.bytes_in),
            bytes_out=_growth(last.bytes_out, self.bytes_out),
            request_errors=_growth(last.request_errors, self.request_errors),
            connections=_growth(last.connections, self.connections),
        )


def _growth(last: int, now: int) -> int:
    return now - last if now >= last else now


@dataclass(frozen=True, slots=True)
class Source:
    """What counts for a listener: a worker of HAProxy, or one address of an LVS listener in the kernel.

    `number` is the worker's pid, or any number that names the address. `started` is the worker's start in clock ticks
    since boot, 0 for an address.
    """

    number: int
    started: int = 0

    @classmethod
    def of_process(cls, process: ProcessId | None) -> Source:
        """Return the source of a worker's counters, UNKNOWN when it is not known which worker it is."""
        return UNKNOWN if process is None else cls(process.pid, process.started)

    @property
    def process(self) -> ProcessId | None:
        """The worker, None for anything else."""
        return ProcessId(self.number, self.started) if self.started else None


UNKNOWN = Source(0)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one source says of one listener.

    `totals` is None when the source is there but did not answer. `is_final`: a worker's last answer before it was
    replaced; it may have counted on, and been asked again, since.
    """

    source: Source
    totals: Totals | None
    current: int = 0
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Last values of one listener: of its current source, and of older workers still alive."""

    totals: Totals
    source: Source = UNKNOWN
    old: Mapping[Source, Totals] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counters:
    """The last values of every listener.

    Attributes:
        listeners: listener id -> record.
        baseline: after the loss of the records, workers started before this tick are counted from their first
            answer on, since what they had counted may have been reported; 0 otherwise.
    """

    listeners: Mapping[str, Record] = field(default_factory=dict)
    baseline: int = 0


def advance(record: Record | None, samples: tuple[Sample, ...], baseline: int = 0) -> tuple[Totals, Record | None]:
    """Return how much the listener counted since `record`, and its new record.

    Args:
        record: None at the first sight of the listener.
        samples: of all sources that are there, the current one first; empty (no answer) changes nothing.
        baseline: see Counters.
    """
    if not samples:
        return Totals(), record
    if record is not None and _is_the_same(record, samples[0]):
        samples = (replace(samples[0], source=record.source), *(Sample(source, None) for source in record.old))
    delta = Totals()
    values: dict[Source, Totals] = {}
    for position, sample in enumerate(samples):
        last = _last(record, sample.source, is_current=position == 0)
        if sample.totals is None:
            if last is not None:
                values[sample.source] = last
            continue
        totals = sample.totals.at_least(last) if sample.is_final and last is not None else sample.totals
        values[sample.source] = totals
        if last is not None:
            delta = delta.plus(totals.since(last))
        elif not _is_counted_already(record, sample.source, baseline, is_current=position == 0):
            delta = delta.plus(totals)
    current = samples[0].source
    if current not in values:
        return delta, record
    return delta, Record(values.pop(current), current, values)


def _is_the_same(record: Record, sample: Sample) -> bool:
    """Tell whether an unknown source is taken for the one on record: none of its counters fell.

    While a master reloads it names no worker, and the stats socket is still the old worker's.
    """
    if sample.source != UNKNOWN or sample.totals is None:
        return False
    return all(now >= last for last, now in zip(_numbers(record.totals), _numbers(sample.totals), strict=True))


def _last(record: Record | None, source: Source, *, is_current: bool) -> Totals | None:
    if record is None:
        return None
    if source == record.source:
        return record.totals
    if source in record.old:
        return record.old[source]
    is_unclear = UNKNOWN in (source, record.source)
    return record.totals if is_current and is_unclear else None


def _is_counted_already(record: Record | None, source: Source, baseline: int, *, is_current: bool) -> bool:
    if record is None:
        return source.started < baseline
    return record.source == UNKNOWN and not is_current


def restore_counters(data: bytes | None, started: int) -> tuple[Counters, bool]:
    """Return the counters to go on from, and whether all that was stored could be used.

    Decision: a missing file means that nothing was ever reported, so listeners are reported from 0. A file that is
    there but broken means that much was reported and we cannot know what: workers older than this process are
    counted from their first answer on. Billing traffic twice is worse than missing some.

    Args:
        data: content of the counters file; None when there is none, empty when it cannot be read.
        started: this process's start in clock ticks since boot.
    """
    if data is None:
        return Counters(), True
    counters, is_sound = parse_counters(data)
    return (counters, True) if is_sound else (Counters(counters.listeners, started), False)


def parse_counters(data: bytes) -> tuple[Counters, bool]:
    """Return the counters a file holds, and whether all of it was sound; unsound records are left out."""
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError):
        return Counters(), False
    if not isinstance(document, dict):
        return Counters(), False
    records = {str(name): _parse_record(value) for name, value in document.items()}
    sound = {name: record for name, record in records.items() if record is not None}
    return Counters(sound), len(sound) == len(records)


def _parse_record(value: object) -> Record | None:
    if not isinstance(value, dict):
        return None
    totals = _parse_totals([value.get(key) for key in KEYS])
    workers = value.get("workers", [])
    if totals is None or not isinstance(workers, list):
        return None
    parsed = [_parse_source(entry) for entry in workers]
    known = [pair for pair in parsed if pair is not None]
    if not known or len(known) != len(parsed):
        return Record(totals)
    return Record(totals, known[0][0], dict(known[1:]))


def _parse_source(value: object) -> tuple[Source, Totals] | None:
    if not isinstance(value, list) or len(value) != 2 + len(KEYS):
        return None
    totals = _parse_totals(value[2:])
    if totals is None or not all(_is_count(part) for part in value[:2]):
        return None
    return Source(int(value[0]), int(value[1])), totals


def _parse_totals(values: Iterable[object]) -> Totals | None:
    numbers = [value for value in values if isinstance(value, int) and _is_count(value)]
    if len(numbers) != len(KEYS):
        return None
    return Totals(bytes_in=numbers[0], bytes_out=numbers[1], request_errors=numbers[2], connections=numbers[3])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def render_counters(counters: Counters) -> bytes:
    """Return the file's content: listener id -> the contract's four numbers, and `workers`.

    `workers` lists `[pid, start, bin, bout, ereq, stot]`, the current one first; absent while it is unknown.
    """
    return json.dumps({name: _render_record(record) for name, record in counters.listeners.items()}).encode()


def _render_record(record: Record) -> dict[str, object]:
    rendered: dict[str, object] = dict(zip(KEYS, _numbers(record.totals), strict=True))
    if record.source != UNKNOWN:
        sources = {record.source: record.totals, **record.old}
        rendered["workers"] = [[source.number, source.started, *_numbers(values)] for source, values in sources.items()]
    return rendered


def _numbers(totals: Totals) -> tuple[int, int, int, int]:
    return totals.bytes_in, totals.bytes_out, totals.request_errors, totals.connections
