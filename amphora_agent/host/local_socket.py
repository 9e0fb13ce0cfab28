"""The UNIX socket for programs of this machine: made, removed, and who is at its other end. Serves nobody.

Decision: the group of the socket's file is set by binding as a member of that group, because the agent's unit has no
capability to give files away.
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.errors import HostFailure

LOG = logging.getLogger(__name__)

BACKLOG = 128
_CREDENTIALS = struct.Struct("iII")
# Source: asm-generic/socket.h, not in Python's socket module; and the most that getsockopt(2) gives from Python.
_SO_PEERGROUPS = 59
_GROUPS_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """A process as it was when it connected."""

    uid: int
    groups: frozenset[int]

    def may_ask(self, group: int | None) -> bool:
        """Tell whether it is root's, or a member of the group."""
        return self.uid == 0 or group in self.groups


@contextlib.contextmanager
def listening(path: Path, group: int | None) -> Iterator[socket.socket]:
    """Listen at `path` for the length of the block, in place of what another agent left there.

    Args:
        path: its directory exists.
        group: whose members may connect, beside root.

    Raises:
        HostFailure: it cannot be listened at, or another process does.
    """
    owner = os.getpid()
    try:
        _remove_stale(path)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        _bind(door, path, group)
        door.listen(BACKLOG)
    except OSError as error:
        raise HostFailure(f"cannot listen at {path}", error.strerror or str(error)) from error
    try:
        yield door
    finally:
        door.close()
        # A forked worker comes by here as well.
        if os.getpid() == owner:
            with contextlib.suppress(OSError):
                path.unlink()


def group_id(name: str) -> int:
    """Return a group's number.

    Raises:
        HostFailure: there is no such group.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise HostFailure(f"cannot find the group {name}", "no such group") from error


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected.

    Raises:
        OSError: the connection is gone.

    Source: unix(7), SO_PEERCRED; of a process in more than 256 groups only the first one counts.
    """
    _, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    more: tuple[int, ...] = ()
    with contextlib.suppress(OSError):
        found = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
        more = struct.unpack(f"{len(found) // 4}I", found)
    return Peer(uid, frozenset({gid, *more}))


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody serves; anything else of that name is left alone, and binding then fails."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            LOG.info("removed the socket of an agent that has ended path=%s", path)
            path.unlink()


def _bind(door: socket.socket, path: Path, group: int | None) -> None:
    """Bind, so that the file is never open to more than it is meant for."""
    own, mask = os.getegid(), os.umask(0o177 if group is None else 0o117)
    try:
        if group is not None:
            os.setegid(group)
        door.bind(str(path))
    finally:
        os.umask(mask)
        os.setegid(own)
