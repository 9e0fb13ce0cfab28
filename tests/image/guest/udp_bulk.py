"""One client that sends datagrams from one port as fast as it can.

udp_bulk.py ADDRESS PORT COUNT BYTES
"""

from __future__ import annotations

import contextlib
import socket
import sys


def main() -> None:
    """Send them all."""
    address, port, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    payload = bytes(size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((address, port))
        for _ in range(count):
            with contextlib.suppress(OSError):  # refused, or no route yet
                client.send(payload)


if __name__ == "__main__":
    main()
