"""The pair as keepalived's VRRP configuration: what the controller would write for it. Pure.

Source: keepalived.conf(5), "VRRP instance(s)".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from amphora_agent.core.addresses import parse_address
from amphora_agent.core.document.model import Document, Vip, Vrrp
from amphora_agent.core.document.place import Place
from amphora_agent.core.document.values import parse_network
from amphora_agent.core.document.words import text_of
from amphora_agent.errors import InvalidRequest

# keepalived takes eight characters and leaves out the rest; what is special to its parser would end the word.
_PASSWORD = re.compile(r"[A-Za-z0-9_.:+=-]{1,8}\Z")
_TABLE = 1
_INDENT = "    "


def is_vrrp_password(text: str) -> bool:
    """Tell whether keepalived can take this as the pair's password: 1 to 8 letters, digits or `_.:+=-`."""
    return _PASSWORD.match(text) is not None


def vrrp_text(place: Place, document: Document, vrrp: Vrrp, password: str) -> str:
    """Return the whole file.

    Raises:
        InvalidRequest: keepalived cannot take the password; the message does not say it.
    """
    if not is_vrrp_password(password):
        raise InvalidRequest("cannot use the secret as VRRP password", "1 to 8 letters, digits or _.:+=-")
    lines = [*_script_lines(place), "", *_instance_lines(place, document, vrrp, password)]
    return "".join(f"{line}\n" for line in lines)


def _script_lines(place: Place) -> Iterator[str]:
    yield "vrrp_script check_script {"
    yield f"{_INDENT}script {text_of(str(place.paths.vrrp.check_script))}"
    yield f"{_INDENT}interval 5"
    yield f"{_INDENT}fall 2"
    yield f"{_INDENT}rise 2"
    yield "}"


def _instance_lines(place: Place, document: Document, vrrp: Vrrp, password: str) -> Iterator[str]:
    yield f"vrrp_instance {place.loadbalancer_id.replace('-', '')} {{"
    yield f"{_INDENT}interface {text_of(vrrp.interface)}"
    yield f"{_INDENT}virtual_router_id {vrrp.id}"
    yield f"{_INDENT}priority {vrrp.priority}"
    yield f"{_INDENT}nopreempt"
    yield f"{_INDENT}accept"
    yield f"{_INDENT}garp_master_refresh 5"
    yield f"{_INDENT}garp_master_refresh_repeat 2"
    yield f"{_INDENT}advert_int {vrrp.advert_int}"
    yield from _block("authentication", ["auth_type PASS", f"auth_pass {password}"])
    yield ""
    yield f"{_INDENT}unicast_src_ip {parse_address(vrrp.own)}"
    yield from _block("unicast_peer", [f"{parse_address(vrrp.peer)}"])
    yield ""
    version = _version(document.vips[0])
    yield from _block("virtual_ipaddress", [_address(vip) for vip in document.vips if _version(vip) == version])
    yield ""
    others = [_address(vip) for vip in document.vips if _version(vip) != version]
    yield from _block("virtual_ipaddress_excluded", others)
    yield ""
    routes = [line for vip in document.vips for line in _route_lines(vip, vrrp.interface)]
    yield from _block("virtual_routes", routes)
    yield ""
    rules = [f"from {_address(vip)}/{_bits(vip)} table {_TABLE} priority 100" for vip in document.vips]
    yield from _block("virtual_rules", rules)
    yield ""
    yield from _block("track_script", ["check_script"])
    yield "}"


def _block(name: str, lines: list[str]) -> Iterator[str]:
    yield f"{_INDENT}{name} {{"
    yield from (f"{_INDENT * 2}{line}" for line in lines)
    yield f"{_INDENT}}}"


def _route_lines(vip: Vip, interface: str) -> Iterator[str]:
    yield f"{parse_network(vip.subnet)} dev {interface} src {_address(vip)} scope link table {_TABLE}"
    if vip.gateway_ip is not None:
        yield f"default via {parse_address(vip.gateway_ip)} dev {interface} onlink table {_TABLE}"
    for route in vip.host_routes:
        hop = parse_address(route.nexthop)
        yield f"{parse_network(route.destination)} dev {interface} gateway {hop} onlink table {_TABLE}"


def _address(vip: Vip) -> str:
    return str(parse_address(vip.address))


def _version(vip: Vip) -> int:
    return 6 if ":" in vip.address else 4


def _bits(vip: Vip) -> int:
    return 128 if _version(vip) == 6 else 32
