"""A small amphora in trouble: 256 MB of memory, a config drive of vfat, a clock ten years fast, a full disk."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from testbed.amphora import AMPHORA_ID, LB_ID, SAMPLES
from tests.image import built_image
from tests.image.emulator import Bus, Hardware
from tests.image.flood import answers, udp_servers
from tests.image.listener import PLUG_MEMBERS, PLUG_VIP, Controller, Listener, Member
from tests.image.machine import TEST_SECONDS, VirtualMachine

pytestmark = pytest.mark.timeout(TEST_SECONDS)

LISTENER = Listener(id="11111111-1111-4111-8111-111111111158", port=58)
HTTP = (SAMPLES / "haproxy/01-http-basic.cfg").read_text()
# All at once but for the last MiB, and that to the last block.
FILL = """
fallocate -l $(($(df --output=avail -B 1 / | tail -n 1) - 1048576)) /var/full
dd if=/dev/zero of=/var/fuller bs=4096
"""
UPLOAD = f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy"


@pytest.fixture(scope="module")
def small() -> Iterator[VirtualMachine]:
    if (reason := built_image.reason_against()) is not None:
        pytest.skip(f"image rung: {reason}")
    hardware = Hardware(drive=Bus.VFAT, memory_mib=256, clock="2036-01-01T00:00:00")
    with VirtualMachine(hardware=hardware, has_world=True) as machine:
        machine.boot()
        yield machine


def test_a_wrong_clock_is_told_and_silences_no_heartbeat(small: VirtualMachine) -> None:
    small.heartbeats.receive(timeout=60)
    # To a clock ten years fast, the controller's certificate has expired.
    small.wait_for(
        lambda: not small.agent_answers() and "certificate has expired" in small.journal("-u", "amphora-agent"),
        60,
        "the line",
    )
    small.exec(["date", "--set", f"@{int(time.time())}"])
    small.wait_for(small.agent_answers, 60, "the agent")
    small.heartbeats.drain()
    small.heartbeats.receive(timeout=60)


def test_a_load_balancer_fits_into_256_mb(small: VirtualMachine) -> None:
    controller = Controller(small)
    controller.expect(202, "POST", "/1.0/plug/vip/10.10.0.100", document=PLUG_VIP)
    controller.expect(202, "POST", "/1.0/plug/network", document=PLUG_MEMBERS)
    controller.apply_http(HTTP)
    controller.apply_udp(LISTENER.id, LISTENER.config([Member(11)]))
    with udp_servers(small, [Member(11).address]):
        small.wait_for(lambda: answers(small, LISTENER.port), 120, "an answer through the VIP")
    assert "Out of memory" not in small.exec(["dmesg"])


def test_a_full_disk_refuses_changes_and_loses_nothing(small: VirtualMachine) -> None:
    controller = Controller(small)
    before = controller.expect(200, "GET", f"/1.0/loadbalancer/{LB_ID}/haproxy").body
    small.begin(["sh", "-c", FILL]).outcome()
    controller.expect(500, "PUT", UPLOAD, HTTP.replace("timeout client 50000", "timeout client 40000"))
    assert controller.expect(200, "GET", f"/1.0/loadbalancer/{LB_ID}/haproxy").body == before
    with udp_servers(small, [Member(11).address]):
        assert answers(small, LISTENER.port)
    small.heartbeats.drain()
    small.heartbeats.receive_until(lambda message: len(message["listeners"]) > 1, timeout=60)
    small.exec(["rm", "/var/full", "/var/fuller"])
    controller.apply_http(HTTP.replace("timeout client 50000", "timeout client 40000"))
