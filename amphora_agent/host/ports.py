"""Which TCP ports of a network namespace others hold, and who they are. Listens nowhere; what it binds it closes."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.haproxy.endpoints import Endpoint
from amphora_agent.errors import HostFailure
from amphora_agent.host.network import netns
from amphora_agent.host.procfs import PROC

_LISTEN = "0A"
_TABLES = ("tcp", "tcp6")


@dataclass(frozen=True, slots=True)
class Taken:
    """An endpoint that cannot be bound, and the programs that listen on its port."""

    endpoint: Endpoint
    holders: tuple[str, ...]

    def __str__(self) -> str:
        holders = ", ".join(self.holders) or "an unknown program"
        return f"{self.endpoint} is held by {holders}"


def find_taken(network: Path, wanted: Iterable[Endpoint]) -> tuple[Taken, ...]:
    """Return those of the endpoints that HAProxy could not bind because they are in use.

    They are tried as HAProxy does it, so that its own listeners are none in the way. What keeps one from being bound
    for another reason is HAProxy's to say.

    Raises:
        HostFailure: there is no such namespace.
    """
    ordered = sorted(wanted, key=str)

    def look() -> list[tuple[Endpoint, frozenset[str]]]:
        taken = [endpoint for endpoint in ordered if _is_in_use(endpoint)]
        return [(endpoint, _listening_inodes(endpoint.port)) for endpoint in taken]

    if not ordered:
        return ()
    try:
        found = netns.inside(network, look)
    except OSError as error:
        raise HostFailure("cannot try the ports", error.strerror or str(error)) from error
    return tuple(Taken(endpoint, _programs(inodes)) for endpoint, inodes in found)


def listening(network: Path, endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """Return what tells the sockets apart that listen in a namespace on the ports of these endpoints.

    Raises:
        HostFailure: there is no such namespace.
    """
    numbers = {endpoint.port for endpoint in endpoints}
    return netns.inside(network, lambda: frozenset[str]().union(*(_listening_inodes(number) for number in numbers)))


def _is_in_use(endpoint: Endpoint) -> bool:
    """Try to bind; source: SO_REUSEADDR and SO_REUSEPORT as in HAProxy's proto_tcp.c."""
    family = socket.AF_INET if endpoint.address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            attempt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            attempt.bind((str(endpoint.address), endpoint.port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _listening_inodes(port: int) -> frozenset[str]:
    """Return the sockets that listen on a port in this thread's namespace. Source: proc_pid_net(5), tcp."""
    inodes: set[str] = set()
    for table in _TABLES:
        with contextlib.suppress(OSError):
            lines = Path("/proc/thread-self/net", table).read_text("ascii", "replace").splitlines()[1:]
            rows = (line.split() for line in lines)
            inodes |= {row[9] for row in rows if row[3] == _LISTEN and row[1].endswith(f":{port:04X}")}
    return frozenset(inodes)


def _programs(inodes: frozenset[str]) -> tuple[str, ...]:
    """Return who has these sockets, as `name (pid)`."""
    targets = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for entry in PROC.iterdir() if targets else ():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if not targets.isdisjoint(_handles(entry)):
                found.append(f"{(entry / 'comm').read_text('utf-8', 'replace').strip()} (pid {entry.name})")
    return tuple(sorted(found))


def _handles(process: Path) -> Iterator[str]:
    """Yield what each descriptor of a process is; one that is closed meanwhile is nothing."""
    directory = f"{process}/fd"
    for name in os.listdir(directory):  # noqa: PTH208 - names alone
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(f"{directory}/{name}")  # noqa: PTH115 - thousands of them
