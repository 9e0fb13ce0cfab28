"""What we need to know of the controller's VRRP configuration: the VIPs and the peers. Total: never fails, never edits.

Source: keepalived.conf(5), "VRRP instance(s)".
"""

from __future__ import annotations

from collections.abc import Iterator

from amphora_agent.core.addresses import Address, parse_address

_BLOCKS = frozenset({"virtual_ipaddress", "virtual_ipaddress_excluded"})


def peers(text: str) -> tuple[str, ...]:
    """Return the addresses that advertisements are sent to, in order."""
    return tuple(str(address) for address in _addresses_in(text, frozenset({"unicast_peer"})))


def vips(text: str) -> frozenset[Address]:
    """Return every address keepalived would add as a VIP; prefix lengths and options are left out."""
    return frozenset(_addresses_in(text, _BLOCKS))


def _addresses_in(text: str, blocks: frozenset[str]) -> Iterator[Address]:
    is_inside = False
    for line in text.split("\n"):
        words = line.split("#")[0].split("!")[0].split()
        if not words:
            continue
        if words[0] in blocks:
            is_inside = True
        elif words[0] == "}":
            is_inside = False
        elif is_inside:
            address = parse_address(words[0].partition("/")[0])
            if address is not None:
                yield address
