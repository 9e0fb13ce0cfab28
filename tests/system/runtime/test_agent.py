"""The whole agent under member and certificate changes: real uploads over mutual TLS, real traffic, every HAProxy here.

What a tenant must never notice: a change. What an operator must never see: memory that grows with changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import selectors
import signal
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from amphora_agent.core.haproxy.config import Config, Section, parse
from amphora_agent.core.haproxy.server_line import parse_server
from amphora_agent.core.haproxy.servers_state import parse_servers_state
from amphora_agent.host.haproxy.socket import query
from amphora_agent.operations.haproxy import removals
from testbed import haproxy_text
from testbed.amphora import LB_ID, RunningAmphora
from testbed.namespaces import Namespace
from testbed.scenario import VIP, Scenario, scenario
from testbed.waiting import wait_for
from testbed.web_server import WebServer
from tests.system.runtime.certificates import mint
from tests.system.runtime.haproxies import Binary, binaries, command_of
from tests.system.runtime.test_faults import Meddler

CONNECTIONS = int(os.environ.get("RUNTIME_CONNECTIONS", "500"))
CHANGES = int(os.environ.get("RUNTIME_CHANGES", "200"))
ECHO_PORT = 7
SECONDS = 30.0
HTTP, TCP = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
CHECK = "check inter 5s fall 3 rise 2"


@pytest.fixture(params=binaries(), ids=str)
def surroundings(request: pytest.FixtureRequest) -> Iterator[Scenario]:
    binary: Binary = request.param
    with (
        command_of(binary) as command,
        RunningAmphora(heartbeats=False, options={"haproxy_amphora": {"haproxy_cmd": command}}) as running,
        scenario(running) as made,
    ):
        made.plug()
        # Every address from .128 on is a member.
        made.members.ip("route add local 10.20.0.128/25 dev lo")
        with WebServer(made.members, "0.0.0.0", 80, "web"), EchoServer(made.members):
            yield made


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
        return haproxy_text.render(Config(sample.preamble, tuple(sections)))


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


def processes(amphora: RunningAmphora) -> set[int]:
    return set(amphora.netns.pids())


def memory(pids: set[int]) -> int:
    total = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    return total


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


def changed(members: Members, step: int) -> Members:
    """Return the members after the next change; pools keep between four and eight of them."""
    pools = {"http": list(members.http), "tcp": list(members.tcp)}
    name = "http" if step % 2 else "tcp"
    servers = pools[name]
    port = 80 if name == "http" else ECHO_PORT
    match (step // 2) % 4:
        case 0:
            servers.insert(step % len(servers), member(100 + step, port, CHECK if step % 3 else ""))
        case 1:
            position = step % len(servers)
            words = servers[position].split()
            servers[position] = "    " + " ".join([*words[:4], str(1 + step % 50), *words[5:]])
        case 2:
            servers.pop(step % len(servers))
        case _:
            servers[0] = servers[0].removesuffix(" disabled") if "disabled" in servers[0] else f"{servers[0]} disabled"
    return Members(tuple(pools["http"]), tuple(pools["tcp"]))


@pytest.mark.timeout(300)
def test_no_change_of_members_is_noticed_by_anybody(surroundings: Scenario) -> None:
    amphora = surroundings.amphora
    members = Members(
        tuple(member(number, 80) for number in range(6)), tuple(member(20 + number, ECHO_PORT) for number in range(6))
    )
    surroundings.apply(members.config(amphora))
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(surroundings.clients.connect(VIP, 81)) for _ in range(CONNECTIONS)]
        assert all(map(is_echoed, kept))
        load = stack.enter_context(Load(surroundings))
        wait_for(lambda: load.answered > 50, "the VIP answers")
        before, used = processes(amphora), memory(processes(amphora))
        seconds = []
        for step in range(CHANGES):
            members = changed(members, step)
            config = members.config(amphora)
            began = time.monotonic()
            surroundings.apply(config)
            seconds.append(time.monotonic() - began)
            if step % 20 == 0:
                assert_runs(amphora, config)
        answered = load.answered
        wait_for(lambda: load.answered > answered + 20, "the VIP answers")
        assert load.failures == []
        assert all(map(is_echoed, kept))
        assert processes(amphora) == before
        grown = memory(before) / used
        print(  # noqa: T201
            f"\n{CHANGES} changes, {load.answered} requests, {len(kept)} connections kept: "
            f"p50 {statistics.median(seconds) * 1000:.0f} ms, memory x {grown:.3f}"
        )
        assert grown < 1.05
    assert "reloaded haproxy" not in amphora.log


@pytest.mark.timeout(120)
def test_a_removed_member_keeps_its_connections_and_goes_with_the_last_one(surroundings: Scenario) -> None:
    amphora = surroundings.amphora
    members = Members((member(1, 80),), (member(2, ECHO_PORT), member(3, ECHO_PORT)))
    surroundings.apply(members.config(amphora))
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(surroundings.clients.connect(VIP, 81)) for _ in range(10)]
        assert all(map(is_echoed, kept))
        fewer = Members(members.http, members.tcp[:1])
        surroundings.apply(fewer.config(amphora))
        assert_runs(amphora, fewer.config(amphora))
        removing = amphora.base / "agent" / LB_ID / "removing.json"
        assert [*removals.read(removing)[TCP]] == [members.tcp[1].split()[1]]
        amphora.kill()
        amphora.start()
        assert all(map(is_echoed, kept))
        assert removing.exists()
    if "2.6" in str(query(admin_socket(amphora), "show info", 5.0)):
        return  # such an old one may delete only minutes later
    wait_for(lambda: not removing.exists(), "the member is deleted when its last connection is gone")
    states = parse_servers_state(query(admin_socket(amphora), "show servers state", 5.0).decode())
    assert {state.name for state in states if state.backend == TCP} == {members.tcp[0].split()[1]}


@contextlib.contextmanager
def meddled(amphora: RunningAmphora, spoilt: int, fault: str) -> Iterator[Meddler]:
    """Stand between the agent and HAProxy's admin socket; a reload makes HAProxy listen there again by itself."""
    path = admin_socket(amphora)
    behind = path.with_name("behind.sock")
    path.rename(behind)
    meddler = Meddler(behind, path, spoilt, fault)
    try:
        with meddler.listening():
            yield meddler
    finally:
        if not path.exists():
            behind.rename(path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["corrupt", "cut", "lie"])
