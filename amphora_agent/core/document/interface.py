"""An interface as API 2.0 declares it: its shape, what can be wrong with it, what it becomes, and the way back. Pure.

Decision: the same values as a controller's plugs (`core.network.desired`), so that one plan serves both APIs. What is
wanted is the whole interface: what a request leaves out goes away. VIPs make an interface the VIP's; a subnet is said
once, as the prefix of an address, and a VIP that is in none stands alone (/32, /128) and is routed here by others.

Decision: `gateways` and `routes` name no subnet. A gateway serves all VIPs of its IP version, and a next hop needs no
address in its subnet (`onlink`), so that a sentence explains them: at most one gateway for each IP version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Annotated

from msgspec import Meta, Struct

from amphora_agent.core.addresses import Address, HostAddress, Subnet, parse_address
from amphora_agent.core.document.model import AddressText, HostRoute
from amphora_agent.core.document.problem import Path, Problem, problem, shown
from amphora_agent.core.document.values import hop_fault, host_fault, parse_host, parse_network
from amphora_agent.core.network import desired
from amphora_agent.core.network.desired import FixedIp, Port, Vip, VipNet, member_interface, vip_interface, vips_of
from amphora_agent.core.network.model import MAIN_TABLE, Interface, InterfaceType, subnet_of
from amphora_agent.core.settings import Topology

# Below it the kernel ends IPv6 on an interface. Source: RFC 8200 section 5.
_LEAST_MTU_OF_6 = 1280

HostText = Annotated[str, Meta(max_length=49, description="an address with its prefix length, 10.0.0.5/24")]
Mtu = Annotated[int, Meta(ge=68, le=65535, description="bytes")]


class InterfaceDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An interface as it shall be.

    `addresses`: its own; without any they come from DHCP and router advertisements. `vips`: make it the VIP's
    interface, `eth1`. `gateways`: where answers to clients leave, at most one for each IP version; only with VIPs.
    `mtu`: null leaves it alone.
    """

    addresses: Annotated[tuple[HostText, ...], Meta(max_length=256)] = ()
    vips: Annotated[tuple[AddressText, ...], Meta(max_length=256)] = ()
    gateways: Annotated[tuple[AddressText, ...], Meta(max_length=2)] = ()
    mtu: Mtu | None = None
    routes: Annotated[tuple[HostRoute, ...], Meta(max_length=1024)] = ()


def check(document: InterfaceDocument) -> tuple[Problem, ...]:
    """Return everything that is wrong with an interface of the right shape, in its order; empty for a good one."""
    hosts = tuple(_hosts(document))
    own = frozenset({host.ip for host in hosts} | {*_addresses(document.vips)})
    checker = _Checker(
        document=document,
        hosts=hosts,
        own=own,
        versions=frozenset(address.version for address in own),
        ends=frozenset(end for host in hosts for end in _ends(host.network)),
    )
    return tuple(problem(document, *fault) for fault in checker.faults())


