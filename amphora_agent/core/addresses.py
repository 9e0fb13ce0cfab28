"""IP addresses as values, under one name each. Reads text; knows no interface and no kernel."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
HostAddress = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


def parse_mac(text: str) -> str | None:
    """Return the MAC address of a NIC in lower case, None when `text` is none: not of a group, not all zeroes."""
    mac = text.lower()
    is_nic = _MAC.match(mac) is not None and not int(mac[:2], 16) & 1 and mac != "00:00:00:00:00:00"
    return mac if is_nic else None


def parse_address(text: str) -> Address | None:
    """Return an IP address, None when `text` is no such. A scope (`%eth1`) belongs to no address of ours."""
    try:
        return ip_address(text) if "%" not in text else None
    except ValueError:
        return None
