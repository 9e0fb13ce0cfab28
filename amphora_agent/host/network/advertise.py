"""Tells the neighbours which machine has an address: gratuitous ARP and unsolicited neighbour advertisements."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from amphora_agent.core.addresses import Address
from amphora_agent.errors import failing_as

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ALL_NODES = "ff02::1"
_NEIGHBOR_ADVERTISEMENT = 136
_ROUTER_AND_OVERRIDE = 0xA0000000
_TARGET_LINK_LAYER_ADDRESS = 2


def gratuitous_arp(mac: bytes, address: IPv4Address) -> bytes:
    """Return the 42 bytes of the Ethernet frame.

    Args:
        mac: 6 bytes, the interface's.
        address: announced as both sender and target.

    Source: RFC 826, RFC 5944 section 4.6; the target hardware address is broadcast, as the contract has it.
    """
    ethernet = _BROADCAST + mac + struct.pack("!H", _ETH_P_ARP)
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return ethernet + request + mac + address.packed + _BROADCAST + address.packed


def neighbor_advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """Return the 32 bytes of the ICMPv6 message; the kernel fills in the checksum.

    Source: RFC 4861 section 4.4.
    """
    header = struct.pack("!BBHI", _NEIGHBOR_ADVERTISEMENT, 0, 0, _ROUTER_AND_OVERRIDE)
    return header + address.packed + struct.pack("!BB", _TARGET_LINK_LAYER_ADDRESS, 1) + mac


def send(name: str, mac: bytes, address: Address) -> None:
    """Announce an address once on an interface of the calling thread's namespace.

    Raises:
        HostFailure: it could not be sent.
    """
    with failing_as(f"cannot advertise {address} on {name}"):
        _send(name, mac, address)


def _send(name: str, mac: bytes, address: Address) -> None:
    if isinstance(address, IPv4Address):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as wire:
            wire.bind((name, 0))
            wire.send(gratuitous_arp(mac, address))
        return
    index = socket.if_nametoindex(name)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6) as wire:
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        wire.bind((str(address), 0, 0, 0))
        wire.sendto(neighbor_advertisement(mac, address), (_ALL_NODES, 0, 0, index))
