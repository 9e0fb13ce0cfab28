"""Real HAProxy processes for tests, of every version this machine has: the installed one, and those of Debian trees.

One process in the foreground, without a master, inside a namespace in which any address may be bound.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from amphora_agent.core.haproxy.version import Version, parse_version
from amphora_agent.core.process_id import ProcessId
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.procfs import process_start_time
from testbed.namespaces import Namespace
from testbed.waiting import wait_for

TREES = Path(os.environ.get("AMPHORA_TEST_TREES", "/var/cache/amphora-agent-tests"))
READY_SECONDS = 30.0
OWN_CONFIG = """global
    no strict-limits
    group nogroup
    stats socket {socket} mode 600 level admin
"""


@dataclass(frozen=True, slots=True)
class Binary:
    """An HAProxy that can be run here; `argv` starts it."""

    version: Version
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.version.major}.{self.version.minor}"

    def command(self, directory: Path) -> str:
        """Return one path that starts it, also when a master starts itself again; `directory` may be written to."""
        if len(self.argv) == 1:
            return self.argv[0]
        loader, libraries, binary = Path(self.argv[0]), self.argv[2], Path(self.argv[3])
        # The kernel finds a program's loader by a path inside it; ours is no longer than that, and leads to the tree's.
        link = Path(tempfile.gettempdir()) / f"ld-{secrets.token_hex(3)}"
        link.symlink_to(loader)
        (directory / "loader").symlink_to(link)
        program = directory / "haproxy"
        found = re.search(rb"/lib(64)?/ld-linux-[\w-]+\.so\.\d\0", binary.read_bytes())
        assert found is not None
        program.write_bytes(binary.read_bytes().replace(found[0], str(link).encode().ljust(len(found[0]), b"\0")))
        program.chmod(0o755)
        start = directory / "start-haproxy"
        start.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {program} "$@"\n')
        start.chmod(0o755)
        return str(start)


@contextlib.contextmanager
def command_of(binary: Binary) -> Iterator[str]:
    """Have `Binary.command` for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="haproxy-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        try:
            yield binary.command(directory)
        finally:
            link = directory / "loader"
            if link.is_symlink():
                link.readlink().unlink()


def binaries() -> list[Binary]:
    """Return every HAProxy on this machine, one for each major and minor version, oldest first."""
    found: dict[tuple[int, int], Binary] = {}
    for argv in _candidates():
        done = subprocess.run([*argv, "-v"], capture_output=True, text=True, check=False, timeout=10)
        version = parse_version(done.stdout)
        if done.returncode == 0 and version is not None:
            found.setdefault((version.major, version.minor), Binary(version, tuple(argv)))
    return [found[key] for key in sorted(found)]


def _candidates() -> Iterator[Sequence[str]]:
    installed = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if installed is not None:
        yield [installed]
    for binary in sorted(TREES.glob("*-*/usr/sbin/haproxy")):
        # The tree's own loader and libraries, so that its files are ours and no chroot is in the way.
        root = binary.parents[2]
        loaders = sorted(root.glob("usr/lib*/ld-linux-*.so.*")) + sorted(root.glob("usr/lib/*/ld-linux-*.so.*"))
        if loaders:
            libraries = ":".join(str(path) for path in sorted(root.glob("usr/lib/*-linux-gnu")))
            yield [str(loaders[0]), "--library-path", libraries, str(binary)]


@contextlib.contextmanager
def any_address_namespace() -> Iterator[Namespace]:
    """Make a namespace where every address can be bound and every member's address is the machine itself."""
    namespace = Namespace.create("hap")
    try:
        for family in ("ipv4", "ipv6"):
            namespace.run(["sysctl", "-qw", f"net.{family}.ip_nonlocal_bind=1"])
        namespace.ip("route add local 10.0.0.0/8 dev lo", "route add local 2001:db8::/32 dev lo")
        yield namespace
    finally:
        namespace.close()


@dataclass(slots=True)
class RunningHaproxy:
    """One HAProxy with the given configuration; a context manager that ends it."""

    binary: Binary
    namespace: Namespace
    config: str
    directory: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="haproxy-"))
        try:
            self.start(self.config)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def socket(self) -> Path:
        """The admin socket."""
        return self.directory / "admin.sock"

    @property
    def worker(self) -> ProcessId:
        """The process."""
        assert self._process is not None
        return ProcessId(self._process.pid, process_start_time(self._process.pid) or 0)

    @property
    def log(self) -> str:
        """What it printed."""
        return (self.directory / "log").read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def start(self, config: str) -> None:
        """Start it (again) with a configuration and wait until it answers."""
        self.stop()
        self.config = config
        (self.directory / "controller.cfg").write_text(config)
        (self.directory / "own.cfg").write_text(OWN_CONFIG.format(socket=self.socket))
        files = [part for name in ("controller.cfg", "own.cfg") for part in ("-f", str(self.directory / name))]
        argv = ["nsenter", f"--net={self.namespace.path}", *self.binary.argv, "-db", *files]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def has_begun() -> bool:
            assert self.exit_code is None, self.log
            return self._answers()

        wait_for(has_begun, lambda: f"haproxy {self.binary}: {self.log}", seconds=READY_SECONDS, interval=0.005)

    def _answers(self) -> bool:
        try:
            return bool(query(self.socket, "show version", 1.0))
        except HostFailure:
            return False

    def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self.socket.unlink(missing_ok=True)

    def close(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, command: str) -> str:
        """Send one command and return the answer."""
        return query(self.socket, command, 5.0).decode()

    def servers_state(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return `show servers state` by backend and server."""
        lines = [line.split() for line in self.ask("show servers state").splitlines()[1:] if line]
        names = lines[0][1:]
        rows = (dict(zip(names, line, strict=True)) for line in lines[1:])
        return {(row["be_name"], row["srv_name"]): row for row in rows}

    def stats(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return `show stat` by proxy and server."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return {(row["pxname"], row["svname"]): row for row in rows}
