"""Listeners with a member behind them, and traffic of exactly so many bytes."""

from __future__ import annotations

import socket
from typing import Self

LISTENER = "00000011-0000-4000-8000-000000000011"

SECOND = "00000012-0000-4000-8000-000000000012"

POOL = "00000021-0000-4000-8000-000000000021"

MEMBERS = tuple(f"0000003{n}-0000-4000-8000-00000000003{n}" for n in range(6))

STATISTICS = {"tx", "rx", "conns", "totconns", "ereq"}


def listener(port: int, name: str = LISTENER, servers: str = "", options: str = "") -> str:
    """Return a frontend and its backend as HAProxy configuration."""
    return f"""
frontend {name}
    bind 127.0.0.1:{port}
    default_backend {POOL}:{name}
backend {POOL}:{name}
{options}{servers}"""


def server(name: str, port: int, rest: str = "") -> str:
    return f"    server {name} 127.0.0.1:{port} {rest}\n"


class Member:
    """A TCP server that answers each line with an equally long one."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()

    def accept(self) -> socket.socket:
        """Return the next connection."""
        self._door.settimeout(5)
        return self._door.accept()[0]


def exchange(member: Member, port: int, *, sent: int, received: int) -> None:
    """Make one whole connection through HAProxy that carries exactly so many bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client, member.accept() as accepted:
        carry(client, accepted, sent)
        carry(accepted, client, received)


def carry(source: socket.socket, target: socket.socket, size: int) -> None:
    source.sendall(b"x" * size)
    target.settimeout(5)
    while size > 0:
        size -= len(target.recv(size))
