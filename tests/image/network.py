"""A network outside of virtual machines: a namespace of the test's own with a bridge, and cables for their NICs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from testbed.namespaces import Namespace

_BRIDGE = "lan"
_TUN = Path("/dev/net/tun")
# linux/if_tun.h
_TUNSETIFF, _TAP, _NO_PACKET_INFORMATION = 0x400454CA, 0x0002, 0x1000


@dataclass(slots=True)
class Network:
    """A namespace with a bridge that bears addresses; what sends from inside is on the same network as the machines."""

    namespace: Namespace
    _cables: list[int] = field(default_factory=list)

    @staticmethod
    @contextlib.contextmanager
    def create(prefix: str, *addresses: str) -> Iterator[Network]:
        """Have a network for the length of the block, with these addresses of its own."""
        network = Network(Namespace.create(prefix))
        try:
            own = [f"address add {address} dev {_BRIDGE}" for address in addresses]
            network.namespace.ip(f"link add {_BRIDGE} type bridge", *own, f"link set {_BRIDGE} up")
            yield network
        finally:
            for cable in network._cables:
                os.close(cable)
            network.namespace.close()

    def cable(self) -> int:
        """Lay a cable and return the descriptor of its end, for `Hardware.cables`; it lasts as long as the network."""
        name = f"cable{len(self._cables)}"
        with self.namespace.entered():
            descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
        self._cables.append(descriptor)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP | _NO_PACKET_INFORMATION))
        self.namespace.ip(f"link set {name} master {_BRIDGE} up")
        return descriptor


def reason_against() -> str | None:
    """Return why this machine cannot connect virtual machines, None when it can."""
    return None if _TUN.exists() else f"there is no {_TUN}"
