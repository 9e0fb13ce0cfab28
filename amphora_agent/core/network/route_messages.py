"""Routes to add as netlink messages, and the kernel's answers to them. Owns no socket.

Decision: a codec for this one message. A subnet may have a hundred host routes and a port hundreds of subnets; one
request and its answer at a time, through pyroute2, take more than the controller waits for a plug.

Source: linux/netlink.h, linux/rtnetlink.h, rtnetlink(7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from amphora_agent.core.network.model import PROTOCOL_STATIC, Route
from amphora_agent.errors import MalformedData

_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_ERRNO = struct.Struct("=i")
_NEW_ROUTE, _ERROR = 24, 2
_REQUEST, _ACK, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x200, 0x400
_AF_INET, _AF_INET6 = 2, 10
_UNSPECIFIED_TABLE, _UNICAST, _ON_LINK = 0, 1, 4
_UNIVERSE, _LINK = 0, 253
_DESTINATION, _INTERFACE, _GATEWAY, _PREFERRED_SOURCE, _TABLE = 1, 4, 5, 7, 15


def add_route(route: Route, interface: int, sequence: int) -> bytes:
    """Return the request that adds a route and is acknowledged; one that is there already is refused."""
    version = route.destination.version
    body = _ROUTE.pack(
        _AF_INET if version == 4 else _AF_INET6,
        *(route.destination.prefixlen, 0, 0, _UNSPECIFIED_TABLE, PROTOCOL_STATIC),
        _LINK if route.link_scope and version == 4 else _UNIVERSE,
        *(_UNICAST, _ON_LINK if route.onlink else 0),
    )
    if route.destination.prefixlen:
        body += _attribute(_DESTINATION, route.destination.network_address.packed)
    if route.gateway is not None:
        body += _attribute(_GATEWAY, route.gateway.packed)
    if route.prefsrc is not None:
        body += _attribute(_PREFERRED_SOURCE, route.prefsrc.packed)
    body += _attribute(_INTERFACE, _U32.pack(interface)) + _attribute(_TABLE, _U32.pack(route.table))
    flags = _REQUEST | _ACK | _CREATE | _EXCLUSIVE
    return _HEADER.pack(_HEADER.size + len(body), _NEW_ROUTE, flags, sequence, 0) + body


def outcomes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield sequence number and errno, 0 for success, of each answer in a datagram; other messages are passed over.

    Raises:
        MalformedData: it is cut off.
    """
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise MalformedData("cannot read netlink", "a message is cut off")
        if kind == _ERROR and length >= _HEADER.size + _ERRNO.size:
            yield sequence, -_ERRNO.unpack_from(data, offset + _HEADER.size)[0]
        offset += (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
