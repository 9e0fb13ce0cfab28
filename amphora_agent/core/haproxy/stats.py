"""HAProxy's `show stat`: bytes to tables. Total: no bytes make it raise."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from amphora_agent.core.heartbeat.counters import Totals
from amphora_agent.core.heartbeat.document import Pool

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
    parts: list[str] = []
    is_open = False
    for line in lines:
        parts.append(line)
        is_open ^= line.count('"') % 2 == 1
        if not is_open:
            joined.append("\n".join(parts))
            parts.clear()
    return [*joined, "\n".join(parts)] if parts else joined


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