def test_spoilt_answers_end_with_the_stored_configuration(surroundings: Scenario, fault: str) -> None:
    amphora = surroundings.amphora
    members = Members((member(1, 80), member(2, 80)), (member(3, ECHO_PORT),))
    surroundings.apply(members.config(amphora))
    with Load(surroundings) as load:
        for spoilt in range(1, 9):
            first = members.http[0].split()
            weighed = "    " + " ".join([*first[:4], str(2 + spoilt), *first[5:]])
            members = Members((weighed, member(10 + spoilt, 80)), members.tcp)
            with meddled(amphora, spoilt, fault):
                surroundings.apply(members.config(amphora))
            assert_runs(amphora, members.config(amphora))
        wait_for(lambda: load.answered > 20, "the VIP answers")
        assert load.failures == []


@pytest.mark.timeout(120)
def test_a_killed_agent_finds_the_stored_configuration_again(surroundings: Scenario) -> None:
    amphora = surroundings.amphora
    before = Members((member(1, 80), member(2, 80)), (member(3, ECHO_PORT),))
    after = Members((member(1, 80), member(4, 80), member(5, 80)), (member(3, ECHO_PORT),))
    surroundings.apply(before.config(amphora))
    for spoilt in range(1, 7):
        assert surroundings.upload(after.config(amphora)).status == 202
        with meddled(amphora, spoilt, "late") as meddler:
            thread = threading.Thread(target=_ignore_failure, args=(lambda: reload(amphora),))
            thread.start()
            wait_for(lambda: len(meddler.seen) > spoilt, "the command is sent")  # noqa: B023 - called at once
            amphora.kill()
            thread.join()
        amphora.start()
        # Back to what the record says was running: without the note in it, this would look like no change at all.
        surroundings.apply(before.config(amphora))
        assert_runs(amphora, before.config(amphora))


def reload(amphora: RunningAmphora) -> int:
    return amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status


