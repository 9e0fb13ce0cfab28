"""HAProxy's `show stat`: bytes to tables to statuses. Total: no bytes make it raise.

Decision: the listeners of a message are those of the applied configuration, whatever HAProxy answers, since the
controller counts them. While HAProxy's process lives and its socket does not answer (a reload, an overload, a stopped
process), the last statuses are repeated with no news in the counters, for GRACE messages; then the load balancer
contributes nothing, so that the controller may replace an amphora that really hangs. A listener not seen before
shows OPEN meanwhile. It costs up to GRACE intervals of optimism.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from amphora_agent.core.heartbeat.counters import Sample, Source, Totals
from amphora_agent.core.heartbeat.document import Listener, Part, Pool
from amphora_agent.core.process_id import ProcessId

GRACE = 3
INTERNAL = "prometheus"
COUNTER_DIGITS = 20

_COLUMNS = ("pxname", "svname", "status", "weight", "scur", "bin", "bout", "ereq", "stot")


@dataclass(frozen=True, slots=True)
class Frontend:
    """One listener: its status, its counters since the worker's start and its connections of this moment."""

    name: str
    status: str
    totals: Totals
    current: int


@dataclass(frozen=True, slots=True)
class Table:
    """One worker's answer: listener id -> frontend, and pool key (`<pool id>:<listener id>`) -> pool."""

    frontends: Mapping[str, Frontend] = field(default_factory=dict)
    pools: Mapping[str, Pool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker said; None when it lives and did not answer. `is_final`: said just before it was replaced."""

    worker: ProcessId
    table: Table | None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """HAProxy runs: the current worker (None when it is not known) and what it said, and the older workers."""

    worker: ProcessId | None
    table: Table
    old: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Silent:
    """HAProxy runs and nothing usable came from its socket."""

    reason: str


@dataclass(frozen=True, slots=True)
class Absent:
    """HAProxy does not run."""


Observation = Answered | Silent | Absent


@dataclass(frozen=True, slots=True)
class Memory:
    """What was last known of one load balancer, and how many messages ago in a row it was silent."""

    statuses: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    missed: int = 0


def parse_stat(data: bytes) -> Table | None:
    """Return what a `show stat` answer says, internal proxies left out; None when it is no complete answer.

    A member that is exactly UP with weight 0 drains; any other status passes through unchanged. Broken lines and
    servers of no backend are skipped; a number that is none counts as 0.

    Source: HAProxy management guide 9.1 (CSV format): a header line that starts with `# `, quoting only where
    needed, an empty line at the end.
    """
    if not data.startswith(b"# ") or not data.endswith(b"\n\n"):
        return None
    lines = iter(_lines(data.decode("utf-8", "replace")))
    header = next(lines)[2:].split(",")
    if any(column not in header for column in _COLUMNS):
        return None
    return _read_rows(lines, [header.index(column) for column in _COLUMNS])


def _lines(text: str) -> list[str]:
    """Split into lines; a quoted field may hold line feeds."""
    lines = text.split("\n")
    if '"' not in text:
        return lines
    joined: list[str] = []
    is_open = False
    for line in lines:
        if is_open:
            joined[-1] += f"\n{line}"
        else:
            joined.append(line)
        is_open ^= line.count('"') % 2 == 1
    return joined


def _read_rows(lines: Iterable[str], places: Sequence[int]) -> Table:
    """Return the table of all rows. One function and no object per member: there are ten thousand of them."""
    proxy_at, server_at, status_at, weight_at, *number_places = places
    end = max(places) + 1
    frontends: dict[str, Frontend] = {}
    statuses: dict[str, str] = {}
    members: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for line in lines:
        fields = _quoted_fields(line) if '"' in line else line.split(",", end)
        if len(fields) < end or INTERNAL in fields[proxy_at]:
            continue
        proxy, server, status = fields[proxy_at], fields[server_at], fields[status_at]
        if server == "FRONTEND":
            frontends[proxy] = _frontend(proxy, status, [_number(fields[place]) for place in number_places])
        elif server == "BACKEND":
            statuses[proxy] = status
        else:
            members[proxy][server] = "DRAIN" if status == "UP" and fields[weight_at] == "0" else status
    return Table(frontends, {proxy: Pool(status, members[proxy]) for proxy, status in statuses.items()})


def _quoted_fields(line: str) -> list[str]:
    try:
        return [value for row in csv.reader([line]) for value in row]
    except csv.Error:
        return []


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= COUNTER_DIGITS else 0


def _frontend(name: str, status: str, numbers: list[int]) -> Frontend:
    current, bytes_in, bytes_out, request_errors, connections = numbers
    totals = Totals(bytes_in=bytes_in, bytes_out=bytes_out, request_errors=request_errors, connections=connections)
    return Frontend(name, status, totals, current)


def hide(pools: Mapping[str, Pool], hidden: Mapping[str, frozenset[str]]) -> Mapping[str, Pool]:
    """Return the pools without the members the agent is removing.

    A pool of which nothing is left shows UP, as an empty pool does; its servers in MAINT would make it DOWN.

    Args:
        pools: of the current worker.
        hidden: pool key -> members to leave out while they are in MAINT; one that is not was added again.
    """
    changed: dict[str, Pool] = {}
    for key in pools.keys() & hidden.keys():
        members = pools[key].members
        kept = {
            name: status
            for name, status in members.items()
            if name not in hidden[key] or not status.startswith("MAINT")
        }
        if len(kept) < len(members):
            changed[key] = Pool(pools[key].status if kept else "UP", kept)
    return {key: changed.get(key, pool) for key, pool in pools.items()}


def report(
    observation: Observation, configured: Iterable[str], hidden: Mapping[str, frozenset[str]], memory: Memory
) -> tuple[Part, Memory]:
    """Return what one load balancer contributes to this message, and what to remember for the next one.

    Args:
        observation: of this moment.
        configured: the listeners of the applied configuration.
        hidden: see `hide`.
        memory: as returned for the previous message; `Memory()` at first.
    """
    match observation:
        case Answered():
            return _report_answers(observation, configured, hidden, memory)
        case Silent():
            missed = Memory(memory.statuses, memory.pools, memory.missed + 1)
            if missed.missed > GRACE:
                return Part(), missed
            listeners = {name: Listener(memory.statuses.get(name, "OPEN")) for name in configured}
            return Part(listeners, memory.pools), missed
        case Absent():
            return Part(), Memory()
        case _:
            assert_never(observation)


def _report_answers(
    answered: Answered, configured: Iterable[str], hidden: Mapping[str, frozenset[str]], memory: Memory
) -> tuple[Part, Memory]:
    listeners: dict[str, Listener] = {}
    for name in configured:
        shown = answered.table.frontends.get(name)
        if shown is None:
            listeners[name] = Listener(memory.statuses.get(name, "OPEN"))
        else:
            current = Sample(Source.of_process(answered.worker), shown.totals, shown.current)
            listeners[name] = Listener(shown.status, (current, *_old_samples(answered.old, name)))
    part = Part(listeners, hide(answered.table.pools, hidden))
    return part, Memory({name: listener.status for name, listener in listeners.items()}, part.pools)


def _old_samples(answers: Iterable[Answer], name: str) -> Iterator[Sample]:
    """Yield what older workers say of one listener; those that never had it say nothing."""
    for answer in answers:
        if answer.table is None:
            yield Sample(Source.of_process(answer.worker), None)
        elif name in answer.table.frontends:
            frontend = answer.table.frontends[name]
            current = 0 if answer.is_final else frontend.current
            yield Sample(Source.of_process(answer.worker), frontend.totals, current, answer.is_final)
