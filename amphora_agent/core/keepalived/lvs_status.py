"""What a heartbeat says of one LVS listener, from its configuration and the kernel's table. Reads nothing itself.

Decision: each address of a listener is a source of counters of its own, named by a checksum of its key. An address that
is missing for a moment (a restart of keepalived) keeps its last value instead of pulling the sum down, which would
look like a reset and count everything twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from amphora_agent.core.heartbeat.counters import Sample, Source, Totals
from amphora_agent.core.heartbeat.document import Listener, Part, Pool
from amphora_agent.core.keepalived.ipvs import Destination, Endpoint, Service, ServiceKey, Table
from amphora_agent.core.keepalived.lvs_config import LvsConfig, VirtualServer
from amphora_agent.core.records import listener_change

OPEN = "OPEN"
UP, DOWN = "UP", "DOWN"
DRAIN, MAINT, NO_CHECK, RESTARTING = "DRAIN", "MAINT", "no check", "RESTARTING"

# The controller asks for the reload right after the upload; one that has not by then never will.
LONGEST_PENDING = 120.0
SETTLING_ALLOWANCE = 3.0
LONGEST_INTERVAL = 60


def report(listener_id: str, config: LvsConfig, table: Table | None, *, is_settling: bool) -> Part:
    """Return what one listener whose keepalived runs contributes.

    Args:
        listener_id: as its file is named.
        config: what the file says.
        table: of the namespace; None when the kernel could not be asked: members then keep their status.
        is_settling: whether a change is so fresh that a member missing in the kernel may be on its way in.
    """
    if not config.is_listener_enabled:
        return Part()
    listener = Listener(OPEN, _samples(config.services, table or {}))
    pools: dict[str, Pool] = {}
    if config.has_group and config.is_pool_enabled and config.pool_id is not None:
        pools[config.pool_id] = _pool(config, table, RESTARTING if is_settling else DOWN)
    return Part({listener_id: listener}, pools)


def _samples(keys: Iterable[ServiceKey], table: Table) -> tuple[Sample, ...]:
    """Return one sample per service, those that the kernel has first."""
    samples = [_sample(key, table.get(key)) for key in keys]
    if all(sample.totals is None for sample in samples):
        return ()
    return tuple(sorted(samples, key=lambda sample: sample.totals is None))


def _sample(key: ServiceKey, service: Service | None) -> Sample:
    name = f"{key.protocol:d} {key.endpoint.address} {key.endpoint.port}"
    source = Source(zlib.crc32(name.encode()) or 1)
    if service is None:
        return Sample(source, None)
    totals = Totals(bytes_in=service.bytes_in, bytes_out=service.bytes_out, connections=service.connections)
    active = sum(destination.active_connections for destination in service.destinations.values())
    return Sample(source, totals, active)


def _pool(config: LvsConfig, table: Table | None, missing: str) -> Pool:
    """Return the pool; `missing` is the status of a member that should be in the kernel and is not."""
    disabled = dict.fromkeys(config.disabled_members, MAINT)
    if table is None:
        return Pool(UP, {member.id: RESTARTING for member in config.members} | disabled)
    present = dict(_present(config.virtual_servers, table))
    members: dict[str, str] = {}
    for member in config.members:
        destination = None if member.endpoint is None else present.get(member.endpoint)
        if destination is not None:
            members[member.id] = _status(destination, has_monitor=config.has_monitor)
        else:
            members[member.id] = missing if present or config.has_monitor else NO_CHECK
    is_down = config.has_monitor and not present
    return Pool(DOWN if is_down else UP, members | disabled)


def _status(destination: Destination, *, has_monitor: bool) -> str:
    if destination.weight == 0:
        return DRAIN
    return UP if has_monitor else NO_CHECK


def _present(virtual_servers: Iterable[VirtualServer], table: Table) -> Iterator[tuple[Endpoint, Destination]]:
    """Yield the real servers the kernel has, of all addresses of the listener."""
    for virtual in virtual_servers:
        for key in virtual.services:
            service = table.get(key)
            if service is not None:
                yield from service.destinations.items()


def is_settling(changed: bytes | None, process_started: float, now: float, check_interval: int) -> bool:
    """Tell whether members missing in the kernel may be on their way in: until every check had its first say.

    Args:
        changed: content of the record of the listener's last change, None without one.
        process_started: when keepalived started, in seconds since boot.
        now: seconds since boot; setting the clock does not move them.
        check_interval: seconds between checks of a member.
    """
    change = listener_change.decode(changed)
    events = [process_started]
    if change is not None and change.is_applied:
        events.append(change.at)
    # A keepalived that started later has read what was stored.
    elif change is not None and process_started < change.at and 0 <= now - change.at < LONGEST_PENDING:
        return True
    window = min(check_interval, LONGEST_INTERVAL) + SETTLING_ALLOWANCE
    return any(0 <= now - event < window for event in events)
