"""An SCTP client: sends one text and prints what comes back.

sctp_client.py ADDRESS PORT TEXT
"""

from __future__ import annotations

import socket
import sys


def main() -> None:
    """Connect, send, receive."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as client:
        client.settimeout(5)
        client.connect((sys.argv[1], int(sys.argv[2])))
        client.sendall(sys.argv[3].encode())
        sys.stdout.write(client.recv(4096).decode())


if __name__ == "__main__":
    main()
