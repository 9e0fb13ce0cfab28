"""The image on machines as Nova may make them: firmware, machine type, the bus of the config drive, and NICs.

One combination in every run; `tests/run image --long` tries the others.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from testbed.amphora import SAMPLES
from testbed.scenario import MEMBER_ADDRESSES
from testbed.web_server import WebServer, get
from tests.image import built_image, network
from tests.image.emulator import Bus, Hardware
from tests.image.listener import MEMBER_PORT, PLUG_MEMBERS, PLUG_VIP, VIP, Controller
from tests.image.machine import BOOT_SECONDS, MEMBER_MAC, TEST_SECONDS, VIP_MAC, VirtualMachine
from tests.image.memory import MEMORY_MIB, TELL, used_mib
from tests.image.network import Network

LOG = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(TEST_SECONDS)

HTTP = (SAMPLES / "haproxy/01-http-basic.cfg").read_text()
SERVE_SECONDS = 300.0
# Of a machine started by BIOS it is 100; UEFI and the drivers of q35 take a few more.
USED_MIB = 110
OTHERS = pytest.mark.skipif(os.environ.get("AMPHORA_IMAGE") != "long", reason="only with AMPHORA_IMAGE=long")


@contextlib.contextmanager
def networks() -> Iterator[tuple[Network, Network]]:
    """Have the clients' network and the members', with web servers in it."""
    if (reason := built_image.reason_against() or network.reason_against()) is not None:
        pytest.skip(f"image rung: {reason}")
    with (
        Network.create("clients", "10.10.0.1/24") as clients,
        Network.create("members", *(f"{address}/24" for address in MEMBER_ADDRESSES)) as members,
        contextlib.ExitStack() as stack,
    ):
        for number, address in enumerate(MEMBER_ADDRESSES, start=1):
            stack.enter_context(WebServer(members.namespace, address, MEMBER_PORT, f"web{number}"))
        yield clients, members


def answers(clients: Network) -> bool:
    """Tell whether a member answers at the VIP."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return get(clients.namespace, VIP, 80, timeout=20) in {"web1", "web2"}
    return False


@pytest.mark.parametrize(
    "hardware",
    [
        pytest.param(Hardware(is_q35=True), id="q35, UEFI, SATA CD-ROM"),
        pytest.param(Hardware(is_q35=True, drive=Bus.VIRTIO), id="q35, UEFI, virtio disk", marks=OTHERS),
        pytest.param(Hardware(is_q35=True, drive=Bus.VFAT), id="q35, UEFI, vfat disk", marks=OTHERS),
        pytest.param(Hardware(), id="i440fx, BIOS, IDE CD-ROM", marks=OTHERS),
        pytest.param(Hardware(drive=Bus.VIRTIO), id="i440fx, BIOS, virtio disk", marks=OTHERS),
        pytest.param(Hardware(drive=Bus.VFAT), id="i440fx, BIOS, vfat disk", marks=OTHERS),
    ],
)
def test_it_boots_takes_nics_while_it_runs_serves_and_ends_when_asked(hardware: Hardware) -> None:
    with networks() as (clients, members):
        cables = {VIP_MAC: clients.cable(), MEMBER_MAC: members.cable()}
        hardware = replace(hardware, memory_mib=MEMORY_MIB, cables=cables)
        with VirtualMachine(hardware=hardware, has_kit=False, commands=(TELL,)) as machine:
            # By the answer of the agent, over mutual TLS: it has its files from the config drive.
            machine.boot()
            used = used_mib(machine)
            LOG.warning("%.1f s, %.0f MiB in use", machine.boot_seconds, used)
            assert used <= USED_MIB
            controller = Controller(machine)
            for mac in cables:
                machine.plug(mac)
            controller.expect(202, "POST", "/1.0/plug/vip/10.10.0.100", document=PLUG_VIP)
            controller.expect(202, "POST", "/1.0/plug/network", document=PLUG_MEMBERS)
            controller.apply_http(HTTP)
            machine.wait_for(lambda: answers(clients), SERVE_SECONDS, "an answer through the VIP")
            controller.close()
            machine.press_power_button()
            machine.wait_for(lambda: machine.has_ended, BOOT_SECONDS, "the machine to end")
