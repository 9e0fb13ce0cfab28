"""A network outside the virtual machines: a namespace with a bridge, and taps that are their NICs' cables into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.namespaces import Namespace

# Source: linux/if_tun.h.
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
_BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class Network:
    """A tenant's network; who lives in it is in the namespace, with the bridge's addresses."""

    namespace: Namespace

    def cable(self, name: str) -> int:
        """Lay a cable into the network and return the descriptor of its other end; the caller closes it."""
        with self.namespace.entered():
            descriptor = os.open("/dev/net/tun", os.O_RDWR)
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        self.namespace.ip(f"link set {name} master {_BRIDGE} up")
        return descriptor


@contextlib.contextmanager
def network(prefix: str, addresses: Sequence[str]) -> Iterator[Network]:
    """Have a network in which these addresses live, e.g. 10.10.0.1/24."""
    namespace = Namespace.create(prefix)
    try:
        namespace.ip(f"link add {_BRIDGE} type bridge", f"link set {_BRIDGE} up mtu 1450")
        namespace.ip(*(f"address add {address} dev {_BRIDGE}" + " nodad" * (":" in address) for address in addresses))
        yield Network(namespace)
    finally:
        namespace.close()
