"""A tenant of a whole agent: two pools, traffic through them, and what HAProxy then runs."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.config import Config, Section, parse
from amphora_agent.core.haproxy.server_line import parse_server
from amphora_agent.core.haproxy.servers_state import parse_servers_state
from amphora_agent.host.haproxy.socket import query
from amphora_agent.operations.haproxy import removals
from testbed.amphora import LB_ID, RunningAmphora
from testbed.namespaces import Namespace
from testbed.scenario import VIP, Scenario

ECHO_PORT = 7
SECONDS = 30.0
HTTP, TCP = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
CHECK = "check inter 5s fall 3 rise 2"


def member(number: int, port: int, options: str = "") -> str:
    address = f"10.20.0.{128 + number % 120}:{port}"
    return f"    server 00000000-0000-0000-0000-{number:012d} {address} weight 1 {options}".rstrip()


@dataclass(frozen=True, slots=True)
class Members:
    """The members of the two pools, as server lines."""

    http: tuple[str, ...]
    tcp: tuple[str, ...]

    def config(self, amphora: RunningAmphora) -> str:
        """Return a configuration as the controller would write it: an HTTP and a TCP listener."""
        sample = parse(amphora.sample("haproxy/01-http-basic.cfg"))
        common = [section for section in sample.sections if section.kind in {"global", "defaults"}]
        sections = [*common, *_listener("http", HTTP, 80, self.http), *_listener("tcp", TCP, 81, self.tcp)]
        return haproxy_config.render(Config(sample.preamble, tuple(sections)))


def _listener(mode: str, name: str, port: int, servers: tuple[str, ...]) -> Iterator[Section]:
    timeouts = ("    timeout connect 5000", "    timeout server 600000")
    front = (f"    bind {VIP}:{port}", f"    mode {mode}", f"    default_backend {name}", "    timeout client 600000")
    reuse = ("    http-reuse safe",) if mode == "http" else ()
    yield Section("frontend", name, front)
    back = (f"    mode {mode}", *reuse, "    balance roundrobin", "    option allbackups", *timeouts, *servers)
    yield Section("backend", name, back)


class EchoServer:
    """Returns what it gets, on port 7 of every address of a namespace; for connections that stay."""

    def __init__(self, namespace: Namespace) -> None:
        self._listener = namespace.open_socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def __enter__(self) -> Self:
        self._listener.bind(("0.0.0.0", ECHO_PORT))
        self._listener.listen(1024)
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        with contextlib.suppress(OSError):
            while self._listener.fileno() >= 0:
                for key, _ in selector.select(0.2):
                    if key.fileobj is self._listener:
                        selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                        continue
                    connection = key.fileobj
                    assert isinstance(connection, socket.socket)
                    data = b""
                    with contextlib.suppress(OSError):
                        data = connection.recv(4096)
                        connection.sendall(data)
                    if not data:
                        selector.unregister(connection)
                        connection.close()


@dataclass(slots=True)
class Load:
    """Requests to the VIP, one after the other in a thread, for the length of the block."""

    scenario: Scenario
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            try:
                self.scenario.get(timeout=5.0)
                self.answered += 1
            except OSError as error:
                self.failures.append(repr(error))


def is_echoed(connection: socket.socket) -> bool:
    connection.sendall(b"x")
    return connection.recv(1) == b"x"


def admin_socket(amphora: RunningAmphora) -> Path:
    return amphora.base / "agent" / LB_ID / "admin.sock"


def assert_runs(amphora: RunningAmphora, config: str) -> None:
    """The running HAProxy has exactly the members of the file, those waiting for their deletion aside."""
    removing = removals.read(amphora.base / "agent" / LB_ID / "removing.json")
    states = parse_servers_state(query(admin_socket(amphora), "show servers state", 5.0).decode())
    found = {
        (state.backend, state.name, state.address, state.port, state.weight, state.is_maint)
        for state in states
        if state.name not in removing.get(state.backend, ())
    }
    wanted = set()
    for section in parse(config).sections:
        for line in section.lines:
            server = parse_server(tuple(line.split()))
            if server is not None:
                wanted.add(
                    (section.name, server.name, str(server.address), server.port, server.weight, server.is_disabled)
                )
    assert found == wanted


def reload(amphora: RunningAmphora) -> int:
    return amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status
