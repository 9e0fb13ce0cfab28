"""Declared interfaces: every problem with its place, what they become, and the way back to the document."""

from __future__ import annotations

import copy
import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.document.interface import InterfaceDocument, check, declared, interface
from amphora_agent.core.document.model import HostRoute
from amphora_agent.core.document.problem import Problem
from amphora_agent.core.document.reading import read_object
from amphora_agent.core.network.desired import FixedIp, Port, Vip, VipNet, member_interface, vip_interface
from amphora_agent.core.network.model import AutomaticAddress, Interface, Route, StaticAddress
from amphora_agent.core.settings import Topology
from tests.core.document.documents import Json

PORT = Port(mac="fa:16:3e:00:00:01")
VIP: Json = {
    "addresses": ["10.9.0.9/24", "2001:db8:9::9/64"],
    "vips": ["10.9.0.5", "192.0.2.5"],
    "gateways": ["10.9.0.1", "2001:db8:9::1"],
    "mtu": 1450,
    "routes": [{"destination": "203.0.113.0/24", "nexthop": "10.9.0.7"}],
}
MEMBER: Json = {
    "addresses": ["10.20.0.5/24"],
    "routes": [
        {"destination": "10.0.0.0/8", "nexthop": "10.20.0.1"},
        {"destination": "0.0.0.0/0", "nexthop": "10.20.0.2"},
    ],
}


def document(tree: object) -> InterfaceDocument:
    found = read_object(InterfaceDocument, json.dumps(tree).encode())
    assert isinstance(found, InterfaceDocument), found
    return found


def problems(tree: object) -> tuple[Problem, ...]:
    found = read_object(InterfaceDocument, tree if isinstance(tree, bytes) else json.dumps(tree).encode())
    return check(found) if isinstance(found, InterfaceDocument) else found


def made(tree: Json, name: str = "eth1", topology: Topology = Topology.SINGLE) -> Interface:
    assert problems(tree) == ()
    return interface(document(tree), name, PORT, topology)


def changed(tree: Json, path: str, value: object) -> Json:
    found = copy.deepcopy(tree)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")[1:]]
    place: Any = found
    for part in parents:
        place = place[part]
    place[last] = value
    return found


def test_a_member_is_what_a_controller_s_plug_would_make() -> None:
    fixed = FixedIp(address=ip_address("10.20.0.5"), subnet=ip_network("10.20.0.0/24"), host_routes=())
    assert made({"addresses": ["10.20.0.5/24"], "mtu": 1400}, "eth2") == member_interface(
        "eth2", Port(mac=PORT.mac, mtu=1400), [fixed]
    )
    assert made({}, "eth2").addresses == (AutomaticAddress(dhcp=True, ipv6auto=True),)


def test_a_vip_is_what_a_controller_s_plug_would_make() -> None:
    vip = Vip(address=ip_address("10.9.0.5"), subnet=ip_network("10.9.0.0/24"), gateway=ip_address("10.9.0.1"))
    net = VipNet(vips=(vip,), vrrp_ip=ip_address("10.9.0.9"))
    tree: Json = {"addresses": ["10.9.0.9/24"], "vips": ["10.9.0.5"], "gateways": ["10.9.0.1"]}
    for topology in Topology:
        assert made(tree, topology=topology) == vip_interface(net, PORT, topology)


def test_a_vip_in_no_subnet_stands_alone_and_asks_for_no_address() -> None:
    found = made({"addresses": ["10.9.0.9/24"], "vips": ["192.0.2.5"], "gateways": ["10.9.0.1"]})
    assert found.addresses == (
        StaticAddress(ip_interface("192.0.2.5/32")),
        StaticAddress(ip_interface("10.9.0.9/24")),
    )
    assert Route(destination=ip_network("0.0.0.0/0"), gateway=ip_address("10.9.0.1"), onlink=True) in found.routes


def test_the_first_subnet_that_has_a_vip_is_its_own() -> None:
    found = made({"addresses": ["10.9.1.9/16", "10.9.0.9/24"], "vips": ["10.9.0.5"]})
    assert Route(destination=ip_network("10.9.0.0/16"), link_scope=True) in found.routes
    assert StaticAddress(ip_interface("10.9.0.9/24")) in found.addresses


