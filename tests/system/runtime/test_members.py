"""Members added at run time behave as configured ones: what a health check sends, who gets traffic and when.

A fake member records how each connection to it begins; each HAProxy checks it once as a configured server and
once as an added one.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.plan import changes_under_leastconn
from amphora_agent.core.haproxy.runtime import commands_of
from amphora_agent.core.haproxy.server_line import parse_server
from amphora_agent.core.haproxy.servers_state import filter_servers_state
from amphora_agent.core.haproxy.steps import AddServer
from amphora_agent.core.haproxy.words import split_words
from testbed.namespaces import Namespace
from testbed.waiting import holds, wait_for
from tests.system.runtime.haproxies import Binary, RunningHaproxy, any_address_namespace, binaries

STATIC, ADDED, OWN = "10.20.0.1", "10.20.0.2", "10.30.0.1"
PORT, OWN_PORT = 8080, 9000
MONITORS = {
    "tcp": "",
    "http": "    option httpchk GET /healthz\n    http-check expect rstatus 200\n",
    "tls-hello": "    option ssl-hello-chk\n",
}
OPTIONS = {
    "plain": "",
    "tls": "ssl verify none",
    "tls own check": "check-ssl verify none ssl",
    "check tls only": "check-ssl verify none check-alpn h2,http/1.1",
    "alpn": "check-ssl verify none check-alpn h2,http/1.1 ssl alpn h2,http/1.1",
    "proxy v1": "send-proxy",
    "proxy v2": "send-proxy-v2",
    "proxy v2 tls": "send-proxy-v2-ssl-cn",
    "proxy v2 and tls": "send-proxy-v2 ssl verify none",
    "own port": f"port {OWN_PORT}",
    "own port and tls": f"port {OWN_PORT} ssl verify none",
    "own port and proxy": f"port {OWN_PORT} send-proxy",
    "own address and proxy": f"addr {OWN} send-proxy-v2 ssl verify none",
    "own address and port": f"addr {OWN} port {OWN_PORT}",
}
CONFIG = """defaults
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend l
    mode {mode}
    bind 10.0.0.1:80
    default_backend p:l
