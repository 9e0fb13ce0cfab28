"""The transport with a small application behind it, in a process of its own.

with SmallServer(tmp_path) as server:
    answer = server.ask("GET", "/2.0/peer")
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from flask import Flask, request

from amphora_agent import log
from amphora_agent.api.http.server import HttpsServer
from amphora_agent.core.settings import Settings
from amphora_agent.operations.events import EventKind, EventLog
from testbed.amphora import AMPHORA_ID, Reply, ask
from testbed.pki import Pki, client_context
from testbed.waiting import wait_for

# Bytes; no socket holds as many that nobody reads.
LARGE = 8_000_000


@dataclass(slots=True)
class SmallServer:
    """A context manager; all it needs is in `place`."""

    place: Path
    group: str | None = None
    port: int = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def path(self) -> Path:
        """Its UNIX socket."""
        return self.place / "api.sock"

    @property
    def log(self) -> str:
        """What it printed so far."""
        return (self.place / "log").read_text()

    def __enter__(self) -> Self:
        Pki.mint(AMPHORA_ID).write(self.place)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        argv = [sys.executable, "-m", "tests.api.http.small_server", str(self.place), str(self.port), self.group or ""]
        with (self.place / "log").open("wb") as output:
            self.process = subprocess.Popen(argv, stdout=output, stderr=output, cwd=Path(__file__).parents[3])
        wait_for(self._answers, lambda: self.log)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), contextlib.closing(self.connect_tls()) as connection:
            return ask(connection, "GET", "/2.0/peer").status == 200
        return False

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection over the UNIX socket."""
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(str(self.path))
        return connection

    def connect_tls(self) -> http.client.HTTPConnection:
        """Return a connection over mutual TLS."""
        context = client_context(self.place / "ca.pem", self.place / "client.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sock = context.wrap_socket(plain, server_hostname=AMPHORA_ID)
        return connection

    def ask(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Send one request over the UNIX socket."""
        with contextlib.closing(self.connect()) as connection:
            return ask(connection, method, path, body)


def application(events: EventLog) -> Flask:
    """Return what is served: who asks, a large answer, a log of events, and what comes after one."""
    app = Flask("small", static_folder=None)

    @app.get("/1.0/peer", endpoint="1.0")
    @app.get("/2.0/peer")
    def peer() -> str:
        return str(request.environ["amphora.peer"])

    @app.get("/2.0/large")
    def large() -> bytes:
        return b"x" * LARGE

    @app.get("/2.0/events")
    def after() -> dict[str, int]:
        if events.latest <= request.args.get("after", 0, int):
            request.environ["amphora.wait"] = request.args.get("wait", 0.0, float)
        return {"latest": events.latest}

    @app.put("/2.0/events")
    def append() -> dict[str, int]:
        request.get_data()
        events.append(EventKind.READY, None, "", "", at=0.0)
        return {"latest": events.latest}

    return app


def main(place: Path, port: int, group: str | None) -> None:
    """Serve until a signal comes."""
    log.configure(debug=False, facility=None, identifier="small")
    events = EventLog()
    settings = Settings(
        bind_host="127.0.0.1",
        bind_port=port,
        agent_server_cert=str(place / "server.pem"),
        agent_server_ca=str(place / "ca.pem"),
        api_socket=str(place / "api.sock"),
        api_socket_group=group,
    )
    HttpsServer(settings, lambda: application(events), events.subscribe).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None)
