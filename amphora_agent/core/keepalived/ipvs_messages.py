"""IPVS over generic netlink, as bytes: requests built, answers read. Owns no socket; garbage raises MalformedData.

Decision: a codec of our own, sixty lines for the few messages we need. The heartbeat may not carry pyroute2 (12 MB),
text from /proc has no byte counters per service, and `ipvsadm` would be two processes and a parser per heartbeat.

Source: linux/ip_vs.h (commands and attributes), linux/netlink.h, linux/genetlink.h; net/netfilter/ipvs/ip_vs_ctl.c for
what a dump holds: ports in network order, addresses as 16 bytes, IPv4 in the first four.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from amphora_agent.core.addresses import Address
from amphora_agent.core.keepalived.ipvs import Destination, Endpoint, ServiceKey
from amphora_agent.errors import MalformedData

FAMILY_NAME = b"IPVS\0"
CONTROLLER = 0x10

_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("=BBxx")
_ATTRIBUTE = struct.Struct("=HH")
_U16, _U32, _U64 = struct.Struct("=H"), struct.Struct("=I"), struct.Struct("=Q")
_ERRNO = struct.Struct("=i")
_PORT = struct.Struct("!H")

_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_AF_INET, _AF_INET6 = 2, 10

_GET_FAMILY, _FAMILY_ID_ATTRIBUTE, _FAMILY_NAME_ATTRIBUTE = 3, 1, 2
_DEL_SERVICE, _GET_SERVICE, _NEW_DEST, _SET_DEST, _DEL_DEST, _GET_DEST = 3, 4, 5, 6, 7, 8
_SERVICE, _DEST = 1, 2
_SVC_AF, _SVC_PROTOCOL, _SVC_ADDR, _SVC_PORT, _SVC_STATS, _SVC_STATS64 = 1, 2, 3, 4, 10, 12
_DST_ADDR, _DST_PORT, _DST_FORWARD, _DST_WEIGHT, _DST_UPPER, _DST_LOWER = 1, 2, 3, 4, 5, 6
_DST_ACTIVE, _DST_FAMILY = 7, 11
_CONNECTIONS, _IN_BYTES, _OUT_BYTES = 1, 4, 5
_MASQUERADE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One netlink message. `error` is a positive errno, 0 for an acknowledgement, None when it is neither."""

    is_done: bool
    error: int | None
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntry:
    """One service of a dump; counters absolute, 64 bits wide where the kernel has them (4.1 and later)."""

    key: ServiceKey
    connections: int
    bytes_in: int
    bytes_out: int


def get_family(sequence: int) -> bytes:
    """Return the request for the number of the IPVS family."""
    return _message(CONTROLLER, _GET_FAMILY, _attribute(_FAMILY_NAME_ATTRIBUTE, FAMILY_NAME), sequence, 0)


def dump_services(family: int, sequence: int) -> bytes:
    """Return the request for every service."""
    return _message(family, _GET_SERVICE, b"", sequence, _DUMP)


def dump_destinations(family: int, key: ServiceKey, sequence: int) -> bytes:
    """Return the request for every destination of one service."""
    return _message(family, _GET_DEST, _service(key), sequence, _DUMP)


def delete_service(family: int, key: ServiceKey, sequence: int) -> bytes:
    """Return the request that removes a service with all its destinations."""
    return _message(family, _DEL_SERVICE, _service(key), sequence, _ACK)


def delete_destination(family: int, key: ServiceKey, destination: Endpoint, sequence: int) -> bytes:
    """Return the request that removes one destination."""
    body = _service(key) + _attribute(_DEST | _NESTED, _destination(destination))
    return _message(family, _DEL_DEST, body, sequence, _ACK)


def put_destination(
    family: int, key: ServiceKey, destination: Endpoint, limits: tuple[int, int], sequence: int, *, is_new: bool
) -> bytes:
    """Return the request that adds a masqueraded destination, or changes one. `limits`: weight, upper threshold."""
    weight, upper = limits
    options = _destination(destination)
    for kind, value in ((_DST_FORWARD, _MASQUERADE), (_DST_WEIGHT, weight), (_DST_UPPER, upper), (_DST_LOWER, 0)):
        options += _attribute(kind, _U32.pack(value))
    body = _service(key) + _attribute(_DEST | _NESTED, options)
    return _message(family, _NEW_DEST if is_new else _SET_DEST, body, sequence, _ACK)


