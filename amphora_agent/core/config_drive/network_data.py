"""network_data.json of a config drive: the management network as values. Never configures a NIC.

Decision: bonds and VLANs are refused. They are what an instance on bare metal has; half of one would be a NIC with the
wrong addresses, which is harder to find than a line on the console.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Final

from amphora_agent.core.config_drive.metadata import load_object
from amphora_agent.errors import AgentError, InvalidRequest

Address = IPv4Address | IPv6Address
_REFUSED: Final = frozenset({"bond", "vlan"})
_DHCP6: Final = frozenset({"ipv6_dhcp", "ipv6_dhcpv6-stateful"})
_ADVERTISED: Final = frozenset({*_DHCP6, "ipv6_slaac", "ipv6_dhcpv6-stateless"})
_MTU: Final = range(576, 65536)
_MAC_PARTS: Final = 6


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route by way of a gateway."""

    destination: IPv4Network | IPv6Network
    gateway: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementNic:
    """One NIC by its MAC address, lower case, and how it gets its addresses. `mtu` 0: the network's own."""

    mac: str
    mtu: int = 0
    is_dhcp4: bool = False
    is_dhcp6: bool = False
    is_advertised: bool = False
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    routes: tuple[StaticRoute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkData:
    """All NICs in the drive's order, and the name servers for the whole machine."""

    nics: tuple[ManagementNic, ...] = ()
    name_servers: tuple[Address, ...] = ()
    complaints: tuple[str, ...] = ()


def parse_network_data(data: bytes) -> NetworkData:
    """Return what the document says; links and networks that cannot be used stand among the complaints.

    Raises:
        InvalidRequest: it is no JSON object.

    Source: the schema `network_data.json` of OpenStack Nova's administrator guide, "Config drives".
    """
    document = load_object(data, "network_data.json")
    complaints: list[str] = []
    networks = _objects(document.get("networks"), "networks", complaints)
    nics, used = [], set()
    for link in _objects(document.get("links"), "links", complaints):
        name = _name(link.get("id"))
        try:
            own = [network for network in networks if _name(network.get("link")) == name]
            nics.append(_nic(link, own, complaints))
            used.add(name)
        except AgentError as error:
            complaints.append(f"left out the link {name!r}: {error}: {error.detail}")
    lost = {_name(network.get("link")) for network in networks} - used
    complaints += [f"left out the networks of the link {name!r}: no such link can be used" for name in sorted(lost)]
    services = _objects(document.get("services"), "services", complaints)
    for network in networks:
        services += _objects(network.get("services"), "services of a network", complaints)
    return NetworkData(nics=tuple(nics), name_servers=_name_servers(services), complaints=tuple(complaints))


def _objects(value: object, key: str, complaints: list[str]) -> list[dict[str, object]]:
    if value is None:
        return []
    entries = value if isinstance(value, list) else [value]
    objects = [entry for entry in entries if isinstance(entry, dict)]
    if len(objects) != len(entries):
        complaints.append(f"ignored what is no object among the {key} of network_data.json")
    return objects


def _name(value: object) -> str:
    return value if isinstance(value, str) else ""


def _nic(link: dict[str, object], networks: list[dict[str, object]], complaints: list[str]) -> ManagementNic:
    kind, mtu = _name(link.get("type")), link.get("mtu")
    if kind in _REFUSED:
        raise InvalidRequest("cannot configure it", f"links of type {kind} are not supported")
    mac = _mac(link.get("ethernet_mac_address"))
    if mtu is not None and (isinstance(mtu, bool) or not isinstance(mtu, int) or mtu not in _MTU):
        complaints.append(f"ignored the MTU of {mac}")
        mtu = None
    kinds, addresses, routes = set(), [], []
    for number, network in enumerate(networks):
        try:
            kinds.add(_kind(network))
            address, own_routes = _static(network)
        except AgentError as error:
            complaints.append(f"left out network {number} of {mac}: {error}: {error.detail}")
            continue
        addresses += address
        routes += own_routes
    return ManagementNic(
        mac=mac,
        mtu=mtu if isinstance(mtu, int) else 0,
        is_dhcp4="ipv4_dhcp" in kinds,
        is_dhcp6=bool(kinds & _DHCP6),
        is_advertised=bool(kinds & _ADVERTISED),
        addresses=tuple(dict.fromkeys(addresses)),
        routes=tuple(dict.fromkeys(routes)),
    )


def _mac(value: object) -> str:
    parts = value.lower().split(":") if isinstance(value, str) else []
    if len(parts) != _MAC_PARTS or any(len(part) != 2 or set(part) - set("0123456789abcdef") for part in parts):
        raise InvalidRequest("cannot configure it", "it has no MAC address")
    return ":".join(parts)


def _kind(network: dict[str, object]) -> str:
    kind = network.get("type")
    if not isinstance(kind, str) or kind not in {"ipv4", "ipv6", "ipv4_dhcp", *_ADVERTISED}:
        raise InvalidRequest("cannot configure it", "its type is unknown")
    return kind


def _static(network: dict[str, object]) -> tuple[list[IPv4Interface | IPv6Interface], list[StaticRoute]]:
    try:
        is_static = network["type"] in {"ipv4", "ipv6"}
        addresses = [_interface(network)] if is_static else []
        gateway = network.get("gateway")
        routes = []
        if is_static and gateway not in ("", None):
            via = _address(gateway)
            routes.append(StaticRoute(ip_network("0.0.0.0/0" if via.version == 4 else "::/0"), via))
        routes += [_route(route) for route in _list(network.get("routes"))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRequest("cannot configure it", "an address, netmask, gateway or route is wrong") from error
    return addresses, routes


def _list(value: object) -> list[dict[str, object]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError
    return value


def _interface(network: dict[str, object]) -> IPv4Interface | IPv6Interface:
    address, _, length = str(network["ip_address"]).partition("/")
    return ip_interface(f"{_address(address)}/{length or _prefix_length(str(network['netmask']))}")


def _route(route: dict[str, object]) -> StaticRoute:
    prefix_length = _prefix_length(str(route["netmask"]))
    destination = ip_network(f"{_address(route['network'])}/{prefix_length}", strict=False)
    gateway = _address(route["gateway"])
    if gateway.version != destination.version:
        raise ValueError
    return StaticRoute(destination, gateway)


def _address(value: object) -> Address:
    """Return an address; ValueError for anything else, one with a zone included: a zone may be any text."""
    text = str(value)
    if "%" in text:
        raise ValueError
    return ip_address(text)


def _prefix_length(netmask: str) -> int:
    """Return the length of a netmask; the library reads none of IPv6. ValueError where ones follow zeros."""
    if netmask.isascii() and netmask.isdigit():
        return int(netmask)
    mask = ip_address(netmask)
    bits = f"{int(mask):0{mask.max_prefixlen}b}"
    if "01" in bits:
        raise ValueError
    return bits.count("1")


def _name_servers(services: list[dict[str, object]]) -> tuple[Address, ...]:
    servers: dict[Address, None] = {}
    for service in services:
        try:
            if service.get("type") == "dns":
                servers[_address(service.get("address"))] = None
        except ValueError:
            continue
    return tuple(servers)
