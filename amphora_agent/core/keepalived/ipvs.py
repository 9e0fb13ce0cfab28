"""The kernel's IPVS table as values: services, their destinations and counters. Knows no socket."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from amphora_agent.core.addresses import Address

# Named tuples, not dataclasses: a heartbeat makes thousands of them, and they are three times as fast to make.


class Protocol(IntEnum):
    """IP protocols that IPVS balances. Source: IANA protocol numbers."""

    TCP = 6
    UDP = 17
    SCTP = 132


class Endpoint(NamedTuple):
    """An address and a port."""

    address: Address
    port: int


class ServiceKey(NamedTuple):
    """What names a virtual service."""

    protocol: int
    endpoint: Endpoint


class Destination(NamedTuple):
    """One real server of a service."""

    weight: int
    active_connections: int


class Service(NamedTuple):
    """One virtual service; counters are absolute since the service was made, bytes as seen by the clients' side."""

    connections: int
    bytes_in: int
    bytes_out: int
    destinations: Mapping[Endpoint, Destination]


Table = Mapping[ServiceKey, Service]