def split(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram.

    Raises:
        MalformedData: it is cut off.
    """
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise MalformedData("cannot read netlink", "a message is cut off")
        body = data[offset + _HEADER.size : offset + length]
        error = -_ERRNO.unpack_from(body)[0] if kind in (_ERROR, _DONE) and len(body) >= _ERRNO.size else None
        yield Message(
            is_done=kind == _DONE,
            error=error if kind == _ERROR or error else None,
            payload=body[_GENERIC.size :] if kind not in (_ERROR, _DONE) else b"",
        )
        offset += (length + 3) & ~3


def parse_family(payload: bytes) -> int | None:
    """Return the number of the family, None when the answer has none."""
    for kind, start, end in _attributes(payload, 0, len(payload)):
        if kind == _FAMILY_ID_ATTRIBUTE and end - start >= _U16.size:
            return int(_U16.unpack_from(payload, start)[0])
    return None


def parse_service(payload: bytes) -> ServiceEntry | None:
    """Return a service of a dump; None for one without an address (a firewall mark)."""
    fields = _nested(payload, _SERVICE)
    key = _key(payload, fields)
    if key is None:
        return None
    totals = (0, 0, 0)
    if _SVC_STATS64 in fields:
        totals = _totals(payload, *fields[_SVC_STATS64], connections=_U64)
    elif _SVC_STATS in fields:
        totals = _totals(payload, *fields[_SVC_STATS], connections=_U32)
    return ServiceEntry(key=key, connections=totals[0], bytes_in=totals[1], bytes_out=totals[2])


def parse_destination(payload: bytes, key: ServiceKey) -> tuple[Endpoint, Destination] | None:
    """Return a destination of the service `key`, None when the message holds none."""
    fields = _nested(payload, _DEST)
    try:
        family = (
            _number(_U16, payload, fields[_DST_FAMILY])
            if _DST_FAMILY in fields
            else (_AF_INET if key.endpoint.address.version == 4 else _AF_INET6)
        )
        address = _address(payload, fields[_DST_ADDR], family)
        port = _number(_PORT, payload, fields[_DST_PORT])
        weight = _number(_U32, payload, fields[_DST_WEIGHT])
        active = _number(_U32, payload, fields[_DST_ACTIVE])
    except KeyError:
        return None
    return None if address is None else (Endpoint(address, port), Destination(weight, active))


def _message(family: int, command: int, body: bytes, sequence: int, flags: int) -> bytes:
    length = _HEADER.size + _GENERIC.size + len(body)
    return _HEADER.pack(length, family, _REQUEST | flags, sequence, 0) + _GENERIC.pack(command, 1) + body


def _attribute(kind: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(padding)


def _service(key: ServiceKey) -> bytes:
    address, port = key.endpoint
    family = _AF_INET if address.version == 4 else _AF_INET6
    return _attribute(
        _SERVICE | _NESTED,
        _attribute(_SVC_AF, _U16.pack(family))
        + _attribute(_SVC_PROTOCOL, _U16.pack(key.protocol))
        + _attribute(_SVC_ADDR, address.packed.ljust(16, b"\0"))
        + _attribute(_SVC_PORT, _PORT.pack(port)),
    )


def _destination(endpoint: Endpoint) -> bytes:
    family = _AF_INET if endpoint.address.version == 4 else _AF_INET6
    return (
        _attribute(_DST_FAMILY, _U16.pack(family))
        + _attribute(_DST_ADDR, endpoint.address.packed.ljust(16, b"\0"))
        + _attribute(_DST_PORT, _PORT.pack(endpoint.port))
    )


def _attributes(data: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield type, start and end of each attribute's value between two offsets; a cut-off one ends the list."""
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & _TYPE_MASK, offset + 4, offset + length
        offset += (length + 3) & ~3


def _nested(payload: bytes, wanted: int) -> dict[int, tuple[int, int]]:
    for kind, start, end in _attributes(payload, 0, len(payload)):
        if kind == wanted:
            return {inner: (first, last) for inner, first, last in _attributes(payload, start, end)}
    return {}


def _key(payload: bytes, fields: dict[int, tuple[int, int]]) -> ServiceKey | None:
    try:
        address = _address(payload, fields[_SVC_ADDR], _number(_U16, payload, fields[_SVC_AF]))
        port = _number(_PORT, payload, fields[_SVC_PORT])
        protocol = _number(_U16, payload, fields[_SVC_PROTOCOL])
    except KeyError:
        return None
    return None if address is None else ServiceKey(protocol, Endpoint(address, port))


def _address(payload: bytes, place: tuple[int, int], family: int) -> Address | None:
    start, end = place
    if family == _AF_INET and end - start >= 4:
        return IPv4Address(payload[start : start + 4])
    if family == _AF_INET6 and end - start >= 16:
        return IPv6Address(payload[start : start + 16])
    return None


def _totals(payload: bytes, start: int, end: int, *, connections: struct.Struct) -> tuple[int, int, int]:
    fields = {kind: (first, last) for kind, first, last in _attributes(payload, start, end)}
    try:
        return (
            _number(connections, payload, fields[_CONNECTIONS]),
            _number(_U64, payload, fields[_IN_BYTES]),
            _number(_U64, payload, fields[_OUT_BYTES]),
        )
    except KeyError:
        return 0, 0, 0


def _number(layout: struct.Struct, payload: bytes, place: tuple[int, int]) -> int:
    start, end = place
    return int(layout.unpack_from(payload, start)[0]) if end - start >= layout.size else 0
