"""An SCTP member: sends back what it receives.

sctp_server.py ADDRESS PORT
"""

from __future__ import annotations

import socket
import sys
import threading


def main() -> None:
    """Serve until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as server:
        server.bind((sys.argv[1], int(sys.argv[2])))
        server.listen(16)
        while True:
            client, _ = server.accept()
            threading.Thread(target=echo, args=(client,), daemon=True).start()


def echo(client: socket.socket) -> None:
    """Send everything back until the client closes."""
    with client:
        while data := client.recv(4096):
            client.sendall(data)


if __name__ == "__main__":
    main()
