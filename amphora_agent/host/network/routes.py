"""Adds many routes at once to the calling thread's namespace. Decides nothing."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from amphora_agent.core.network.model import AddRoute
from amphora_agent.core.network.route_messages import add_route, outcomes
from amphora_agent.errors import HostFailure, failing_as

# So many answers fit into a socket's buffer.
_AT_ONCE = 100
_BUFFER = 64 * 1024
_TIMEOUT = 10.0


def add_all(steps: Sequence[AddRoute]) -> dict[AddRoute, HostFailure]:
    """Add routes in their order; one that is there already is fine.

    Returns: those the kernel refused, each with its reason.

    Raises:
        HostFailure: the kernel cannot be asked; some may have been added.
    """
    refused: dict[AddRoute, HostFailure] = {}
    with (
        failing_as("cannot add routes"),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel,
    ):
        kernel.settimeout(_TIMEOUT)
        for start in range(0, len(steps), _AT_ONCE):
            some = steps[start : start + _AT_ONCE]
            codes = _ask(kernel, some)
            for number, step in enumerate(some):
                code = codes[number]
                if code not in (0, errno.EEXIST):
                    words = f"{errno.errorcode.get(code, code)}: {os.strerror(code)}"
                    refused[step] = HostFailure(f"cannot perform {step}", words)
    return refused


def _ask(kernel: socket.socket, steps: Sequence[AddRoute]) -> dict[int, int]:
    """Send some requests and return the errno of each by its place."""
    kernel.sendall(b"".join(add_route(step.route, step.interface, place) for place, step in enumerate(steps)))
    codes: dict[int, int] = {}
    while len(codes) < len(steps):
        codes.update(outcomes(kernel.recv(_BUFFER)))
    return codes
