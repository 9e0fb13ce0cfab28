"""How the kernel's IPVS table gets to what a listener's configuration says, where keepalived has not brought it there.

Pure: compares values and returns steps. A destination with a check is keepalived's to add and remove while it is
configured; one that is not configured any more has no owner and goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from amphora_agent.core.keepalived.ipvs import Endpoint, ServiceKey, Table
from amphora_agent.core.keepalived.lvs_config import LvsConfig, RealServer


@dataclass(frozen=True, slots=True)
class AddDestination:
    """Add a real server that has no check and is missing."""

    service: ServiceKey
    endpoint: Endpoint
    weight: int
    upper_threshold: int


@dataclass(frozen=True, slots=True)
class ChangeDestination:
    """Give a real server its configured weight."""

    service: ServiceKey
    endpoint: Endpoint
    weight: int
    upper_threshold: int


@dataclass(frozen=True, slots=True)
class RemoveDestination:
    """Remove a real server that is configured no more."""

    service: ServiceKey
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class RemoveService:
    """Remove a service that is configured no more."""

    service: ServiceKey


IpvsStep = AddDestination | ChangeDestination | RemoveDestination | RemoveService


@dataclass(frozen=True, slots=True)
class Difference:
    """What keeps the kernel from the file: steps that repair, and services that only keepalived can make."""

    steps: tuple[IpvsStep, ...]
    missing_services: tuple[ServiceKey, ...]

    @property
    def is_none(self) -> bool:
        """Whether the kernel has what the file says."""
        return not self.steps and not self.missing_services


def compare(config: LvsConfig, before: LvsConfig | None, others: frozenset[ServiceKey], table: Table) -> Difference:
    """Return the difference between a configuration and the kernel; additions come first.

    Args:
        config: what shall be.
        before: what the same listener had last, for services that have to go.
        others: services of all other listeners; never touched.
        table: what the kernel has.
    """
    wanted = dict(_servers(config))
    steps: list[IpvsStep] = []
    for key, servers in wanted.items():
        steps.extend(_additions(key, servers, table))
    for key, servers in wanted.items():
        if key in table:
            present = table[key].destinations
            steps.extend(RemoveDestination(key, endpoint) for endpoint in present if endpoint not in servers)
    stale = () if before is None else before.services
    steps.extend(RemoveService(key) for key in stale if key in table and key not in wanted and key not in others)
    return Difference(tuple(steps), tuple(key for key, servers in wanted.items() if servers and key not in table))


def withdrawals(config: LvsConfig, table: Table) -> tuple[ChangeDestination, ...]:
    """Return the steps that keep new clients from real servers that are to go: their weight becomes zero.

    Args:
        config: what shall be.
        table: what the kernel has.
    """
    return tuple(
        ChangeDestination(key, endpoint, 0, 0)
        for key, servers in _servers(config)
        if key in table
        for endpoint, destination in table[key].destinations.items()
        if endpoint not in servers and destination.weight > 0
    )


def _servers(config: LvsConfig) -> Iterator[tuple[ServiceKey, dict[Endpoint, RealServer]]]:
    for virtual in config.virtual_servers:
        servers = {server.endpoint: server for server in virtual.servers}
        for key in virtual.services:
            yield key, servers


def _additions(key: ServiceKey, servers: dict[Endpoint, RealServer], table: Table) -> Iterable[IpvsStep]:
    if key not in table:
        return
    present = table[key].destinations
    for endpoint, server in servers.items():
        limits = server.weight, server.upper_threshold
        if endpoint not in present:
            if not server.is_checked:
                yield AddDestination(key, endpoint, *limits)
        elif present[endpoint].weight != server.weight:
            yield ChangeDestination(key, endpoint, *limits)
