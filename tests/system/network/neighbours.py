"""What a cloud's network has: a DHCP server, a router that advertises a prefix, and someone who listens to the wire."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

from amphora_agent.host.network import netns
from testbed.waiting import wait_for

_MAGIC = b"\x63\x82\x53\x63"
_DISCOVER, _OFFER, _REQUEST, _ACK = 1, 2, 3, 5
_ETH_P_ALL = 3


@contextlib.contextmanager
def dhcp_server(namespace: Path, device: str, address: str, lease: int = 3600) -> Iterator[list[int]]:
    """Offer one address with a gateway and a resolver to whoever asks; yields the kinds of messages received so far."""
    seen: list[int] = []

    def open_socket() -> socket.socket:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.bind(("", 67))
        server.settimeout(0.2)
        return server

    server = netns.inside(namespace, open_socket)
    stop = threading.Event()
    thread = threading.Thread(target=_serve_dhcp, args=(server, IPv4Address(address), lease, seen, stop), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
        server.close()


def _serve_dhcp(
    server: socket.socket, address: IPv4Address, lease: int, seen: list[int], stop: threading.Event
) -> None:
    gateway = (address + 100).packed
    while not stop.is_set():
        try:
            request = server.recv(2048)
        except TimeoutError:
            continue
        (kind,) = request[request.index(b"\x35\x01") + 2 : request.index(b"\x35\x01") + 3]
        seen.append(kind)
        answers = {_DISCOVER: _OFFER, _REQUEST: _ACK}
        if kind not in answers:
            continue
        options = b"".join(
            bytes([code, len(value)]) + value
            for code, value in (
                (53, bytes([answers[kind]])),
                (54, gateway),
                (51, struct.pack("!I", lease)),
                (1, b"\xff\xff\xff\x00"),
                (3, gateway),
                (6, gateway),
            )
        )
        header = (
            struct.pack("!BBBB", 2, 1, 6, 0) + request[4:12] + bytes(4) + address.packed + bytes(8) + request[28:44]
        )
        server.sendto(header + bytes(192) + _MAGIC + options + b"\xff", ("255.255.255.255", 68))


def advertise_prefix(namespace: Path, device: str, prefix: IPv6Network) -> None:
    """Send one router advertisement with an autonomous prefix, once the device may send.

    Source: RFC 4861 sections 4.2 and 4.6.2.
    """
    header = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    option = struct.pack("!BBBBIII", 3, 4, prefix.prefixlen, 0xC0, 3600, 3600, 0) + prefix.network_address.packed

    def send() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as wire:
            index = socket.if_nametoindex(device)
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)

            def is_sent() -> bool:
                with contextlib.suppress(OSError):  # its own link-local address is still tentative
                    return wire.sendto(header + option, ("ff02::1", 0, 0, index)) > 0
                return False

            wait_for(is_sent, "an address to advertise from")

    netns.inside(namespace, send)


class Capture:
    """Frames that arrive on a device since the capture began."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire

    def frames(self, ethertype: int, count: int, timeout: float) -> list[bytes]:
        """Return the next `count` frames of a type, fewer when `timeout` seconds pass without one."""
        found: list[bytes] = []
        self._wire.settimeout(timeout)
        with contextlib.suppress(TimeoutError):
            while len(found) < count:
                frame = self._wire.recv(2048)
                if struct.unpack("!H", frame[12:14])[0] == ethertype:
                    found.append(frame)
        return found

    def advertisements(self, address: bytes, count: int, timeout: float) -> list[bytes]:
        """Return neighbour advertisements for an address."""
        found: list[bytes] = []
        while len(found) < count:
            frames = self.frames(0x86DD, 1, timeout)
            if not frames:
                break
            found += [frame for frame in frames if frame[20] == 58 and frame[54] == 136 and frame[62:78] == address]
        return found


@contextlib.contextmanager
def capture(namespace: Path, device: str) -> Iterator[Capture]:
    """Listen to a device of a namespace."""

    def open_socket() -> socket.socket:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        wire.bind((device, _ETH_P_ALL))
        return wire

    with netns.inside(namespace, open_socket) as wire:
        yield Capture(wire)