def _ignore_failure(call: Callable[[], object]) -> None:
    with contextlib.suppress(OSError, ssl.SSLError, Exception):
        call()


@pytest.mark.timeout(120)
def test_a_worker_that_dies_after_a_change_is_reloaded_from_then_on(surroundings: Scenario) -> None:
    amphora = surroundings.amphora
    members = Members((member(1, 80), member(2, 80)), (member(3, ECHO_PORT),))
    surroundings.apply(members.config(amphora))
    members = Members((*members.http, member(4, 80)), members.tcp)
    surroundings.apply(members.config(amphora))
    info = query(admin_socket(amphora), "show info", 5.0).decode()
    pid = int(next(line for line in info.splitlines() if line.startswith("Pid:")).split()[1])
    os.kill(pid, signal.SIGSEGV)
    for weight in (5, 6):
        first = members.http[0].split()
        members = Members(("    " + " ".join([*first[:4], str(weight)]), *members.http[1:]), members.tcp)
        wait_for(lambda: _is_applied(surroundings, members.config(amphora)), "the agent recovers")  # noqa: B023
        assert_runs(amphora, members.config(amphora))
    assert (amphora.base / "agent" / LB_ID / "reload-only").exists()
    amphora.restart()
    assert not (amphora.base / "agent" / LB_ID / "reload-only").exists()


def _is_applied(surroundings: Scenario, config: str) -> bool:
    return surroundings.upload(config).status == 202 and reload(surroundings.amphora) == 202


@pytest.mark.timeout(120)
def test_a_certificate_is_renewed_under_load(surroundings: Scenario) -> None:
    amphora, minted = surroundings.amphora, mint(8)
    config = amphora.sample("haproxy/04-terminated-https-sni.cfg")
    list_name = "7f699c35-164b-5869-a43d-47618ff89fe2.pem"
    failures: list[str] = []
    served: list[tuple[float, bytes | None]] = []
    stop = threading.Event()

    def shake_hands() -> None:
        while not stop.is_set():
            try:
                served.append((time.monotonic(), shown(surroundings)))
            except OSError as error:
                failures.append(repr(error))

    store_certificate(amphora, list_name, minted.next_certificate(), config)
    threads = [threading.Thread(target=shake_hands) for _ in range(3)]
    for thread in threads:
        thread.start()
    delays = []
    began = time.monotonic()
    for _ in range(6):
        pem = minted.next_certificate()
        store_certificate(amphora, list_name, pem, config)
        answered = time.monotonic()
        wanted = ssl.PEM_cert_to_DER_cert(pem.decode().partition("-----BEGIN PRIVATE")[0].strip())
        wait_for(lambda: served[-1][1] == wanted, "the new certificate is served")  # noqa: B023 - called at once
        delays.append(next(at for at, der in reversed(served) if der == wanted) - answered)
    took = time.monotonic() - began
    stop.set()
    for thread in threads:
        thread.join()
    print(f"\n{len(served) / took:.0f} handshakes/s, delays {[f'{d * 1000:.0f} ms' for d in delays]}")  # noqa: T201
    assert failures == []
    assert amphora.log.count("reloaded haproxy") == 0


def store_certificate(amphora: RunningAmphora, list_name: str, pem: bytes, config: str) -> None:
    """Do what the controller does for a renewed certificate: new file, new crt-list, the same configuration."""
    name = f"{hashlib.sha1(pem).hexdigest()}.pem"  # noqa: S324 - the controller's way of naming
    path = f"/1.0/loadbalancer/{LB_ID}/certificates"
    listed = f"{amphora.inner(amphora.cert_dir)}/{LB_ID}/{name}\n"
    assert amphora.request("PUT", f"{path}/{name}", pem).status == 200
    assert amphora.request("PUT", f"{path}/{list_name}", listed).status == 200
    upload = f"/1.0/loadbalancer/{amphora.amphora_id}/{LB_ID}/haproxy"
    assert amphora.request("PUT", upload, config).status == 202
    assert reload(amphora) == 202


def shown(surroundings: Scenario) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        surroundings.clients.connect(VIP, 443, timeout=5.0) as plain,
        context.wrap_socket(plain, server_hostname="unknown.test") as connection,
    ):
        return connection.getpeercert(binary_form=True)
