"""Whether a server could listen somewhere: tries, and lets go at once. Serves nobody."""

from __future__ import annotations

import socket

from amphora_agent.errors import failing_as


def check_address(host: str, port: int) -> None:
    """Bind an address and port as the agent's server would.

    Args:
        host: an IP address.
        port: 0 for any, to try the address alone.

    Raises:
        HostFailure: the kernel refuses; no interface has the address, or another process has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with failing_as(f"cannot listen on {host} port {port}"), socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(1)
