"""Sockets that send datagrams, and what came back about the ones that found nobody. Never receives data."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import threading

from amphora_agent.errors import HostFailure

# Source: linux/in.h, linux/in6.h and ip(7), not in Python's socket module.
IP_MTU_DISCOVER = 10
IP_PMTUDISC_DONT = 0
IP_RECVERR = 11
IPV6_RECVERR = 25
MSG_ERRQUEUE = 0x2000
UNDELIVERED = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH})

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class UdpSender:
    """One IPv4 and one IPv6 socket for the life of the process; neither ever blocks.

    Datagrams are never marked "don't fragment": a too small MTU on the way must not eat them.
    """

    def __init__(self) -> None:
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):
                self._sockets[family] = _open(family)

    def send(self, address: SocketAddress, data: bytes) -> None:
        """Send one datagram.

        Raises:
            HostFailure: it did not leave this machine.
        """
        family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
        if family not in self._sockets:
            raise HostFailure(f"cannot send to {address[0]}", "this machine has no socket of that family")
        try:
            self._send(self._sockets[family], address, data)
        except OSError as error:
            raise HostFailure(f"cannot send to {address[0]}", error.strerror or str(error)) from error

    def _send(self, door: socket.socket, address: SocketAddress, data: bytes) -> None:
        try:
            door.sendto(data, address)
        except OSError as error:
            if error.errno not in UNDELIVERED:
                raise
            # The answer to an earlier datagram; taking it made room for this one.
            _drain(door)
            door.sendto(data, address)

    def refusals(self) -> frozenset[tuple[str, int]]:
        """Return the host and port of every datagram since the last call that certainly reached nobody.

        Source: ip(7), IP_RECVERR: the kernel queues ICMP errors with the original destination.
        """
        return frozenset(refused for door in self._sockets.values() for refused in _drain(door))

    def close(self) -> None:
        """Close both sockets."""
        for door in self._sockets.values():
            door.close()


def _open(family: socket.AddressFamily) -> socket.socket:
    door = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    door.setblocking(False)
    if family == socket.AF_INET:
        door.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        door.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    else:
        door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    return door


def _drain(door: socket.socket) -> list[tuple[str, int]]:
    refused: list[tuple[str, int]] = []
    while True:
        try:
            _, ancillary, _, address = door.recvmsg(0, 512, MSG_ERRQUEUE)
        except OSError:
            return refused
        codes = [int.from_bytes(data[:4], sys.byteorder) for _, _, data in ancillary]
        if UNDELIVERED.intersection(codes) and address:
            refused.append((str(address[0]), int(address[1])))


class Resolver:
    """Turns a host into an address without ever making the caller wait: names are looked up by a thread.

    An amphora normally has no DNS, and a look-up there can block for half a minute.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], SocketAddress] = {}
        self._pending: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def resolve(self, host: str, port: int) -> SocketAddress | None:
        """Return the first address of a host.

        For a name it is the latest one found, None as long as none was found; each call starts a new look-up.
        """
        try:
            return _look_up(host, port, socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            pass
        with self._lock:
            if (host, port) not in self._pending:
                self._pending.add((host, port))
                threading.Thread(target=self._find, args=(host, port), daemon=True).start()
            return self._found.get((host, port))

    def _find(self, host: str, port: int) -> None:
        found: SocketAddress | None = None
        with contextlib.suppress(OSError, UnicodeError):
            found = _look_up(host, port, 0)
        with self._lock:
            self._pending.discard((host, port))
            if found is not None:
                self._found[host, port] = found


def _look_up(host: str, port: int, flags: int) -> SocketAddress:
    address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)[0][4]
    if len(address) == 4:
        return str(address[0]), int(address[1]), int(address[2]), int(address[3])
    return str(address[0]), int(address[1])
