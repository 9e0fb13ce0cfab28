"""What of an interface is not yet as desired, from what the kernel shows for a few microseconds. Pure; repairs nothing.

Kernel states between absent and usable: an address that another machine has, one that is still being checked, one that
is deprecated, a link without a carrier, a DHCP client without a lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Interface

from amphora_agent.core.addresses import HostAddress
from amphora_agent.core.network.model import Interface, InterfaceType


class Trouble(StrEnum):
    """Why something cannot be used yet; worded for an operator."""

    ABSENT = "the interface is not there"
    DOWN = "the interface is down"
    NO_CARRIER = "the interface has no carrier"
    NO_LEASE = "no DHCP server has answered"
    MISSING = "the address is not there"
    TENTATIVE = "the address is being checked for duplicates"
    DUPLICATE = "another machine has the address"
    DEPRECATED = "the address is deprecated"


# A new address, or the old one anew, is what helps.
REPAIRABLE = frozenset({Trouble.MISSING, Trouble.DUPLICATE, Trouble.DEPRECATED})


@dataclass(frozen=True, slots=True)
class AddressFlags:
    """How the kernel has an IPv6 address."""

    tentative: bool = False
    duplicate: bool = False
    deprecated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """What the kernel shows of one device; `ipv4` are its addresses without their prefix lengths."""

    is_up: bool
    has_carrier: bool
    ipv4: frozenset[IPv4Address]
    ipv6: dict[IPv6Interface, AddressFlags]


@dataclass(frozen=True, slots=True)
class Unsettled:
    """One thing that is not as desired; `address` is None for the interface as a whole."""

    ifname: str
    trouble: Trouble
    address: HostAddress | None = None

    def __str__(self) -> str:
        """Return it for an operator."""
        place = self.ifname if self.address is None else f"{self.ifname} {self.address}"
        return f"{place}: {self.trouble}"


def unsettled(desired: Interface, state: LinkState | None) -> tuple[Unsettled, ...]:
    """Return what is not as desired; nothing when all of the interface can be used.

    Args:
        desired: what its file says.
        state: of its device, None without one.
    """
    name = desired.name
    if desired.type is InterfaceType.LOOPBACK:
        return ()
    if state is None:
        return (Unsettled(name, Trouble.ABSENT),)
    if not state.is_up:
        return (Unsettled(name, Trouble.DOWN),)
    if not state.has_carrier:
        return (Unsettled(name, Trouble.NO_CARRIER),)
    return tuple(_unsettled_addresses(desired, state))


def _unsettled_addresses(desired: Interface, state: LinkState) -> Iterator[Unsettled]:
    statics = {static.address for static in desired.static_addresses}
    has_lease = bool(state.ipv4 - {host.ip for host in statics})
    # An interface may ask for both kinds of addresses in a network that has one of them.
    has_advertised = desired.ipv6auto and any(not host.ip.is_link_local and host not in statics for host in state.ipv6)
    if desired.dhcp and not has_lease and not has_advertised:
        yield Unsettled(desired.name, Trouble.NO_LEASE)
    for static in desired.static_addresses:
        trouble = _trouble_of(static.address, state) if static.owned else None
        if trouble is not None:
            yield Unsettled(desired.name, trouble, static.address)


def _trouble_of(address: HostAddress, state: LinkState) -> Trouble | None:
    if not isinstance(address, IPv6Interface):
        return None if address.ip in state.ipv4 else Trouble.MISSING
    flags = state.ipv6.get(address)
    if flags is None:
        return Trouble.MISSING
    if flags.duplicate:
        return Trouble.DUPLICATE
    if flags.tentative:
        return Trouble.TENTATIVE
    return Trouble.DEPRECATED if flags.deprecated else None
