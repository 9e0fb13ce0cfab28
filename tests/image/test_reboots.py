"""UDP listeners after a reboot and after a power cut: as they were, soon, and without a controller."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from tests.image.flood import answers, begin, udp_servers
from tests.image.listener import VIP, Controller, Listener, Member, monitor
from tests.image.machine import GUEST_DIRECTORY, TEST_SECONDS, VirtualMachine

LOG = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(TEST_SECONDS)

LISTENER = Listener(id="11111111-1111-4111-8111-111111111156", port=56, monitor=monitor(2))
MEMBERS = (Member(11), Member(12))
# More datagrams than an emulated machine sends while its interfaces come up.
MANY = 10_000_000
CONNTRACK = ("env", f"LD_LIBRARY_PATH={GUEST_DIRECTORY}", f"{GUEST_DIRECTORY}/conntrack")


@pytest.mark.parametrize("way", [VirtualMachine.reboot, VirtualMachine.cut_power])
def test_udp_listener_comes_back(way: Callable[[VirtualMachine], None], machine: VirtualMachine) -> None:
    controller = Controller(machine)
    controller.apply_udp(LISTENER.id, LISTENER.config(MEMBERS[:1]))
    # Answered and at once on the disk: not a moment later the power goes.
    controller.apply_udp(LISTENER.id, LISTENER.config(MEMBERS))
    controller.close()
    way(machine)
    began = time.monotonic()
    with udp_servers(machine, [member.address for member in MEMBERS]):
        machine.wait_for(lambda: answers(machine, LISTENER.port), 120, "an answer through the VIP")
        answered = time.monotonic() - began
        machine.heartbeats.drain()
        wanted = {member.id: "UP" for member in MEMBERS}
        machine.heartbeats.receive_until(
            lambda message: message["pools"].get(LISTENER.pool_id, {}).get("members") == wanted, timeout=120
        )
    LOG.warning("commands %.1f s after the order, UDP %.1f s later", machine.boot_seconds, answered)
    machine.wait_for(machine.agent_answers, 90, "the agent")
    Controller(machine).delete(LISTENER.id)


def test_no_flow_is_remembered_from_before_the_masquerading(machine: VirtualMachine) -> None:
    """A client that asked from the same port all along would be forwarded, but never masqueraded."""
    machine.exec(["amphora-interface", "down", "all"])
    machine.inside("amphora-haproxy", ["nft", "flush", "ruleset"])
    machine.inside("amphora-haproxy", [*CONNTRACK, "--flush"])
    impatient = begin(machine, "client", "udp_bulk.py", VIP, str(LISTENER.port), str(MANY), "32")
    try:
        machine.exec(["amphora-interface", "up", "all"])
        remembered = [*CONNTRACK, "--dump", "--proto", "udp", "--orig-port-dst", str(LISTENER.port)]
        flows = [line for line in machine.inside("amphora-haproxy", remembered).splitlines() if "sport=" in line]
    finally:
        impatient.close()
    assert flows == []
