"""Builds the desired interface from what a plug request says, and finds the VIPs of an existing one again."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from amphora_agent.core.addresses import Address, Subnet
from amphora_agent.core.network.model import (
    MAIN_TABLE,
    VIP_INTERFACE,
    VIP_TABLE,
    AutomaticAddress,
    Interface,
    InterfaceType,
    Route,
    Rule,
    StaticAddress,
    subnet_of,
)
from amphora_agent.core.settings import Topology

LOOPBACK = Interface(
    name="lo", type=InterfaceType.LOOPBACK, addresses=(StaticAddress(ipaddress.IPv4Interface("127.0.0.1/8")),)
)
_MASQUERADE = "/usr/local/bin/lvs-masquerade.sh"


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route of a subnet, as its owner wrote it; may be nonsense."""

    destination: Subnet
    nexthop: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """A VIP address and the subnet it lives in."""

    address: Address
    subnet: Subnet
    gateway: Address | None = None
    host_routes: tuple[HostRoute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedIp:
    """An address of a port and the subnet it lives in."""

    address: Address
    subnet: Subnet
    gateway: Address | None = None
    host_routes: tuple[HostRoute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VipNet:
    """The VIPs of a port, the primary first, and the port's own address on the primary VIP's subnet."""

    vips: tuple[Vip, ...]
    vrrp_ip: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A NIC by its MAC address, lower case. `mtu` is in bytes, None or 0 leaves it alone.

    `is_sriov`: it needs the packet filter of the agent, because the cloud's does not see its traffic.
    """

    mac: str
    mtu: int | None = None
    is_sriov: bool = False


def vip_interface(net: VipNet, port: Port, topology: Topology, fixed_ips: Sequence[FixedIp] = ()) -> Interface:
    """Return the VIP interface.

    Args:
        net: what it is for.
        port: how it is.
        topology: with ACTIVE_STANDBY the VIPs, their rules and their routes in the VIP table are keepalived's.
        fixed_ips: addresses of member subnets reached through this port.
    """
    vips = net.vips
    owned = topology is not Topology.ACTIVE_STANDBY
    versions = sorted({vip.address.version for vip in vips} | {fixed.address.version for fixed in fixed_ips})
    return Interface(
        name=VIP_INTERFACE,
        type=InterfaceType.VIP,
        addresses=(
            _own_address(vips, net.vrrp_ip),
            *(StaticAddress(ip_interface(vip.address), owned) for vip in vips),
            *(StaticAddress(_on_subnet(fixed.address, fixed.subnet)) for fixed in fixed_ips),
        ),
        routes=(
            *(route for vip in vips for route in _vip_routes(vip, owned=owned)),
            *(route for fixed in fixed_ips for route in _vip_side_routes(fixed, owned=owned)),
        ),
        rules=tuple(Rule(subnet_of(vip.address)) for vip in vips if owned),
        up=_scripts("add", VIP_INTERFACE, versions, is_sriov=port.is_sriov),
        down=_scripts("delete", VIP_INTERFACE, versions, is_sriov=port.is_sriov),
        is_sriov=port.is_sriov,
        mtu=port.mtu or None,
    )


def member_interface(name: str, port: Port, fixed_ips: Sequence[FixedIp]) -> Interface:
    """Return a member interface; without fixed IPs its addresses come from DHCP and router advertisements.

    Gateways are not used: answers to clients leave through the VIP interface.
    """
    versions = sorted({fixed.address.version for fixed in fixed_ips}) or [4, 6]
    statics = tuple(StaticAddress(_on_subnet(fixed.address, fixed.subnet)) for fixed in fixed_ips)
    return Interface(
        name=name,
        type=InterfaceType.BACKEND,
        addresses=statics or (AutomaticAddress(dhcp=True, ipv6auto=True),),
        routes=tuple(_host_route(route, MAIN_TABLE) for fixed in fixed_ips for route in usable_host_routes(fixed)),
        up=_scripts("add", name, versions, is_sriov=port.is_sriov),
        down=_scripts("delete", name, versions, is_sriov=port.is_sriov),
        is_sriov=port.is_sriov,
        mtu=port.mtu or None,
    )


def usable_host_routes(owner: Vip | FixedIp) -> tuple[HostRoute, ...]:
    """Return the host routes of their subnet's IP version, each once; their owner may have written anything."""
    return tuple(
        dict.fromkeys(
            route
            for route in owner.host_routes
            if route.destination.version == route.nexthop.version == owner.subnet.version
        )
    )


def _own_address(vips: Sequence[Vip], vrrp_ip: Address | None) -> StaticAddress | AutomaticAddress:
    if vrrp_ip is not None:
        return StaticAddress(_on_subnet(vrrp_ip, vips[0].subnet))
    versions = {vip.address.version for vip in vips}
    return AutomaticAddress(dhcp=4 in versions, ipv6auto=6 in versions)


def _on_subnet(address: Address, subnet: Subnet) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    return ip_interface((address, subnet.prefixlen))


def _vip_routes(vip: Vip, *, owned: bool) -> Iterator[Route]:
    tables = (MAIN_TABLE, VIP_TABLE) if owned else (MAIN_TABLE,)
    if vip.gateway is not None:
        yield from (_default_route(vip.gateway, table) for table in tables)
    yield Route(destination=vip.subnet, link_scope=True)
    if owned:
        yield Route(destination=vip.subnet, prefsrc=vip.address, table=VIP_TABLE, link_scope=True)
    for route in usable_host_routes(vip):
        yield from (_host_route(route, table) for table in (MAIN_TABLE, VIP_TABLE))


def _vip_side_routes(fixed: FixedIp, *, owned: bool) -> Iterator[Route]:
    tables = (MAIN_TABLE, VIP_TABLE) if owned else (MAIN_TABLE,)
    if fixed.gateway is not None:
        yield from (_default_route(fixed.gateway, table) for table in tables)
    yield from (_host_route(route, MAIN_TABLE) for route in usable_host_routes(fixed))


def _default_route(gateway: Address, table: int) -> Route:
    everywhere = ipaddress.ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
    return Route(destination=everywhere, gateway=gateway, table=table, onlink=True)


def _host_route(route: HostRoute, table: int) -> Route:
    return Route(destination=route.destination, gateway=route.nexthop, table=table, onlink=True)


def _scripts(action: str, name: str, versions: Iterable[int], *, is_sriov: bool) -> tuple[str, ...]:
    suffix = " sriov" if is_sriov else ""
    return tuple(f"{_MASQUERADE} {action} ipv{version} {name}{suffix}" for version in versions)


def vips_of(interface: Interface) -> tuple[Vip, ...]:
    """Return the VIPs an existing VIP interface was made from, the primary first.

    The file has no list of VIPs, but they alone have whole-length prefixes with a rule (SINGLE) or without an owner
    (ACTIVE_STANDBY), and each left one group of routes, in the same order.
    """
    ruled = {rule.source for rule in interface.rules}
    addresses = dict.fromkeys(
        static.address.ip
        for static in interface.static_addresses
        if subnet_of(static.address.ip) == static.address.network
        and (not static.owned or static.address.network in ruled)
    )
    groups = _route_groups(interface.routes)
    by_order = len(groups) == len(addresses) and all(
        address in group[0].destination for address, group in zip(addresses, groups, strict=True)
    )
    if by_order:
        return tuple(_vip_of(address, group) for address, group in zip(addresses, groups, strict=True))
    return tuple(
        _vip_of(address, next((group for group in groups if address in group[0].destination), ()))
        for address in addresses
    )


def _route_groups(routes: Iterable[Route]) -> list[tuple[Route, ...]]:
    """Return per VIP: its subnet's route, then the default route before it and the host routes behind it."""
    groups: list[tuple[Route, ...]] = []
    default: tuple[Route, ...] = ()
    for route in routes:
        if route.destination.prefixlen == 0:
            default = (route,)
        elif route.link_scope and route.table == MAIN_TABLE:
            groups.append((route, *(r for r in default if r.destination.version == route.destination.version)))
            default = ()
        elif groups and route.table == VIP_TABLE and route.gateway is not None:
            groups[-1] = (*groups[-1], route)
    return groups


def _vip_of(address: Address, group: tuple[Route, ...]) -> Vip:
    via = [(route.destination, route.gateway) for route in group if route.gateway is not None]
    return Vip(
        address=address,
        subnet=group[0].destination if group else subnet_of(address),
        gateway=next((gateway for destination, gateway in via if destination.prefixlen == 0), None),
        host_routes=tuple(HostRoute(destination, gateway) for destination, gateway in via if destination.prefixlen),
    )
