"""UDP and SCTP listeners under the names and labels that HAProxy's have, from the kernel's IPVS table. Reads nothing.

What IPVS does not count is absent: it knows sessions and bytes of a listener, and of a member its weight and the
connections of this moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.keepalived.ipvs import Table
from amphora_agent.core.keepalived.lvs_config import LvsConfig
from amphora_agent.core.keepalived.lvs_status import DOWN, DRAIN, MAINT, NO_CHECK, UP
from amphora_agent.core.metrics.own import EVERY
from amphora_agent.core.metrics.record import sample

_STATES = {UP: UP, NO_CHECK: UP, DOWN: DOWN, DRAIN: DRAIN, MAINT: MAINT}
_SHOWN = (DOWN, UP, MAINT, DRAIN)
_METRICS = {metric.name: metric for metric in EVERY}


def samples(listener_id: str, config: LvsConfig, table: Table, part: Part) -> Iterator[tuple[str, str]]:
    """Yield metric name and line of everything known of one listener, its pool and its members.

    Args:
        listener_id: as its file is named.
        config: what the file says.
        table: of the namespace.
        part: the listener's part of the heartbeat, for the statuses.
    """
    services = [table[key] for key in config.services if key in table]
    values = {
        "sessions_total": sum(service.connections for service in services),
        "bytes_in_total": sum(service.bytes_in for service in services),
        "bytes_out_total": sum(service.bytes_out for service in services),
        "current_sessions": sum(d.active_connections for service in services for d in service.destinations.values()),
    }
    listener = (listener_id,)
    is_up = listener_id in part.listeners
    for state in (DOWN, UP):
        yield _line("octavia_listener_status", listener, int((state == UP) == is_up), state=state)
    for name, value in (*values.items(), ("connections_total", values["sessions_total"])):
        yield _line(f"octavia_listener_{name}", listener, value)
    for pool_id, pool in part.pools.items():
        key = f"{pool_id}:{listener_id}"
        for state in (DOWN, UP):
            yield _line("octavia_pool_status", (key,), int(pool.status == state), state=state)
        for name, value in values.items():
            yield _line(f"octavia_pool_{name}", (key,), value)
        active = sum(_STATES.get(status) == UP for status in pool.members.values())
        yield _line("octavia_pool_active_members", (key,), active)
        yield from _members(key, config, table, pool.members)


def _members(pool: str, config: LvsConfig, table: Table, statuses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    present = {
        endpoint: destination
        for key in config.services
        if key in table
        for endpoint, destination in table[key].destinations.items()
    }
    for member_id, status in statuses.items():
        state = _STATES.get(status)
        if state is not None:
            for each in _SHOWN:
                yield _line("octavia_member_status", (pool, member_id), int(each == state), state=each)
    for member in config.members:
        destination = present.get(member.endpoint) if member.endpoint is not None else None
        if destination is not None:
            labels = pool, member.id
            yield _line("octavia_member_weight", labels, destination.weight)
            yield _line("octavia_member_current_sessions", labels, destination.active_connections)


def _line(name: str, values: tuple[str, ...], value: int, **more: str) -> tuple[str, str]:
    return name, sample(_METRICS[name], values, value, **more)
