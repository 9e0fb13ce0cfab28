"""Real packets through what plug requests made: replies from the VIP, members that are clients, changes under load."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amphora_agent.host.network import netns
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, client
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP
from tests.system.network.test_replug import fixed

# What no UDP listener serves is dropped, but for what a DHCP client receives.
OPEN_PORT = 546


@contextlib.contextmanager
def echo(namespace: Path, address: str, port: int) -> Iterator[None]:
    """Answer UDP datagrams with themselves, from the address they were sent to."""

    def bind() -> socket.socket:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((address, port))
        server.settimeout(0.1)
        return server

    server, stop = netns.inside(namespace, bind), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                data, sender = server.recvfrom(2048)
                server.sendto(data, sender)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.close()


def ask(namespace: Path, source: str, target: tuple[str, int]) -> bool:
    """Tell whether an echo comes back from where it was asked."""

    def exchange() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.bind((source, 0))
            asker.connect(target)
            asker.settimeout(0.3)
            for _ in range(5):
                try:
                    asker.send(b"?")
                    return asker.recv(16) == b"?"
                except OSError:
                    continue
        return False

    return netns.inside(namespace, exchange)


@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_client_on_the_member_subnet_reaches_the_vip(machine: Machine, strict: str) -> None:
    """It comes in through eth1, by its router, and the answer has to go out the same way (T66)."""
    vip_side = machine.add_nic("ens5", VIP_MAC)
    member_side = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.9.0.1/24", "dev", vip_side)
    machine.outside_run("ip", "addr", "add", "10.20.0.50/24", "dev", member_side)
    machine.outside_run("sysctl", "-q", "net.ipv4.conf.all.rp_filter=0", f"net.ipv4.conf.{vip_side}.rp_filter=0")
    # Both networks end in this one namespace: the client's packets to the VIP must leave through the router's device.
    machine.outside_run("ip", "rule", "add", "from", "10.20.0.50", "to", "10.9.0.5", "table", "77", "priority", "10")
    machine.outside_run("ip", "route", "add", "10.9.0.5/32", "dev", vip_side, "table", "77")
    agent = client(machine)
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    machine.inside_run("sysctl", "-q", f"net.ipv4.conf.eth1.rp_filter={strict}")
    for _ in range(2):
        assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
        with echo(machine.paths.netns, "10.9.0.5", OPEN_PORT):
            before = machine.inside_json("-s", "link", "show", "eth2")[0]["stats64"]["tx"]["packets"]
            assert ask(machine.outside, "10.20.0.50", ("10.9.0.5", OPEN_PORT))
            after = machine.inside_json("-s", "link", "show", "eth2")[0]["stats64"]["tx"]["packets"]
        assert after - before < 3, "answers from the VIP left through the member interface"


def test_a_member_that_is_a_client_of_its_own_vip(machine: Machine) -> None:
    """One network for everything: the member asks the VIP, and the amphora asks the member (T67)."""
    peer = machine.add_nic("ens5", VIP_MAC)
    machine.outside_run("ip", "addr", "add", "10.9.0.50/24", "dev", peer)
    agent = client(machine)
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    with echo(machine.paths.netns, "10.9.0.5", OPEN_PORT), echo(machine.outside, "10.9.0.50", 5001):
        for _ in range(2):
            assert ask(machine.outside, "10.9.0.50", ("10.9.0.5", OPEN_PORT))
            assert ask(machine.paths.netns, "10.9.0.9", ("10.9.0.50", 5001))
            assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 409


SECOND: dict[str, Any] = {
    "ip_address": "10.30.0.5",
    "subnet_cidr": "10.30.0.0/24",
    "host_routes": [{"destination": "203.0.113.0/24", "nexthop": "10.30.0.7"}],
    "gateway": None,
}
OWN = [fixed("10.20.0.5"), fixed("10.20.0.6")]


@pytest.mark.parametrize(
    ("source", "changes", "tolerated"),
    [
        ("10.20.0.5", ([*OWN, SECOND], OWN[:1], OWN, [OWN[1], OWN[0]], [SECOND, OWN[0]]), 0),
        # The kernel takes the routes of a subnet's other addresses away for a moment when the first address goes.
        ("10.20.0.6", ([OWN[1], SECOND], OWN[1:]), 2),
    ],
)
def test_traffic_goes_on_while_a_second_subnet_comes_and_addresses_go(
    machine: Machine, source: str, changes: tuple[list[dict[str, Any]], ...], tolerated: int
) -> None:
    """Datagrams every millisecond through eth2 during re-plugs are answered (T68)."""
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.50/24", "dev", peer)
    agent = client(machine)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK | {"fixed_ips": OWN}).status_code == 202
    counts: list[int] = []
    stop = threading.Event()
    with echo(machine.outside, "10.20.0.50", 5001):
        assert ask(machine.paths.netns, source, ("10.20.0.50", 5001))
        thread = threading.Thread(target=lambda: counts.extend(stream(machine.paths.netns, source, stop)))
        thread.start()
        for mtu, fixed_ips in enumerate(changes, start=1400):
            body = PLUG_NETWORK | {"fixed_ips": fixed_ips, "mtu": mtu}
            assert agent.post("/1.0/plug/network", json=body).status_code == 202
        stop.set()
        thread.join()
    sent, answered = counts
    assert sent > len(changes)
    assert sent - answered <= tolerated


def stream(namespace: Path, source: str, stop: threading.Event) -> tuple[int, int]:
    """Return how many datagrams were sent until the end, and how many of them answered."""

    def send_and_count() -> tuple[int, int]:
        sent = answered = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.bind((source, 0))
            asker.settimeout(1)
            while not stop.is_set():
                sent += 1
                with contextlib.suppress(OSError):  # no answer, or no route at this moment
                    asker.sendto(b"%d" % sent, ("10.20.0.50", 5001))
                    asker.recv(16)
                    answered += 1
                stop.wait(0.001)
        return sent, answered

    return netns.inside(namespace, send_and_count)
