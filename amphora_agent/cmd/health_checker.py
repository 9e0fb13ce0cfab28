"""amphora-health-checker: is an SCTP member there? One INIT, one answer; keepalived runs it for each member.

Nothing but the standard library, and little of it, since it starts once per member and interval.

Source: RFC 9260 (packet, INIT, INIT ACK, ABORT and their fields), appendix A for the CRC32c checksum.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

INIT_ACK, ABORT, TIMEOUT, OTHER = 0, 1, 2, 3
DEFAULT_SECONDS = 3.0

_SCTP = 132
_HEADER = struct.Struct("!HHII")
_CHUNK = struct.Struct("!BBH")
_INIT_FIELDS = struct.Struct("!IIHHI")
_TYPE_INIT, _TYPE_INIT_ACK, _TYPE_ABORT = 1, 2, 6
_TAG_REFLECTED = 0x1
_WINDOW, _OUTBOUND, _INBOUND = 106496, 10, 65535
_POLYNOMIAL = 0x82F63B78
_USAGE = "usage: amphora-health-checker sctp [-t SECONDS] ADDRESS PORT\n"


def main() -> int:
    """Check the member the arguments name; 0 INIT ACK, 1 ABORT or wrong usage, 2 no answer, 3 another answer."""
    arguments = sys.argv[1:]
    seconds = DEFAULT_SECONDS
    try:
        if arguments[0] != "sctp":
            raise ValueError(f"unknown protocol {arguments[0]}")
        if arguments[1] == "-t":
            seconds = float(arguments[2])
            arguments[1:3] = []
        family, address, port = _family(arguments[1]), arguments[1], int(arguments[2])
        if len(arguments) != 3 or not 0 < port <= 0xFFFF or not 0 < seconds <= 3600:
            raise ValueError("a value is out of range")
    except (IndexError, ValueError) as error:
        sys.stderr.write(f"{error}\n{_USAGE}")
        return ABORT
    try:
        return check(family, address, port, seconds)
    except OSError as error:
        sys.stderr.write(f"cannot reach {address}: {error}\n")
        return TIMEOUT


def check(family: socket.AddressFamily, address: str, port: int, seconds: float) -> int:
    """Send an INIT and return what the first packet of this association says.

    Raises:
        OSError: it cannot be sent.
    """
    tag, source = _random(4) or 1, 1024 + _random(4) % 64512
    with socket.socket(family, socket.SOCK_RAW, _SCTP) as raw:
        raw.connect((address, 0))
        raw.send(build_init(source, port, tag))
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                data = raw.recv(65535)
            except TimeoutError:
                break
            answer = parse_answer(data if family == socket.AF_INET6 else _without_ip_header(data), source, port, tag)
            if answer is None:
                continue
            if answer != _TYPE_ABORT and not _kernel_speaks_sctp():
                raw.send(build_abort(source, port, tag))
            return {_TYPE_INIT_ACK: INIT_ACK, _TYPE_ABORT: ABORT}.get(answer, OTHER)
    return TIMEOUT


def build_init(source: int, port: int, tag: int) -> bytes:
    """Return an INIT packet; its own verification tag is zero."""
    fields = _INIT_FIELDS.pack(tag, _WINDOW, _OUTBOUND, _INBOUND, _random(4))
    chunk = _CHUNK.pack(_TYPE_INIT, 0, _CHUNK.size + len(fields)) + fields
    return _packet(source, port, 0, chunk)


def build_abort(source: int, port: int, tag: int) -> bytes:
    """Return an ABORT packet with our own tag, so that the peer forgets the association we never wanted.

    A kernel that speaks SCTP has sent one already, since it knows of no such association either.
    """
    return _packet(source, port, tag, _CHUNK.pack(_TYPE_ABORT, _TAG_REFLECTED, _CHUNK.size))


def parse_answer(packet: bytes, source: int, port: int, tag: int) -> int | None:
    """Return the type of the first chunk of a packet that answers ours; None for any other packet."""
    if len(packet) < _HEADER.size + _CHUNK.size:
        return None
    from_port, to_port, packet_tag, _ = _HEADER.unpack_from(packet)
    if (from_port, to_port, packet_tag) != (port, source, tag):
        return None
    return packet[_HEADER.size]


def crc32c(data: bytes) -> int:
    """Return the Castagnoli checksum. Bit by bit: a packet of ours has 32 bytes, a table would take longer to make."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _family(address: str) -> socket.AddressFamily:
    """Return the family of a literal address; ValueError when it is none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
    except OSError:
        raise ValueError(f"{address} is no IP address") from None
    return family


def _random(size: int) -> int:
    return int.from_bytes(os.urandom(size), "big")


def _packet(source: int, port: int, tag: int, chunk: bytes) -> bytes:
    bare = _HEADER.pack(source, port, tag, 0) + chunk
    return bare[:8] + crc32c(bare).to_bytes(4, "little") + bare[_HEADER.size :]


def _without_ip_header(data: bytes) -> bytes:
    return data[(data[0] & 0x0F) * 4 :] if data else data


def _kernel_speaks_sctp() -> bool:
    try:
        with open("/proc/net/protocols", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
            return any(line.startswith("SCTP") for line in file)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
