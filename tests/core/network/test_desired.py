"""The desired interface of a plug request, against the contract's tables."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.network.desired import (
    FixedIp,
    HostRoute,
    Port,
    Vip,
    VipNet,
    member_interface,
    usable_host_routes,
    vip_interface,
    vips_of,
)
from amphora_agent.core.network.model import AutomaticAddress, Route, Rule, StaticAddress
from amphora_agent.core.settings import Topology
from tests.core.network.values import fixed_ips, ports, vip_nets

HOST_ROUTE = HostRoute(ip_network("203.0.113.0/24"), ip_address("10.9.0.7"))
VIP = Vip(
    address=ip_address("10.9.0.5"),
    subnet=ip_network("10.9.0.0/24"),
    gateway=ip_address("10.9.0.1"),
    host_routes=(HOST_ROUTE,),
)
NET = VipNet(vips=(VIP,), vrrp_ip=ip_address("10.9.0.9"))
PORT = Port(mac="fa:16:3e:00:00:01", mtu=1450)
DEFAULT = ip_network("0.0.0.0/0")


def default_route(table: int) -> Route:
    return Route(destination=DEFAULT, gateway=ip_address("10.9.0.1"), table=table, onlink=True)


def host_route(table: int) -> Route:
    return Route(destination=HOST_ROUTE.destination, gateway=HOST_ROUTE.nexthop, table=table, onlink=True)


SUBNET_ROUTE = Route(destination=VIP.subnet, link_scope=True)


def test_single() -> None:
    interface = vip_interface(NET, PORT, Topology.SINGLE)
    assert interface.addresses == (
        StaticAddress(ip_interface("10.9.0.9/24")),
        StaticAddress(ip_interface("10.9.0.5/32"), owned=True),
    )
    assert interface.routes == (
        default_route(254),
        default_route(1),
        SUBNET_ROUTE,
        Route(destination=VIP.subnet, prefsrc=VIP.address, table=1, link_scope=True),
        host_route(254),
        host_route(1),
    )
    assert interface.rules == (Rule(ip_network("10.9.0.5/32"), 1),)
    assert interface.up == ("/usr/local/bin/lvs-masquerade.sh add ipv4 eth1",)
    assert interface.down == ("/usr/local/bin/lvs-masquerade.sh delete ipv4 eth1",)


def test_active_standby() -> None:
    interface = vip_interface(NET, PORT, Topology.ACTIVE_STANDBY)
    assert interface.static_addresses[1] == StaticAddress(ip_interface("10.9.0.5/32"), owned=False)
    assert interface.routes == (default_route(254), SUBNET_ROUTE, host_route(254), host_route(1))
    assert interface.rules == ()


def test_no_gateway_means_no_default_route() -> None:
    vip = Vip(address=VIP.address, subnet=VIP.subnet)
    interface = vip_interface(VipNet(vips=(vip,), vrrp_ip=None), PORT, Topology.SINGLE)
    assert [route.destination for route in interface.routes] == [VIP.subnet, VIP.subnet]


def test_without_an_address_of_its_own_the_port_asks_for_one() -> None:
    six = Vip(address=ip_address("2001:db8::5"), subnet=ip_network("2001:db8::/64"))
    only_six = vip_interface(VipNet(vips=(six,)), PORT, Topology.SINGLE)
    both = vip_interface(VipNet(vips=(VIP, six)), PORT, Topology.SINGLE)
    assert only_six.addresses[0] == AutomaticAddress(dhcp=False, ipv6auto=True)
    assert both.addresses[0] == AutomaticAddress(dhcp=True, ipv6auto=True)
    assert len(both.up) == 2


def test_member_subnets_behind_the_vip_port() -> None:
    member = FixedIp(
        address=ip_address("10.20.0.6"),
        subnet=ip_network("10.20.0.0/24"),
        gateway=ip_address("10.20.0.1"),
        host_routes=(HostRoute(ip_network("192.0.2.0/24"), ip_address("10.20.0.7")),),
    )
    plain, replugged = (vip_interface(NET, PORT, Topology.SINGLE, fixed) for fixed in ((), (member,)))
    assert replugged.addresses == (*plain.addresses, StaticAddress(ip_interface("10.20.0.6/24")))
    via = ip_address("10.20.0.1")
    assert replugged.routes == (
        *plain.routes,
        Route(destination=DEFAULT, gateway=via, onlink=True),
        Route(destination=DEFAULT, gateway=via, table=1, onlink=True),
        Route(destination=ip_network("192.0.2.0/24"), gateway=ip_address("10.20.0.7"), onlink=True),
    )
    assert replugged.rules == plain.rules


def test_member() -> None:
    fixed = FixedIp(
        address=ip_address("10.20.0.5"),
        subnet=ip_network("10.20.0.0/20"),
        gateway=ip_address("10.20.0.1"),
        host_routes=(HOST_ROUTE,),
    )
    interface = member_interface("eth3", PORT, [fixed])
    assert interface.addresses == (StaticAddress(ip_interface("10.20.0.5/20")),)
    assert interface.routes == (host_route(254),)
    assert interface.rules == ()
    automatic = member_interface("eth3", Port(mac=PORT.mac, is_sriov=True), [])
    assert automatic.addresses == (AutomaticAddress(dhcp=True, ipv6auto=True),)
    assert automatic.up == (
        "/usr/local/bin/lvs-masquerade.sh add ipv4 eth3 sriov",
        "/usr/local/bin/lvs-masquerade.sh add ipv6 eth3 sriov",
    )


def test_host_routes_of_another_ip_version_and_repeated_ones_are_skipped() -> None:
    six = HostRoute(ip_network("2001:db8::/64"), ip_address("2001:db8::1"))
    mixed = HostRoute(ip_network("192.0.2.0/24"), ip_address("2001:db8::1"))
    vip = Vip(address=VIP.address, subnet=VIP.subnet, host_routes=(six, HOST_ROUTE, mixed, HOST_ROUTE))
    assert usable_host_routes(vip) == (HOST_ROUTE,)


@given(vip_nets(), ports(), st.sampled_from(Topology), st.lists(fixed_ips(), max_size=3))
def test_the_vips_are_found_again_in_the_interface(
    net: VipNet, port: Port, topology: Topology, fixed: list[FixedIp]
) -> None:
    interface = vip_interface(net, port, topology, fixed)
    found = vips_of(interface)
    assert [(vip.address, vip.subnet) for vip in found] == [(vip.address, vip.subnet) for vip in net.vips]
    if all(route.destination.prefixlen for vip in net.vips for route in vip.host_routes):
        again = vip_interface(VipNet(vips=found, vrrp_ip=net.vrrp_ip), port, topology, fixed)
        assert again == interface
