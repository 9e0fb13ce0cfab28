"""Counters of UDP listeners are 64 bits wide, from the kernel to the datagram."""

from __future__ import annotations

import logging
import time

import pytest

from tests.image.flood import begin, udp_servers
from tests.image.listener import VIP, Controller, Listener, Member
from tests.image.machine import TEST_SECONDS, VirtualMachine

LOG = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(TEST_SECONDS)

LISTENER = Listener(id="11111111-1111-4111-8111-111111111154", port=54)
MEMBER = Member(11)
DATAGRAMS, PAYLOAD = 68_000, 64_000
HEADERS = 28
LARGEST_MTU = 65535
LINKS = (("client", "eth0"), ("amphora-haproxy", "eth1"), ("amphora-haproxy", "eth2"), ("members", "eth0"))


def test_more_than_4_gib_between_two_heartbeats_are_counted(machine: VirtualMachine, controller: Controller) -> None:
    wanted = DATAGRAMS * (PAYLOAD + HEADERS)
    assert wanted > 1 << 32
    links = [f"ip -n {namespace} link set {name} mtu {LARGEST_MTU}" for namespace, name in LINKS]
    machine.exec(["sh", "-ec", "\n".join(links)])
    with controller.listening(LISTENER, [MEMBER]), udp_servers(machine, [MEMBER.address]):
        machine.heartbeats.drain()
        first = machine.heartbeats.receive_until(lambda message: LISTENER.id in message["listeners"])
        assert first.message["listeners"][LISTENER.id]["stats"]["rx"] == 0
        # One heartbeat shall have to carry it all.
        machine.exec(["systemctl", "stop", "amphora-heartbeat"])
        machine.heartbeats.drain()
        began = time.monotonic()
        begin(machine, "client", "udp_bulk.py", VIP, "54", str(DATAGRAMS), str(PAYLOAD)).finish(timeout=240)
        LOG.warning("%.1f GiB through the VIP in %.1f s", wanted / 2**30, time.monotonic() - began)
        machine.exec(["systemctl", "start", "amphora-heartbeat"])
        heard = machine.heartbeats.receive_until(lambda message: LISTENER.id in message["listeners"], timeout=60)
        kernel = machine.inside("amphora-haproxy", ["ipvsadm", "-Ln", "--stats", "--exact"])
    assert heard.message["listeners"][LISTENER.id]["stats"]["rx"] == wanted, kernel
