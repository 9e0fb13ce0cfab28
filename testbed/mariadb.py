"""A MariaDB of one's own: an empty data directory, one UNIX socket, no network. Gone with the `with` statement."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from testbed.waiting import wait_for

IS_INSTALLED = shutil.which("mariadbd") is not None and shutil.which("mariadb-install-db") is not None


@contextlib.contextmanager
def mariadb() -> Iterator[tuple[Path, int]]:
    """Yield the socket, at which root may do everything without a password, and the server's pid."""
    directory = Path(tempfile.mkdtemp(prefix="mariadb-"))
    data, socket, log = directory / "data", directory / "socket", directory / "log"
    install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"]
    server = [
        "mariadbd",
        "--no-defaults",
        "--user=root",
        "--skip-networking",
        f"--datadir={data}",
        f"--socket={socket}",
    ]
    try:
        with log.open("wb") as output:
            subprocess.run(
                [*install, "--auth-root-authentication-method=normal"], stdout=output, stderr=output, check=True
            )
            process = subprocess.Popen([*server, "--max-connections=500"], stdout=output, stderr=output)
        try:
            wait_for(socket.exists, log.read_text, seconds=60)
            yield socket, process.pid
        finally:
            process.terminate()
            process.wait(60)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
