"""The IPVS table of a network namespace: read and repaired over generic netlink. Never loads a module, never forks.

Needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to open the socket inside the namespace.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, assert_never

from amphora_agent.core.keepalived import ipvs_messages
from amphora_agent.core.keepalived.ipvs import Destination, Endpoint, Service, ServiceKey, Table
from amphora_agent.core.keepalived.lvs_change import (
    AddDestination,
    ChangeDestination,
    IpvsStep,
    RemoveDestination,
    RemoveService,
)
from amphora_agent.errors import HostFailure, MalformedData
from amphora_agent.host.network import netns

_NETLINK_GENERIC = 16
_TIMEOUT = 2.0
_BUFFER = 64 * 1024
# The kernel interrupts a dump of a table that changes meanwhile.
_ATTEMPTS = 3
_GONE = (errno.ENOENT, errno.ESRCH, errno.EEXIST)


def read(path: Path) -> Table:
    """Return every service and destination of the namespace at `path`.

    Raises:
        HostFailure: no such namespace, no IPVS in this kernel, no permission, or no answer.
    """
    with _Connection(path) as connection:
        return {entry.key: _with_destinations(connection, entry) for entry in connection.services()}


def perform(path: Path, steps: tuple[IpvsStep, ...]) -> None:
    """Change the table; what is there, or gone, already is fine.

    Raises:
        HostFailure: as `read`; earlier steps are done.
    """
    with _Connection(path) as connection:
        for step in steps:
            connection.change(step)


def _with_destinations(connection: _Connection, entry: ipvs_messages.ServiceEntry) -> Service:
    destinations = connection.destinations(entry.key)
    return Service(entry.connections, entry.bytes_in, entry.bytes_out, dict(destinations))


class _Connection:
    """One netlink socket inside the namespace; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._socket = netns.inside(self._path, _open)
        except OSError as error:
            raise _failure(error) from error
        self._sequence = 0
        with contextlib.ExitStack() as unless_known:
            unless_known.callback(self._socket.close)
            self._family = self._find_family()
            unless_known.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def services(self) -> list[ipvs_messages.ServiceEntry]:
        """Return every service that has an address."""
        payloads = self._dump(lambda sequence: ipvs_messages.dump_services(self._family, sequence))
        return [entry for entry in map(ipvs_messages.parse_service, payloads) if entry is not None]

    def destinations(self, key: ServiceKey) -> list[tuple[Endpoint, Destination]]:
        """Return the destinations of a service; none when it is gone meanwhile."""
        try:
            payloads = self._dump(lambda sequence: ipvs_messages.dump_destinations(self._family, key, sequence))
        except ProcessLookupError:
            return []
        found = (ipvs_messages.parse_destination(payload, key) for payload in payloads)
        return [pair for pair in found if pair is not None]

    def change(self, step: IpvsStep) -> None:
        """Perform one step."""
        sequence = self._next()
        match step:
            case AddDestination(service, endpoint, weight, upper):
                limits = weight, upper
                request = ipvs_messages.put_destination(self._family, service, endpoint, limits, sequence, is_new=True)
            case ChangeDestination(service, endpoint, weight, upper):
                limits = weight, upper
                request = ipvs_messages.put_destination(self._family, service, endpoint, limits, sequence, is_new=False)
            case RemoveDestination(service, endpoint):
                request = ipvs_messages.delete_destination(self._family, service, endpoint, sequence)
            case RemoveService(service):
                request = ipvs_messages.delete_service(self._family, service, sequence)
            case _:
                assert_never(step)
        try:
            list(self._ask(request))
        except OSError as error:
            if error.errno not in _GONE:
                raise _failure(error) from error

    def _find_family(self) -> int:
        try:
            for payload in self._ask(ipvs_messages.get_family(self._next()), is_single=True):
                family = ipvs_messages.parse_family(payload)
                if family is not None:
                    return family
        except OSError as error:
            raise _failure(error) from error
        raise HostFailure("cannot use IPVS", "this kernel has none")

    def _dump(self, request: Callable[[int], bytes]) -> list[bytes]:
        """Return the payloads of a dump, asked again when the table changed during it.

        Raises:
            ProcessLookupError: the kernel does not know what was asked for.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return list(self._ask(request(self._next())))
            except ProcessLookupError:
                raise
            except OSError as error:
                if error.errno != errno.EINTR or attempt == _ATTEMPTS:
                    raise _failure(error) from error
        raise HostFailure("cannot use IPVS", "its table changes all the time")

    def _ask(self, request: bytes, *, is_single: bool = False) -> Iterator[bytes]:
        """Send a request and yield the payloads of its answer up to the end.

        Raises:
            OSError: the kernel's refusal, or its silence.
        """
        self._socket.sendall(request)
        while True:
            try:
                messages = tuple(ipvs_messages.split(self._socket.recv(_BUFFER)))
            except MalformedData as error:
                raise OSError(errno.EBADMSG, error.detail) from error
            for message in messages:
                if message.error:
                    raise OSError(message.error, os.strerror(message.error))
                if message.is_done or message.error == 0:
                    return
                yield message.payload
                if is_single:
                    return

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    opened.settimeout(_TIMEOUT)
    return opened


def _failure(error: OSError) -> HostFailure:
    known = {errno.ENOENT: "this kernel has none", errno.EPERM: "CAP_NET_ADMIN is missing"}
    return HostFailure("cannot use IPVS", known.get(error.errno or 0, error.strerror or str(error)))
