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
# A tenth more than 4 GiB.
DATAGRAMS, PAYLOAD = 74_000, 64_000
# Column of `ipvsadm --stats`: protocol, address, connections, packets in and out, bytes in and out.
IN_BYTES = 5
LARGEST_MTU = 65535
LINKS = (("client", "eth0"), ("amphora-haproxy", "eth1"), ("amphora-haproxy", "eth2"), ("members", "eth0"))


def test_more_than_4_gib_between_two_heartbeats_are_counted(machine: VirtualMachine, controller: Controller) -> None:
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
        bulk = (VIP, str(LISTENER.port), str(DATAGRAMS), str(PAYLOAD))
        begin(machine, "client", "udp_bulk.py", *bulk).finish(timeout=240)
        LOG.warning("%d datagrams sent in %.1f s", DATAGRAMS, time.monotonic() - began)
        machine.exec(["systemctl", "start", "amphora-heartbeat"])
        heard = machine.heartbeats.receive_until(lambda message: LISTENER.id in message["listeners"], timeout=60)
        # Some may be lost on the way to the VIP.
        kernel = machine.inside("amphora-haproxy", ["ipvsadm", "-Ln", "--stats", "--exact"])
    service = next(line.split() for line in kernel.splitlines() if f"{VIP}:{LISTENER.port}" in line)
    assert int(service[IN_BYTES]) > 1 << 32, kernel
    assert heard.message["listeners"][LISTENER.id]["stats"]["rx"] == int(service[IN_BYTES]), kernel
