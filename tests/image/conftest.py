"""One virtual machine for all tests of this rung; a machine that cannot emulate one skips the rung and says why."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.image import disk
from tests.image.listener import Controller
from tests.image.machine import MEMBER_MAC, VIP_MAC, VirtualMachine

LOG = logging.getLogger(__name__)

AGENT_SECONDS = 90.0
PLUG_VIP = {
    "subnet_cidr": "10.10.0.0/24",
    "gateway": "10.10.0.1",
    "mac_address": VIP_MAC,
    "vrrp_ip": "10.10.0.10",
    "mtu": 1450,
    "host_routes": [],
    "additional_vips": [
        {"ip_address": "2001:db8:10::100", "subnet_cidr": "2001:db8:10::/64", "gateway": None, "host_routes": []}
    ],
}
PLUG_MEMBERS = {
    "mac_address": MEMBER_MAC,
    "fixed_ips": [
        {"ip_address": "10.20.0.5", "subnet_cidr": "10.20.0.0/24", "gateway": None, "host_routes": []},
        {"ip_address": "2001:db8:20::5", "subnet_cidr": "2001:db8:20::/64", "gateway": None, "host_routes": []},
    ],
    "mtu": 1450,
}


@pytest.fixture(scope="session")
def machine() -> Iterator[VirtualMachine]:
    """The machine, booted, its agent answering, both NICs plugged."""
    if (reason := disk.reason_against()) is not None:
        pytest.skip(f"image rung: {reason}")
    with VirtualMachine() as machine:
        machine.boot()
        LOG.warning("disk made in %.1f s, commands taken after %.1f s", machine.disk_seconds, machine.boot_seconds)
        machine.wait_for(machine.agent_answers, AGENT_SECONDS, "the agent")
        controller = Controller(machine)
        controller.expect(202, "POST", "/1.0/plug/vip/10.10.0.100", document=PLUG_VIP)
        controller.expect(202, "POST", "/1.0/plug/network", document=PLUG_MEMBERS)
        controller.close()
        yield machine


@pytest.fixture
def controller(machine: VirtualMachine) -> Iterator[Controller]:
    """The controller's connection to the agent."""
    controller = Controller(machine)
    yield controller
    controller.close()
