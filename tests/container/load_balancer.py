"""A load balancer on a machine, made the way a controller makes one, and tenants' traffic through it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from testbed.amphora import LB_ID, SAMPLES
from testbed.namespaces import Namespace
from testbed.scenario import MEMBER_ADDRESSES, MEMBER_MAC, MEMBER_PORT, VIP, VIP_MAC, request_sample
from testbed.web_server import WebServer, get
from tests.container.machine import AMPHORA_ID, Machine

UNIT = f"amphora-haproxy@{LB_ID}.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """What `samples/haproxy/01-http-basic.cfg` describes, running: one VIP, one listener, two members."""

    machine: Machine
    clients: Namespace
    members: Namespace

    def plug(self, name: str) -> None:
        """Send one of the samples of plug requests."""
        call = request_sample(name)
        reply = self.machine.request("POST", f"/1.0/{call['path']}", document=call["body"])
        assert reply.status == 202, (reply, self.machine.journal("--unit=amphora-agent")[-4000:])

    def apply(self, config: str) -> None:
        """Upload a configuration and reload, as the controller does for every change."""
        apply(self.machine, config)

    def answers(self, address: str = VIP) -> bool:
        """Tell whether a client gets an answer from a member through the VIP."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return get(self.clients, address, 80, timeout=0.5).startswith("web")
        return False

    def begin_request(self) -> socket.socket:
        """Return a connection on which half of a request was sent: it is served by the HAProxy of this moment."""
        connection = self.clients.connect(VIP, 80, timeout=10)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: half\r\n")
        return connection

    def finish_request(self, connection: socket.socket) -> int:
        """Send the other half and return the status of the answer."""
        with connection:
            connection.sendall(b"Connection: close\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            response.read()
            return response.status

    def seconds_until_answer(self, since: float, address: str = VIP, *, limit: float = 30.0) -> float:
        """Poll the VIP and return when it answered, in seconds after the monotonic time `since`."""
        self.machine.wait_for(lambda: self.answers(address), limit, f"an answer from {address}")
        return time.monotonic() - since


def apply(machine: Machine, config: str) -> None:
    """Upload a configuration and reload."""
    for path, body in ((f"{AMPHORA_ID}/{LB_ID}/haproxy", config), (f"{LB_ID}/reload", None)):
        reply = machine.request("PUT", f"/1.0/loadbalancer/{path}", body)
        assert reply.status == 202, (reply, machine.journal("--unit=amphora-agent")[-4000:])


def basic_config() -> str:
    """Return the sample with the fewest features."""
    return (SAMPLES / "haproxy/01-http-basic.cfg").read_text()


@contextlib.contextmanager
def load_balancer(machine: Machine, before_apply: Callable[[Machine], None] | None = None) -> Iterator[LoadBalancer]:
    """Plug NICs and web servers into a booted machine and make the load balancer through the API.

    `before_apply` is called when the NICs are plugged and no listener exists: VRRP is set up then.
    """
    clients, members = machine.network("vip"), machine.network("mem")
    machine.add_nic(VIP_MAC, clients, "10.10.0.1/24", "10.10.0.7/24")
    machine.add_nic(MEMBER_MAC, members, "10.20.0.1/24")
    # The servers' addresses are there even while the machine, and so the cable, is not.
    members.ip(*(f"address add {address}/32 dev lo" for address in MEMBER_ADDRESSES))
    with contextlib.ExitStack() as stack:
        for number, address in enumerate(MEMBER_ADDRESSES, start=1):
            stack.enter_context(WebServer(members, address, MEMBER_PORT, f"web{number}"))
        balancer = LoadBalancer(machine=machine, clients=clients, members=members)
        balancer.plug("plug-vip")
        balancer.plug("plug-network")
        if before_apply is not None:
            before_apply(machine)
        balancer.apply(basic_config())
        balancer.seconds_until_answer(time.monotonic())
        yield balancer


@dataclass(slots=True)
class Traffic:
    """Clients that ask the VIP without a pause while the block runs: some anew each time, one on one connection.

    `answers` counts who answered, `failures` says what went wrong; nothing may.

    Args:
        may_close: a kept connection may end between two answers, as at every reload; the client makes another one.
    """

    balancer: LoadBalancer
    clients: int = 2
    may_close: bool = False
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        workers = [self._ask_anew] * self.clients + [self._ask_on_one_connection]
        self._threads = [threading.Thread(target=worker, daemon=True) for worker in workers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)

    def _ask_anew(self) -> None:
        while not self._over.is_set():
            try:
                self.answers[get(self.balancer.clients, VIP, 80)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{time.monotonic():.3f} new connection: {error!r}")
            self._over.wait(0.005)

    def _ask_on_one_connection(self) -> None:
        try:
            while not self._over.is_set():
                self._ask_until_closed()
                if not self.may_close and not self._over.is_set():
                    self.failures.append(f"{time.monotonic():.3f} kept connection: it was closed")
                    return
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{time.monotonic():.3f} kept connection: {error!r}")

    def _ask_until_closed(self) -> None:
        """Ask on one connection until it is closed at the end of an answer, or instead of one to its next question."""
        connection = http.client.HTTPConnection(VIP, 80, timeout=5)
        with contextlib.closing(connection), self.balancer.clients.connect(VIP, 80) as plain:
            connection.sock = plain
            has_answered = False
            while not self._over.is_set() and connection.sock is not None:
                try:
                    connection.request("GET", "/")
                    answer = connection.getresponse()
                except (ConnectionResetError, BrokenPipeError):
                    if has_answered and self.may_close:
                        return
                    raise
                self.answers[answer.read().decode() + " kept"] += 1
                has_answered = True
                self._over.wait(0.005)


def daemons(machine: Machine, *names: str) -> dict[int, int]:
    """Return pid -> start time in clock ticks of those processes of these names that last.

    They are systemd's children, and theirs. Further down are the checks that keepalived forks, and elsewhere what an
    agent asks for its version.
    """
    parents, started = {}, {}
    for line in machine.exec(["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true"]).splitlines():
        pid, name = line.rpartition(")")[0].split(" (", 1)
        fields = line.rpartition(")")[2].split()
        if name in names:
            parents[int(pid)], started[int(pid)] = int(fields[1]), int(fields[19])
    masters = {pid for pid, parent in parents.items() if parent == 1}
    return {pid: started[pid] for pid, parent in parents.items() if pid in masters or parent in masters}
