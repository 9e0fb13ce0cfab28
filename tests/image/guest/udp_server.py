"""Members of a UDP listener: answer every small datagram with itself and note which ones were answered.

    udp_server.py NOTES PORT ADDRESS...

NOTES gets 9 bytes for every reply that the kernel took: the first 8 of the datagram, and which of the addresses
answered. Only queries are noted (QUERY_BYTES long, a health check's probes are not); what is larger is not answered.
"""

from __future__ import annotations

import selectors
import socket
import sys
from pathlib import Path

QUERY_BYTES = 32
# SO_RCVBUFFORCE of asm-generic/socket.h, which Python does not name: root may exceed net.core.rmem_max.
RECEIVE_BUFFER_FORCE = 33


def main() -> None:
    """Serve until killed."""
    notes, port, addresses = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    selector = selectors.DefaultSelector()
    for number, address in enumerate(addresses):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, RECEIVE_BUFFER_FORCE, 16 << 20)
        server.bind((address, port))
        server.setblocking(False)
        selector.register(server, selectors.EVENT_READ, (server, bytes([number])))
    buffer = bytearray(65536)
    with notes.open("ab", buffering=0) as file:
        while True:
            for key, _ in selector.select():
                server, mark = key.data
                answer(server, mark, buffer, file.write)


def answer(server: socket.socket, mark: bytes, buffer: bytearray, note: object) -> None:
    """Answer what waits at one address."""
    assert callable(note)
    answered = bytearray()
    for _ in range(64):
        try:
            length, client = server.recvfrom_into(buffer)
        except BlockingIOError:
            break
        except OSError:
            # An ICMP error that an earlier reply brought back.
            continue
        try:
            is_taken = length <= QUERY_BYTES and server.sendto(memoryview(buffer)[:length], client) == QUERY_BYTES
        except OSError:
            # From an address that nobody here has a route to: it was not masqueraded, and shall count as lost.
            continue
        if is_taken:
            answered += buffer[:8] + mark
    if answered:
        note(answered)


if __name__ == "__main__":
    main()