backend p:l
    mode {mode}
    balance roundrobin
    http-reuse safe
    option allbackups
    timeout check 1s
{lines}"""


@dataclass(slots=True)
class FakeMembers:
    """Members on every address; remembers the beginning of each connection by the address and port it came to."""

    namespace: Namespace
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    seen: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    _listeners: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Self:
        for port in (PORT, OWN_PORT):
            listener = self.namespace.open_socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("0.0.0.0", port))
            listener.listen(64)
            self._listeners.append(listener)
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        where = connection.getsockname()
        with connection, contextlib.suppress(OSError):
            beginning = _beginning(connection)
            self.seen.setdefault(where, []).append(beginning)
            connection.sendall(self.answer)


def _beginning(connection: socket.socket) -> bytes:
    """Return what comes before a pause; a PROXY header may come by itself. A TCP check just resets."""
    text = b""
    connection.settimeout(0.5)
    with contextlib.suppress(OSError):
        while chunk := connection.recv(4096):
            text += chunk
            connection.settimeout(0.05)
    return text


def kind_of(beginning: bytes) -> list[str]:
    """Return what a connection began with, layer by layer."""
    layers = []
    if beginning.startswith(b"PROXY "):
        layers.append("proxy v1")
        beginning = beginning.partition(b"\r\n")[2]
    if beginning.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
        layers.append("proxy v2")
        beginning = beginning[16 + int.from_bytes(beginning[14:16]) :]
    if beginning[:1] == b"\x16":
        layers.append("tls with alpn" if b"\x02h2\x08http/1.1" in beginning else "tls")
    elif beginning.startswith(b"GET /healthz "):
        layers.append("http")
    elif beginning:
        layers.append(repr(beginning[:20]))
    return layers


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with any_address_namespace() as made:
        yield made


def add(haproxy: RunningHaproxy, line: str, *, starts_down: bool = False) -> None:
    server = parse_server(split_words(line))
    assert server is not None
    for command in commands_of(AddServer("p:l", server, starts_down)):
        assert command.accepts(haproxy.ask(command.text)), command


@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("binary", binaries(), ids=str)
def test_an_added_member_is_checked_as_a_configured_one(binary: Binary, monitor: str, namespace: Namespace) -> None:
    differences = []
    for name, options in OPTIONS.items():
        line = f"server {{}} {{}}:{PORT} weight 1 check inter 40ms fall 3 rise 2 {options}"
        config = CONFIG.format(mode="http", lines=f"{MONITORS[monitor]}    {line.format('s', STATIC)}\n")
        with FakeMembers(namespace) as members, RunningHaproxy(binary, namespace, config) as haproxy:
            configured = checks_of(haproxy, members, "s", STATIC)
            haproxy.ask("set server p:l/s state maint")
            wait_for(lambda: haproxy.ask("del server p:l/s").startswith("Server deleted"), "the deletion")
            wait_for(lambda: is_quiet(members), "quiet members")
            add(haproxy, line.format("d", ADDED))
            added = checks_of(haproxy, members, "d", ADDED)
            if added != configured:
                differences.append(f"{name}: configured {configured}, added {added}")
    assert differences == []


def is_quiet(members: FakeMembers) -> bool:
    """Forget what was seen, and tell whether a while brings nothing more: a last check may still be under way."""
    members.seen.clear()
    return holds(lambda: not members.seen, 0.1)


def checks_of(haproxy: RunningHaproxy, members: FakeMembers, name: str, address: str) -> set[tuple[str, int, str, str]]:
    """Return where a member was checked, what the checks began with, and what HAProxy made of them.

    A check of nothing but the connection is reset before the member's system reports it: the set is then empty.
    """
    wait_for(lambda: haproxy.stats()["p:l", name]["check_status"] not in {"", "INI"}, "the first check")
    holds(lambda: sum(map(len, members.seen.values())) < 2, 0.4)
    status = haproxy.stats()["p:l", name]["check_status"].removeprefix("* ")
    return {
        ("its own" if host == address else host, port, str(kind_of(text)), status)
        for (host, port), texts in members.seen.items()
        for text in texts
    }


@pytest.mark.parametrize("binary", binaries(), ids=str)
def test_a_member_that_starts_down_gets_no_traffic_before_a_good_check(binary: Binary, namespace: Namespace) -> None:
    lines = f"    option httpchk GET /healthz\n    server s {STATIC}:{PORT} weight 1 check inter 1h\n"
    with (
        FakeMembers(namespace) as members,
        RunningHaproxy(binary, namespace, CONFIG.format(mode="http", lines=lines)) as h,
    ):
        add(h, f"server d {ADDED}:{PORT} weight 5 check inter 300ms fall 3 rise 2", starts_down=True)
        assert h.stats()["p:l", "d"]["status"].startswith("DOWN")
        while not h.stats()["p:l", "d"]["status"].startswith("UP"):
            request(namespace)
        assert all(text.startswith(b"GET /healthz") for text in members.seen.get((ADDED, PORT), ()))
        assert h.stats()["p:l", "d"]["weight"] == "5"
        wait_for(
            lambda: request(namespace) and any(b"/page" in text for text in members.seen[ADDED, PORT]), "an answer"
        )


@pytest.mark.parametrize("binary", binaries(), ids=str)
def test_an_added_member_takes_its_share_and_keeps_idle_connections(binary: Binary, namespace: Namespace) -> None:
    with (
        FakeMembers(namespace) as members,
        RunningHaproxy(
            binary, namespace, CONFIG.format(mode="http", lines=f"    server s {STATIC}:{PORT} weight 1\n")
        ) as haproxy,
    ):
        add(haproxy, f"server d {ADDED}:{PORT} weight 3")
        for _ in range(40):
            request(namespace)
        assert (len(members.seen[STATIC, PORT]), len(members.seen[ADDED, PORT])) == (10, 30)
        assert haproxy.stats()["p:l", "d"]["src_ilim"] == haproxy.stats()["p:l", "s"]["src_ilim"] == ""


def request(namespace: Namespace) -> bytes:
    with namespace.connect("10.0.0.1", 80) as connection:
        connection.sendall(b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
    return reply


@pytest.mark.parametrize("binary", binaries(), ids=str)
def test_a_filtered_state_file_carries_over_health_and_nothing_else(binary: Binary, namespace: Namespace) -> None:
    check = "check inter 1h fall 1 rise 1"
    lines = "    load-server-state-from-file global\n" + "".join(
        f"    server {name} 10.20.0.9:{port} weight 5 {check}\n"
        for name, port in (("dead", 1), ("maint", 2), ("weighed", 3), ("moved", 4), ("unchecked", 5), ("off", 6))
    )
    config = "global\n    server-state-file {}/state\n" + CONFIG.format(mode="http", lines=lines)
    with RunningHaproxy(binary, namespace, config) as haproxy:
        for name in ("dead", "maint", "weighed", "moved", "unchecked", "off"):
            haproxy.ask(f"set server p:l/{name} health down")
        haproxy.ask("set server p:l/maint state maint")
        haproxy.ask("set server p:l/weighed weight 9")
        add(haproxy, f"server added 10.20.0.9:7 weight 2 {check}")
        haproxy.ask("set server p:l/added health down")
        later = (
            config.format(haproxy.directory)
            .replace(f":4 weight 5 {check}", f":44 weight 5 {check}")
            .replace(f":5 weight 5 {check}", ":5 weight 5")
            .replace(f":6 weight 5 {check}", f":6 weight 5 {check} disabled")
            .replace("    server dead", f"    server added 10.20.0.9:7 weight 2 {check}\n    server dead")
        )
        answer = haproxy.ask("show servers state")
        (haproxy.directory / "state").write_text(filter_servers_state(answer, parse(later)))
        haproxy.start(later)
        status = {name: row["status"].split()[0] for (_, name), row in haproxy.stats().items()}
        assert status["dead"] == status["weighed"] == status["added"] == "DOWN"
        assert status["off"] == "MAINT"
        assert status["unchecked"] == "no"
        states = haproxy.servers_state()
        assert states["p:l", "maint"]["srv_admin_state"] == "0"
        assert states["p:l", "weighed"]["srv_uweight"] == "5"
        assert states["p:l", "moved"]["srv_port"] == "44"
        assert "server-state" not in haproxy.log.replace("changed from server-state after a reload", "")


@pytest.mark.parametrize("binary", binaries(), ids=str)
def test_a_member_under_leastconn_survives_being_enabled_again_and_again(binary: Binary, namespace: Namespace) -> None:
    """What makes HAProxy 3.2.6 to 3.2.18 abort is done without a reload only on those that do not."""
    if not changes_under_leastconn(binary.version):
        pytest.skip(f"HAProxy {binary.version} is on the list of those that abort: it is reloaded instead")
    config = CONFIG.format(mode="http", lines=f"    server s {STATIC}:{PORT} weight 1\n").replace(
        "balance roundrobin", "balance leastconn"
    )
    with RunningHaproxy(binary, namespace, f"global\n    nbthread 1\n{config}") as haproxy:
        add(haproxy, f"server d {ADDED}:{PORT} weight 1")
        for _ in range(100):
            for state in ("maint", "ready", "drain", "ready"):
                assert haproxy.ask(f"set server p:l/d state {state}").strip() == ""
        assert haproxy.exit_code is None
        assert haproxy.stats()["p:l", "d"]["status"] == "no check"
