"""What of an interface is not as desired, by what the kernel shows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

import pytest

from amphora_agent.core.network.model import AutomaticAddress, Interface, InterfaceType, StaticAddress
from amphora_agent.core.network.unsettled import AddressFlags, LinkState, Trouble, unsettled

V4, V6 = IPv4Interface("10.20.0.5/24"), IPv6Interface("2001:db8:20::5/64")
LINK_LOCAL, OTHER = IPv6Interface("fe80::1/64"), IPv6Interface("2001:db8:20::99/64")
MEMBER = Interface(name="eth2", type=InterfaceType.BACKEND, addresses=(StaticAddress(V4), StaticAddress(V6)))
BOTH = AutomaticAddress(dhcp=True, ipv6auto=True)
FINE = LinkState(
    is_up=True, has_carrier=True, ipv4=frozenset({V4.ip}), ipv6={V6: AddressFlags(), LINK_LOCAL: AddressFlags()}
)


def troubles(desired: Interface, state: LinkState | None) -> list[Trouble]:
    return [each.trouble for each in unsettled(desired, state)]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (FINE, []),
        (None, [Trouble.ABSENT]),
        (replace(FINE, is_up=False, has_carrier=False), [Trouble.DOWN]),
        (replace(FINE, has_carrier=False, ipv4=frozenset()), [Trouble.NO_CARRIER]),
        (replace(FINE, ipv4=frozenset()), [Trouble.MISSING]),
        (replace(FINE, ipv6={}), [Trouble.MISSING]),
        (replace(FINE, ipv6={V6: AddressFlags(tentative=True)}), [Trouble.TENTATIVE]),
        (replace(FINE, ipv6={V6: AddressFlags(tentative=True, duplicate=True)}), [Trouble.DUPLICATE]),
        (replace(FINE, ipv6={V6: AddressFlags(deprecated=True)}), [Trouble.DEPRECATED]),
    ],
)
def test_troubles(state: LinkState | None, expected: list[Trouble]) -> None:
    assert troubles(MEMBER, state) == expected


@pytest.mark.parametrize(
    ("automatic", "ipv4", "ipv6", "is_served"),
    [
        (BOTH, {V4.ip}, {LINK_LOCAL}, False),
        (BOTH, {V4.ip, IPv4Address("10.20.0.99")}, {LINK_LOCAL}, True),
        (BOTH, {V4.ip}, {LINK_LOCAL, OTHER}, True),
        (AutomaticAddress(dhcp=True), {V4.ip}, {LINK_LOCAL, OTHER}, False),
        (AutomaticAddress(ipv6auto=True), {V4.ip}, {LINK_LOCAL}, True),
    ],
)
def test_a_client_without_a_lease(
    automatic: AutomaticAddress, ipv4: set[IPv4Address], ipv6: set[IPv6Interface], *, is_served: bool
) -> None:
    desired = replace(MEMBER, addresses=(StaticAddress(V4), automatic))
    state = replace(FINE, ipv4=frozenset(ipv4), ipv6=dict.fromkeys(ipv6, AddressFlags()))
    assert troubles(desired, state) == ([] if is_served else [Trouble.NO_LEASE])


def test_what_keepalived_owns_and_the_loopback_are_not_looked_at() -> None:
    standby = replace(MEMBER, addresses=(StaticAddress(V4), StaticAddress(V6, owned=False)))
    assert troubles(standby, replace(FINE, ipv6={})) == []
    assert troubles(replace(MEMBER, name="lo", type=InterfaceType.LOOPBACK), None) == []


def test_it_reads_well() -> None:
    (found,) = unsettled(MEMBER, replace(FINE, ipv6={V6: AddressFlags(duplicate=True)}))
    assert str(found) == "eth2 2001:db8:20::5/64: another machine has the address"
