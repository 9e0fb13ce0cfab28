"""Steps in words, and which of a plan's change something."""

from __future__ import annotations

from ipaddress import IPv6Interface, ip_address, ip_interface, ip_network
from typing import get_args

import pytest

from amphora_agent.core.network.model import (
    AddAddress,
    AddRoute,
    AddRule,
    AwaitAddresses,
    DisableSlaac,
    EnableSlaac,
    LinkStep,
    ObservedRoute,
    ObservedRule,
    RemoveAddress,
    RemoveRoute,
    RemoveRule,
    ReplaceRoute,
    Route,
    Rule,
    SetMtu,
    SetUp,
    StartDhcp,
    StopDhcp,
)
from amphora_agent.core.network.words import changes, described

NETWORK = ip_network("10.9.0.0/24")
VIA = Route(destination=NETWORK, gateway=ip_address("10.9.0.1"))
FROM = Route(destination=NETWORK, prefsrc=ip_address("10.9.0.5"), table=1)
SEEN = ObservedRoute(destination=NETWORK, interface=3, protocol=4)
RULE = ObservedRule(source=ip_network("10.9.0.5/32"), table=1, priority=32000, protocol=4)


WORDS: dict[LinkStep, str] = {
    SetMtu(3, 1450): "set the MTU to 1450",
    SetUp(3): "bring the link up",
    StartDhcp(3): "start the DHCP client",
    StopDhcp(3): "stop the DHCP client",
    EnableSlaac(3): "take router advertisements",
    DisableSlaac(3): "take no router advertisements",
    AddAddress(3, ip_interface("10.9.0.9/24")): "add address 10.9.0.9/24",
    AwaitAddresses(3, frozenset({IPv6Interface("2001:db8::9/64")})): "wait for 2001:db8::9/64",
    RemoveAddress(3, ip_interface("2001:db8::9/64")): "remove address 2001:db8::9/64",
    AddRoute(3, VIA): "add route 10.9.0.0/24 via 10.9.0.1",
    ReplaceRoute(3, FROM): "replace route 10.9.0.0/24 from 10.9.0.5 in table 1",
    RemoveRoute(SEEN): "remove route 10.9.0.0/24",
    AddRule(Rule(ip_network("10.9.0.5/32"))): "add rule from 10.9.0.5/32 look up table 1",
    RemoveRule(RULE): "remove rule from 10.9.0.5/32 look up table 1",
}


@pytest.mark.parametrize(("step", "words"), WORDS.items())
def test_a_step_in_words(step: LinkStep, words: str) -> None:
    assert described(step) == words


def test_every_kind_of_step_is_in_the_table() -> None:
    assert {type(step) for step in WORDS} == set(get_args(LinkStep))


def test_waits_and_what_the_kernel_does_are_no_changes() -> None:
    address = IPv6Interface("2001:db8::9/64")
    added = AddAddress(3, address)
    connected = AddRoute(3, Route(destination=address.network, link_scope=True))
    elsewhere = AddRoute(3, Route(destination=NETWORK, link_scope=True))
    by_vip = AddRoute(3, Route(destination=address.network, prefsrc=address.ip, table=1, link_scope=True))
    wait = AwaitAddresses(3, frozenset({address}))
    assert changes((added, wait, connected, elsewhere, by_vip)) == (added, elsewhere, by_vip)
