"""Wire structs of JSON requests, and their way into the values of `core`; every refusal names the field."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Annotated, TypeVar

import msgspec
from flask import Request
from werkzeug.exceptions import BadRequest

from amphora_agent.core.addresses import Address, Subnet, parse_mac
from amphora_agent.core.network.desired import FixedIp, HostRoute, Port, Vip, VipNet
from amphora_agent.core.network.nft_rules import AllowRule, RuleProtocol
from amphora_agent.errors import InvalidRequest

Body = TypeVar("Body")

# Source: RFC 791, RFC 8200 section 5; below its minimum the kernel ends IPv6 on the interface.
_MTU_MIN = {4: 68, 6: 1280}

Text = Annotated[str, msgspec.Meta(max_length=64)]
Mtu = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class MalformedBody(BadRequest):
    """A body that is not what the route takes; answered in the contract's generic shape, with the field beside it.

    Args:
        what: the contract's words, such as "Invalid port information".
        field: the path of the wrong field and why it is wrong; empty when there is no such field.
    """

    def __init__(self, what: str, field: str = "") -> None:
        super().__init__(what)
        self.field = field


class HostRouteBody(msgspec.Struct, frozen=True):
    """A route of a subnet."""

    destination: Text
    nexthop: Text


HostRoutes = Annotated[list[HostRouteBody], msgspec.Meta(max_length=1024)]


class AdditionalVipBody(msgspec.Struct, frozen=True):
    """A VIP beside the primary one."""

    ip_address: Text
    subnet_cidr: Text
    gateway: Text | None
    host_routes: HostRoutes | None


AdditionalVips = Annotated[list[AdditionalVipBody], msgspec.Meta(max_length=256)]


class PlugVipBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST plug/vip/<vip>."""

    subnet_cidr: Text
    gateway: Text | None
    mac_address: Text
    mtu: Mtu | None = None
    vrrp_ip: Text | None = None
    host_routes: HostRoutes | None = None
    additional_vips: AdditionalVips | None = None
    is_sriov: bool | None = None


class VipNetInfoBody(PlugVipBody, frozen=True, kw_only=True):
    """The VIP's side of POST plug/network for the VIP's own port."""

    vip: Text
    mac_address: Text = ""  # the one at the top level counts


class FixedIpBody(msgspec.Struct, frozen=True):
    """An address of a port."""

    ip_address: Text
    subnet_cidr: Text
    host_routes: HostRoutes | None = None
    gateway: Text | None = None


FixedIps = Annotated[list[FixedIpBody], msgspec.Meta(max_length=256)]


class PlugNetworkBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST plug/network."""

    mac_address: Text
    fixed_ips: FixedIps | None = None
    mtu: Mtu | None = None
    is_sriov: bool | None = None
    vip_net_info: VipNetInfoBody | None = None


class RuleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of PUT interface/<ip>/rules."""

    protocol: RuleProtocol
    cidr: Text | None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]


Rules = Annotated[list[RuleBody], msgspec.Meta(max_length=65536)]


