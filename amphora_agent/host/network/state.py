"""How devices and addresses of the calling thread's namespace fare, for a tenth of what netlink costs. Changes nothing.

Cheap enough for a look every second and for every `GET details`; pyroute2 is not needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, IPv6Interface
from pathlib import Path

from amphora_agent.core.addresses import Address
from amphora_agent.core.network.unsettled import AddressFlags, LinkState
from amphora_agent.errors import failing_as

# Source: netdevice(7), linux/sockios.h, linux/if.h, linux/if_arp.h, linux/if_addr.h.
_SIOCGIFCONF, _SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8912, 0x8913, 0x8927
_IFREQ_SIZE, _NAME_SIZE = 40, 16
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_ARPHRD_ETHER, _MAC_SIZE = 1, 6
_DADFAILED, _DEPRECATED, _TENTATIVE = 0x08, 0x20, 0x40
# Addresses beyond these are looked up again with twice the room.
_FIRST_ROOM = 64
_LARGEST_ROOM = 65536


def link_states() -> dict[str, LinkState]:
    """Return the state of each device by its name.

    Raises:
        HostFailure: the kernel does not answer.
    """
    with (
        failing_as("cannot look at the interfaces"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control,
    ):
        ipv4 = _ipv4_addresses(control)
        flags = {name: _flags(control, name) for _, name in socket.if_nameindex()}
        ipv6 = _ipv6_addresses()
    return {
        name: LinkState(
            is_up=bool(bits & _IFF_UP),
            has_carrier=bool(bits & _IFF_RUNNING),
            ipv4=frozenset(ipv4.get(name, ())),
            ipv6=ipv6.get(name, {}),
        )
        for name, bits in flags.items()
        if bits is not None
    }


def holders_of(wanted: frozenset[Address]) -> list[tuple[str, Address]]:
    """Return the devices that have any of these addresses, by name, each with its address.

    Raises:
        HostFailure: the kernel does not answer.
    """
    found: list[tuple[str, Address]] = []
    for name, state in link_states().items():
        found += [(name, address) for address in state.ipv4 if address in wanted]
        found += [(name, host.ip) for host in state.ipv6 if host.ip in wanted]
    return found


def mac_of(name: str) -> bytes | None:
    """Return a device's MAC address, None when it has none: it is gone, or no Ethernet device."""
    request = name.encode().ljust(_IFREQ_SIZE, b"\0")
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control,
    ):
        answer = fcntl.ioctl(control, _SIOCGIFHWADDR, request)
        if struct.unpack_from("=H", answer, _NAME_SIZE)[0] == _ARPHRD_ETHER:
            return answer[_NAME_SIZE + 2 : _NAME_SIZE + 2 + _MAC_SIZE]
    return None


def _flags(control: socket.socket, name: str) -> int | None:
    """Return a device's flags, None when it is gone meanwhile."""
    with contextlib.suppress(OSError):
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, name.encode().ljust(_IFREQ_SIZE, b"\0"))
        return int(struct.unpack_from("=H", answer, _NAME_SIZE)[0])
    return None


def _ipv4_addresses(control: socket.socket) -> dict[str, list[IPv4Address]]:
    import array  # noqa: PLC0415 - nothing else needs memory with an address

    room = _FIRST_ROOM * _IFREQ_SIZE
    while True:
        buffer = array.array("B", bytes(room))
        answer = fcntl.ioctl(control, _SIOCGIFCONF, struct.pack("iP", room, buffer.buffer_info()[0]))
        length = struct.unpack("iP", answer)[0]
        if length + _IFREQ_SIZE <= room or room > _LARGEST_ROOM * _IFREQ_SIZE:
            break
        room *= 2
    data, found = buffer.tobytes(), dict[str, list[IPv4Address]]()
    for offset in range(0, length, _IFREQ_SIZE):
        label = data[offset : offset + _NAME_SIZE].partition(b"\0")[0].decode()
        address = IPv4Address(data[offset + _NAME_SIZE + 4 : offset + _NAME_SIZE + 8])
        found.setdefault(label.partition(":")[0], []).append(address)
    return found


def _ipv6_addresses() -> dict[str, dict[IPv6Interface, AddressFlags]]:
    """Source: if6_seq_show in net/ipv6/addrconf.c: address, index, prefix length, scope, flags - hexadecimal - name."""
    try:
        text = Path("/proc/thread-self/net/if_inet6").read_text(encoding="ascii")
    except FileNotFoundError:  # a kernel without IPv6
        return {}
    found: dict[str, dict[IPv6Interface, AddressFlags]] = {}
    for line in text.splitlines():
        digits, _, length, _, bits, name = line.split()
        flags = int(bits, 16)
        host = IPv6Interface((IPv6Address(bytes.fromhex(digits)), int(length, 16)))
        found.setdefault(name, {})[host] = AddressFlags(
            tentative=bool(flags & _TENTATIVE), duplicate=bool(flags & _DADFAILED), deprecated=bool(flags & _DEPRECATED)
        )
    return found
