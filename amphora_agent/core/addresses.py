"""IP addresses as values, under one name each. Reads text; knows no interface and no kernel."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
HostAddress = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network


def parse_address(text: str) -> Address | None:
    """Return an IP address, None when `text` is no such. A scope (`%eth1`) belongs to no address of ours."""
    try:
        return ip_address(text) if "%" not in text else None
    except ValueError:
        return None
