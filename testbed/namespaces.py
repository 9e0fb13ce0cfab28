"""Network namespaces of a test's own: made with a unique name, entered by one thread, gone with all they hold."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.waiting import wait_for

DIRECTORY = Path("/run/netns")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_KILL_SECONDS = 5.0


def unique(prefix: str) -> str:
    """Return `<prefix>-<8 hex digits>`: unique on the machine, short enough for an interface name."""
    return f"{prefix}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace by name, as `ip netns` knows it; `directory` holds its handle."""

    name: str
    directory: Path = DIRECTORY

    @staticmethod
    def create(prefix: str) -> Namespace:
        """Make a namespace with a unique name and its loopback up; the caller closes it."""
        return Namespace.create_named(unique(prefix))

    @staticmethod
    def create_named(name: str) -> Namespace:
        """Make a namespace with this name and its loopback up; a name that is taken raises CalledProcessError."""
        namespace = Namespace(name)
        ip_batch([f"netns add {namespace.name}"])
        namespace.ip("link set lo up")
        return namespace

    @property
    def path(self) -> Path:
        """The namespace's handle; it exists while the namespace has a name."""
        return self.directory / self.name

    def ip(self, *lines: str) -> None:
        """Run `ip` command lines inside, in one process; the first that fails raises CalledProcessError."""
        self.run(["ip", "-batch", "-"], stdin="\n".join(lines).encode())

    def run(self, argv: Sequence[str], *, timeout: float = 30.0, stdin: bytes = b"") -> str:
        """Run a program inside and return its standard output; a failure raises CalledProcessError.

        Only the network is the namespace's: no `/etc/netns`, no remounted `/sys`.
        """
        command = ["nsenter", f"--net={self.path}", *argv]
        return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, timeout=timeout, check=True).stdout.decode()

    def open_socket(
        self,
        family: socket.AddressFamily = socket.AF_INET,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        proto: int = 0,
    ) -> socket.socket:
        """Return a new socket that lives inside, usable from everywhere; the caller closes it."""
        with self.entered():
            return socket.socket(family, kind, proto)

    def connect(self, host: str, port: int, *, timeout: float = 10.0) -> socket.socket:
        """Return a TCP connection made from inside to a literal address."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = self.open_socket(family)
        connection.settimeout(timeout)
        try:
            connection.connect((host, port))
        except OSError:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread work inside for the length of the block."""
        with Path("/proc/thread-self/ns/net").open("rb") as home, self.path.open("rb") as inside:
            _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def pids(self) -> tuple[int, ...]:
        """Return the processes inside, never the caller's own."""
        try:
            here = self.path.stat()
        except FileNotFoundError:
            return ()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    there = (entry / "ns" / "net").stat()
                    if (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
                        found.append(int(entry.name))
        return tuple(found)

    def kill_all(self) -> None:
        """End every process inside and wait until none is left."""

        def is_empty() -> bool:
            pids = self.pids()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        wait_for(is_empty, f"the end of all in {self.name}", seconds=_KILL_SECONDS, interval=0.005)

    def close(self) -> None:
        """End what runs inside and remove the namespace with its interfaces; an absent one is fine."""
        if self.path.exists():
            self.kill_all()
            if self.directory == DIRECTORY:
                ip_batch([f"netns del {self.name}"])


def ip_batch(lines: Sequence[str]) -> None:
    """Run `ip` command lines in one process, in the machine's own namespace."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode(), check=True)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the namespace")