@pytest.mark.parametrize(
    ("base", "path", "value", "pointer", "detail"),
    [
        (VIP, "/addresses/0", "10.9.0.9", "/addresses/0", "got '10.9.0.9'"),
        (VIP, "/addresses/0", "10.9.0.9/255.255.255.0", "/addresses/0", "got '10.9.0.9/255.255.255.0'"),
        (VIP, "/addresses/1", "fe80::1/64", "/addresses/1", "fe80::1 is no address of a host on a network"),
        (VIP, "/addresses/1", "2001:db8::1%lo/64", "/addresses/1", "got '2001:db8::1%lo/64'"),
        (MEMBER, "/addresses/0", "10.20.0.5/0", "/addresses/0", "got '10.20.0.5/0'"),
        (MEMBER, "/addresses/0", "10.20.0.255/24", "/addresses/0", "10.20.0.255 is no host of its subnet"),
        (VIP, "/addresses/1", "10.9.0.9/16", "/addresses/1", "10.9.0.9 is there twice"),
        (VIP, "/addresses", ["10.9.0.9/24"], "/gateways/1", "2001:db8:9::1 is IPv6"),
        (VIP, "/vips/0", "10.9.0.9", "/vips/0", "10.9.0.9 is there twice, or the interface's own"),
        (VIP, "/vips/1", "10.9.0.5", "/vips/1", "10.9.0.5 is there twice, or the interface's own"),
        (VIP, "/vips/1", "192.0.2.5/32", "/vips/1", "got '192.0.2.5/32'"),
        (VIP, "/vips/1", "224.0.0.1", "/vips/1", "224.0.0.1 is no address of a host on a network"),
        (VIP, "/vips", [], "/gateways", "there are no vips"),
        (VIP, "/gateways/1", "10.9.0.2", "/gateways/1", "a second one for IPv4"),
        (VIP, "/gateways/0", "10.9.0.5", "/gateways/0", "10.9.0.5 is this interface's"),
        (VIP, "/gateways/0", "10.9.0.255", "/gateways/0", "10.9.0.255 is no host of its subnet"),
        (VIP, "/gateways/0", "0.0.0.0", "/gateways/0", "0.0.0.0 is no address of a router"),
        (VIP, "/mtu", 1279, "/mtu", "got 1279, with IPv6 addresses"),
        (VIP, "/mtu", 67, "/mtu", "got 67"),
        (VIP, "/mtu", True, "/mtu", "got true"),
        (VIP, "/routes/0/destination", "203.0.113.1/24", "/routes/0/destination", "got '203.0.113.1/24'"),
        (VIP, "/routes/0/destination", "0.0.0.0/0", "/routes/0/destination", "that is a gateway"),
        (VIP, "/routes/0/destination", "10.9.0.0/24", "/routes/0/destination", "10.9.0.0/24 is a subnet of this"),
        (VIP, "/routes/0/destination", "10.9.0.5/32", "/routes/0/destination", "10.9.0.5/32 is a subnet of this"),
        (VIP, "/routes/0/destination", "127.0.0.0/8", "/routes/0/destination", "127.0.0.0/8 is never routed"),
        (VIP, "/routes/0/nexthop", "2001:db8:9::7", "/routes/0/nexthop", "203.0.113.0/24 is IPv4"),
        (MEMBER, "/routes/1/destination", "10.0.0.0/8", "/routes/1/destination", "10.0.0.0/8 is there twice"),
        (MEMBER, "/addresses", [], "/routes/0/nexthop", "10.20.0.1 is IPv4"),
        (MEMBER, "/addresses", "10.20.0.5/24", "/addresses", "got '10.20.0.5/24'"),
        (MEMBER, "/adresses", [], "/adresses", "there is no field 'adresses'"),
        (MEMBER, "/routes/0/via", "10.0.0.1", "/routes/0/via", "there is no field 'via'"),
        (MEMBER, "/addresses", [f"10.{n}.0.1/24" for n in range(257)], "/addresses", "got ["),
    ],
)
def test_what_is_wrong_is_named(base: Json, path: str, value: object, pointer: str, detail: str) -> None:
    found = problems(changed(base, path, value))
    assert any(each.pointer == pointer and detail in each.detail for each in found), found
    assert all(each.where for each in found)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    tree = changed(changed(changed(VIP, "/mtu", 1000), "/vips/0", "nonsense"), "/routes/0/nexthop", "10.9.0.9")
    assert [(each.pointer, each.where) for each in problems(tree)] == [
        ("/vips/0", "VIP number 1"),
        ("/routes/0/nexthop", "route number 1"),
        ("/mtu", "the document"),
    ]


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"null", b'{"mtu": 1, "mtu": 2}', b'{"mtu": 1e400}', b"[" * 99999]
)
def test_what_is_no_interface_is_refused(body: bytes) -> None:
    assert problems(body)


HOSTS = ("10.9.0.9/24", "10.20.0.5/20", "10.30.0.3/28", "2001:db8:9::9/64", "2001:db8:20::5/64", "198.51.100.7/32")
VIPS = ("10.9.0.5", "10.20.0.6", "192.0.2.5", "2001:db8:9::5", "2001:db8:77::5")
ROUTES = tuple(
    HostRoute(destination=destination, nexthop=hop)
    for destination, hop in (
        ("203.0.113.0/24", "10.9.0.7"),
        ("198.51.100.8/32", "10.9.0.7"),
        ("2001:db8:ff::/48", "fe80::7"),
        ("0.0.0.0/0", "10.20.0.1"),
        ("0.0.0.0/1", "10.20.0.1"),
    )
)


def some(values: tuple[Any, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), unique=True).map(tuple)


@given(
    st.builds(
        InterfaceDocument,
        addresses=some(HOSTS),
        vips=some(VIPS),
        gateways=some(("10.9.0.1", "2001:db8:9::1")),
        mtu=st.sampled_from([None, 1280, 9000]),
        routes=some(ROUTES),
    ),
    st.sampled_from(Topology),
)
def test_an_interface_says_what_it_was_declared_as(wanted: InterfaceDocument, topology: Topology) -> None:
    if check(wanted):
        return
    found = declared(interface(wanted, "eth1" if wanted.vips else "eth2", PORT, topology))
    assert found.vips == wanted.vips
    assert found.mtu == wanted.mtu
    assert set(found.addresses) == set(wanted.addresses)
    assert set(found.gateways) == set(wanted.gateways)
    assert {*found.routes} == {*wanted.routes}
    assert check(found) == ()