def decode_json(request: Request, body: type[Body], what: str) -> Body:
    """Return the request's JSON body.

    Args:
        request: any method; JSON has to be its content type.
        body: the struct to decode into.
        what: the contract's words for a body that is not one.

    Raises:
        MalformedBody: no JSON, or of another shape.
    """
    if not request.is_json:
        raise MalformedBody(what, "Content-Type: must be application/json")
    try:
        return msgspec.json.decode(request.get_data(), type=body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(what, str(error)) from error


def parse_port(body: PlugVipBody | PlugNetworkBody, addresses: Iterable[Address], what: str) -> Port:
    """Return the NIC of a request.

    Args:
        body: the request.
        addresses: the ones it shall have; their IP versions decide how small its MTU may be.
        what: the contract's words for a wrong body.

    Raises:
        MalformedBody: in the words of `what`.
    """
    mac = parse_mac(body.mac_address)
    if mac is None:
        raise MalformedBody(what, f"mac_address: {body.mac_address!r} is not the MAC address of a NIC")
    least = max((_MTU_MIN[address.version] for address in addresses), default=_MTU_MIN[4])
    if body.mtu and body.mtu < least:
        raise MalformedBody(what, f"mtu: {body.mtu} is below {least}")
    return Port(mac=mac, mtu=body.mtu or None, is_sriov=body.is_sriov is True)


def parse_vip_net(vip: str, body: PlugVipBody) -> VipNet:
    """Return the VIPs of a request.

    Raises:
        InvalidRequest: in the contract's words, with the reason, which names the field.
    """
    try:
        primary = _vip("", vip, body)
        others = [_vip(f"additional_vips[{i}].", v.ip_address, v) for i, v in enumerate(body.additional_vips or [])]
        _refuse_repetition([primary, *others])
    except ValueError as error:
        raise InvalidRequest(f"Invalid VIP: {error}", str(error)) from error
    try:
        vrrp_ip = _vrrp_ip(body.vrrp_ip, primary)
    except ValueError as error:
        raise InvalidRequest(f"Invalid VRRP Address: {error}", str(error)) from error
    return VipNet(vips=(primary, *others), vrrp_ip=vrrp_ip)


def parse_fixed_ips(bodies: list[FixedIpBody] | None) -> tuple[FixedIp, ...]:
    """Return the addresses of a port.

    Raises:
        InvalidRequest: the detail names the field.
    """
    try:
        return tuple(_fixed_ip(f"fixed_ips[{number}].", body) for number, body in enumerate(bodies or []))
    except ValueError as error:
        raise InvalidRequest("Invalid network port", str(error)) from error


def parse_rules(bodies: list[RuleBody], what: str) -> tuple[AllowRule, ...]:
    """Return what the VIP interface shall let in.

    Raises:
        MalformedBody: a source is no network.
    """
    rules: list[AllowRule] = []
    for number, body in enumerate(bodies):
        try:
            source = ip_network(body.cidr, strict=False) if body.cidr else None
        except ValueError as error:
            raise MalformedBody(what, f"[{number}].cidr: {error}") from error
        rules.append(AllowRule(body.protocol, source, body.port))
    return tuple(rules)


def _vip(place: str, ip: str, body: PlugVipBody | AdditionalVipBody) -> Vip:
    field = f"{place}ip_address" if place else "vip"
    address = _address(field, ip)
    return Vip(
        address=address,
        subnet=_subnet(f"{place}subnet_cidr", body.subnet_cidr, field, address),
        gateway=_gateway(f"{place}gateway", body.gateway, field, address),
        host_routes=_host_routes(f"{place}host_routes", body.host_routes),
    )


def _fixed_ip(place: str, body: FixedIpBody) -> FixedIp:
    field = f"{place}ip_address"
    address = _address(field, body.ip_address)
    return FixedIp(
        address=address,
        subnet=_subnet(f"{place}subnet_cidr", body.subnet_cidr, field, address),
        gateway=_gateway(f"{place}gateway", body.gateway, field, address),
        host_routes=_host_routes(f"{place}host_routes", body.host_routes),
    )


def _vrrp_ip(text: str | None, primary: Vip) -> Address | None:
    if text is None:
        return None
    address = _address("vrrp_ip", text)
    _refuse_mixture("vrrp_ip", address, "vip", primary.address)
    return address


def _refuse_repetition(vips: list[Vip]) -> None:
    for number, vip in enumerate(vips):
        if vip.address in {other.address for other in vips[:number]}:
            raise ValueError(f"additional_vips[{number - 1}].ip_address: {vip.address} is there twice")


def _refuse_mixture(field: str, value: Address | Subnet, other: str, address: Address) -> None:
    if value.version != address.version:
        raise ValueError(f"{field}: {value} and {other} {address} are of different IP versions")


def _address(field: str, text: str) -> Address:
    address = _any_address(field, text)
    never = address.is_unspecified or address.is_multicast or address.is_loopback
    if never or (address.version == 6 and address.is_link_local) or address == ipaddress.IPv4Address(2**32 - 1):
        raise ValueError(f"{field}: {text!r} is not an address an interface can have here")
    return address


def _any_address(field: str, text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{field}: {text!r} has a scope")
    return address


def _subnet(field: str, text: str, other: str, address: Address) -> Subnet:
    try:
        subnet = ip_network(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
    _refuse_mixture(field, subnet, other, address)
    return subnet


def _gateway(field: str, text: str | None, other: str, address: Address) -> Address | None:
    if text is None:
        return None
    gateway = _any_address(field, text)
    _refuse_mixture(field, gateway, other, address)
    if gateway.is_unspecified or gateway.is_multicast:
        raise ValueError(f"{field}: {text!r} is not a gateway")
    return gateway


def _host_routes(field: str, bodies: list[HostRouteBody] | None) -> tuple[HostRoute, ...]:
    """Return what users wrote about their subnets; nonsense of the right shape is skipped later, with a log line."""
    routes: list[HostRoute] = []
    for number, body in enumerate(bodies or []):
        try:
            destination = ip_network(body.destination, strict=False)
        except ValueError as error:
            raise ValueError(f"{field}[{number}].destination: {error}") from error
        routes.append(HostRoute(destination, _any_address(f"{field}[{number}].nexthop", body.nexthop)))
    return tuple(routes)