_Fault = tuple[Path, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checker:
    """A document, its own addresses and their versions, and the addresses that no host of its subnets has."""

    document: InterfaceDocument
    hosts: tuple[HostAddress, ...]
    own: frozenset[Address]
    versions: frozenset[int]
    ends: frozenset[Address]

    def faults(self) -> Iterator[_Fault]:
        """Yield path, what is wrong, and what would be right."""
        yield from self._address_faults()
        yield from self._vip_faults()
        yield from self._gateway_faults()
        yield from self._route_faults()
        if self.document.mtu is not None and self.document.mtu < _LEAST_MTU_OF_6 and 6 in self.versions:
            yield ("mtu",), f"got {self.document.mtu}, with IPv6 addresses", f"at least {_LEAST_MTU_OF_6}"

    def _address_faults(self) -> Iterator[_Fault]:
        seen: set[Address] = set()
        for number, text in enumerate(self.document.addresses):
            path, host = ("addresses", number), parse_host(text)
            if host is None or host.network.prefixlen == 0:
                yield path, f"got {shown(text)}", "an address with its prefix length, like 10.0.0.5/24"
            elif fault := host_fault(host.ip) or self._end_fault(host.ip):
                yield path, fault, "the address of a host"
            elif host.ip in seen:
                yield path, f"{host.ip} is there twice", "each address once"
            else:
                seen.add(host.ip)

    def _vip_faults(self) -> Iterator[_Fault]:
        seen = {host.ip for host in self.hosts}
        for number, text in enumerate(self.document.vips):
            path, address = ("vips", number), parse_address(text)
            if address is None:
                yield path, f"got {shown(text)}", "an IPv4 or IPv6 address without a prefix length"
            elif fault := host_fault(address):
                yield path, fault, "the address of a host"
            elif address in seen:
                yield path, f"{address} is there twice, or the interface's own", "each address once"
            else:
                seen.add(address)

    def _gateway_faults(self) -> Iterator[_Fault]:
        document, seen = self.document, set[int]()
        if document.gateways and not document.vips:
            yield ("gateways",), "there are no vips", "gateways for the VIP's interface alone, or routes"
        for number, text in enumerate(document.gateways):
            path, address = ("gateways", number), parse_address(text)
            yield from self._hop_faults(text, path)
            if address is not None and address.version in seen:
                yield path, f"a second one for IPv{address.version}", "one gateway for each IP version"
            elif address is not None:
                seen.add(address.version)

    def _route_faults(self) -> Iterator[_Fault]:
        seen: set[Subnet] = set()
        for number, route in enumerate(self.document.routes):
            path, network, hop = ("routes", number), parse_network(route.destination), parse_address(route.nexthop)
            fault = "" if network is None else self._destination_fault(network)
            if network is None:
                yield (*path, "destination"), f"got {shown(route.destination)}", "a subnet without host bits"
            elif fault:
                yield (*path, "destination"), fault, "a subnet elsewhere"
            elif network in seen:
                yield (*path, "destination"), f"{network} is there twice", "each destination once"
            elif hop is not None and hop.version != network.version:
                yield (*path, "nexthop"), f"{network} is IPv{network.version}", f"an IPv{network.version} address"
            if network is not None:
                seen.add(network)
            yield from self._hop_faults(route.nexthop, (*path, "nexthop"))

    def _destination_fault(self, network: Subnet) -> str:
        if network.prefixlen == 0:
            return "that is a gateway" if self.document.vips else ""
        if network.is_loopback or network.is_multicast or network.is_link_local:
            return f"{network} is never routed"
        if network == subnet_of(network.network_address) and network.network_address.is_unspecified:
            return f"{network} is never routed"
        is_ours = network.network_address in self.own and network == subnet_of(network.network_address)
        is_ours |= any(network == host.network for host in self.hosts)
        return f"{network} is a subnet of this interface" if is_ours else ""

    def _hop_faults(self, text: str, path: Path) -> Iterator[_Fault]:
        address = parse_address(text)
        if address is None:
            yield path, f"got {shown(text)}", "an IPv4 or IPv6 address"
        elif fault := hop_fault(address) or self._end_fault(address):
            yield path, fault, "the address of a router"
        elif address in self.own:
            yield path, f"{address} is this interface's", "the address of a router"
        elif address.version not in self.versions:
            yield path, f"{address} is IPv{address.version}", "an IP version of which there is an address or a VIP"

    def _end_fault(self, address: Address) -> str:
        return f"{address} is no host of its subnet" if address in self.ends else ""


def _ends(subnet: Subnet) -> tuple[Address, ...]:
    """Return the first and the last address of an IPv4 subnet with room between them."""
    has_ends = isinstance(subnet, IPv4Network) and subnet.prefixlen < 31
    return (subnet.network_address, subnet.broadcast_address) if has_ends else ()


def _hosts(document: InterfaceDocument) -> Iterator[HostAddress]:
    return (host for text in document.addresses if (host := parse_host(text)) is not None)


def _addresses(texts: Iterable[str]) -> Iterator[Address]:
    return (address for text in texts if (address := parse_address(text)) is not None)


def interface(document: InterfaceDocument, name: str, port: Port, topology: Topology) -> Interface:
    """Return the desired interface.

    Args:
        document: a good one.
        name: inside the namespace.
        port: the NIC; the document's MTU counts.
        topology: with ACTIVE_STANDBY the VIPs are keepalived's to add.
    """
    port = replace(port, mtu=document.mtu)
    hosts, parts = tuple(_hosts(document)), _Parts(document)
    vips = tuple(parts.vip(address, hosts) for address in _addresses(document.vips))
    if not vips:
        return member_interface(name, port, tuple(parts.fixed_ip(host) for host in hosts))
    own = next((host for host in hosts if vips[0].address in host.network), None)
    others = tuple(parts.fixed_ip(host) for host in hosts if host is not own)
    made = vip_interface(VipNet(vips=vips, vrrp_ip=None if own is None else own.ip), port, topology, others)
    # A VIP in no subnet of the interface has no reason to ask for one where there are addresses.
    return replace(made, addresses=made.addresses[1:]) if own is None and hosts else made


class _Parts:
    """What is left of a document's gateways and routes, each given to the first address that can have it."""

    def __init__(self, document: InterfaceDocument) -> None:
        self._gateways = {address.version: address for address in _addresses(document.gateways)}
        routes = tuple(_host_routes(document))
        self._routes = {
            version: tuple(each for each in routes if each.destination.version == version) for version in (4, 6)
        }

    def vip(self, address: Address, hosts: Sequence[HostAddress]) -> Vip:
        """Return a VIP in the first subnet that has it."""
        subnet = next((host.network for host in hosts if address in host.network), subnet_of(address))
        return Vip(
            address=address,
            subnet=subnet,
            gateway=self._gateways.pop(address.version, None),
            host_routes=self._routes.pop(address.version, ()),
        )

    def fixed_ip(self, host: HostAddress) -> FixedIp:
        """Return an address of the interface itself."""
        return FixedIp(
            address=host.ip,
            subnet=host.network,
            gateway=self._gateways.pop(host.version, None),
            host_routes=self._routes.pop(host.version, ()),
        )


def _host_routes(document: InterfaceDocument) -> Iterator[desired.HostRoute]:
    for route in document.routes:
        destination, nexthop = parse_network(route.destination), parse_address(route.nexthop)
        if destination is not None and nexthop is not None:
            yield desired.HostRoute(destination, nexthop)


def declared(found: Interface) -> InterfaceDocument:
    """Return the document that says what an interface is, whichever API made it."""
    is_vip = found.type is InterfaceType.VIP
    vips = [vip.address for vip in vips_of(found)] if is_vip else []
    alone = {subnet_of(vip) for vip in vips}
    hosts = [each.address for each in found.static_addresses if each.address.network not in alone]
    via = {(each.destination, each.gateway): None for each in found.routes if each.table == MAIN_TABLE and each.gateway}
    gateways = {hop.version: hop for destination, hop in via if is_vip and not destination.prefixlen and hop}
    return InterfaceDocument(
        addresses=tuple(str(host) for host in hosts),
        vips=tuple(str(vip) for vip in vips),
        gateways=tuple(str(gateway) for gateway in gateways.values()),
        mtu=found.mtu,
        routes=tuple(
            HostRoute(destination=str(destination), nexthop=str(hop))
            for destination, hop in via
            if destination.prefixlen or not is_vip
        ),
    )
