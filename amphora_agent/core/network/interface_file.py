"""The JSON of interface files: exactly the contract's keys, in its order. Never touches the disk."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Final

from amphora_agent.core.network.model import (
    MAIN_TABLE,
    AutomaticAddress,
    Interface,
    InterfaceType,
    Route,
    Rule,
    StaticAddress,
)
from amphora_agent.errors import MalformedData

Json = dict[str, object]
_MTU_MAX: Final = 65535


def render_interface(interface: Interface) -> bytes:
    """Return the file's content.

    Source: the key table of the contract; readers of the old agent fail on any other key.
    """
    document: Json = {
        "name": interface.name,
        "if_type": interface.type.value,
        "addresses": [_render_address(address) for address in interface.addresses],
        "routes": [_render_route(route) for route in interface.routes],
        "rules": [
            {"src": str(rule.source.network_address), "src_len": rule.source.prefixlen, "table": rule.table}
            for rule in interface.rules
        ],
        "scripts": {
            "up": [{"command": command} for command in interface.up],
            "down": [{"command": command} for command in interface.down],
        },
        "is_sriov": interface.is_sriov,
    }
    if interface.mtu:
        document["mtu"] = interface.mtu
    return json.dumps(document).encode()


def _render_address(address: StaticAddress | AutomaticAddress) -> Json:
    if isinstance(address, AutomaticAddress):
        flags = {"dhcp": address.dhcp, "ipv6auto": address.ipv6auto}
        return {name: True for name, wanted in flags.items() if wanted}
    host = address.address
    return {"address": str(host.ip), "prefixlen": host.network.prefixlen, "octavia_owned": address.owned}


def _render_route(route: Route) -> Json:
    document: Json = {"dst": route.destination.exploded}
    if route.gateway is not None:
        document["gateway"] = str(route.gateway)
    if route.prefsrc is not None:
        document["prefsrc"] = str(route.prefsrc)
    if route.onlink:
        document["flags"] = ["onlink"]
    if route.link_scope:
        document["scope"] = "link"
    if route.table != MAIN_TABLE:
        document["table"] = route.table
    return document


def parse_interface(data: bytes) -> Interface:
    """Return the interface a file describes, ours or an old agent's; addresses in any spelling.

    Raises:
        MalformedData: the detail says what is wrong.
    """
    try:
        document = json.loads(data)
        reader = _Object(document, "the file")
        scripts = _Object(reader.get("scripts", {}), "scripts")
        return Interface(
            name=reader.text("name"),
            type=InterfaceType(reader.text("if_type")),
            addresses=tuple(_parse_address(item) for item in reader.objects("addresses")),
            routes=tuple(_parse_route(item) for item in reader.objects("routes")),
            rules=tuple(_parse_rule(item) for item in reader.objects("rules")),
            up=tuple(item.text("command") for item in scripts.objects("up")),
            down=tuple(item.text("command") for item in scripts.objects("down")),
            is_sriov=reader.get("is_sriov", None) is True,
            mtu=reader.integer("mtu", 0, _MTU_MAX) or None,
        )
    except (ValueError, RecursionError) as error:
        raise MalformedData("cannot read an interface file", str(error)) from error


class _Object:
    """Typed look-ups in one JSON object; each raises ValueError naming the key."""

    def __init__(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{name} is not an object")  # noqa: TRY004 - one error type for one caller
        self._items = value

    def get(self, key: str, default: object) -> object:
        value = self._items.get(key)
        return default if value is None else value

    def text(self, key: str) -> str:
        value = self._items.get(key)
        if not isinstance(value, str):
            raise ValueError(f"{key} is not a string")  # noqa: TRY004
        return value

    def integer(self, key: str, default: int, high: int) -> int:
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
            raise ValueError(f"{key} is not a number from 0 to {high}")
        return value

    def objects(self, key: str) -> list[_Object]:
        value = self.get(key, [])
        if not isinstance(value, list):
            raise ValueError(f"{key} is not a list")  # noqa: TRY004
        return [_Object(item, f"an item of {key}") for item in value]


def _parse_address(item: _Object) -> StaticAddress | AutomaticAddress:
    if item.get("address", None) is None:
        return AutomaticAddress(dhcp=item.get("dhcp", None) is True, ipv6auto=item.get("ipv6auto", None) is True)
    host = ip_interface((item.text("address"), item.integer("prefixlen", 128, 128)))
    return StaticAddress(host, owned=item.get("octavia_owned", True) is True)


def _parse_route(item: _Object) -> Route:
    gateway, prefsrc = item.get("gateway", None), item.get("prefsrc", None)
    flags = item.get("flags", [])
    return Route(
        destination=ip_network(item.text("dst"), strict=False),
        gateway=None if gateway is None else ip_address(str(gateway)),
        prefsrc=None if prefsrc is None else ip_address(str(prefsrc)),
        table=item.integer("table", MAIN_TABLE, 2**32 - 1),
        onlink=isinstance(flags, list) and "onlink" in flags,
        link_scope=item.get("scope", None) == "link",
    )


def _parse_rule(item: _Object) -> Rule:
    source = ip_network((item.text("src"), item.integer("src_len", 0, 128)), strict=False)
    return Rule(source, item.integer("table", MAIN_TABLE, 2**32 - 1))
