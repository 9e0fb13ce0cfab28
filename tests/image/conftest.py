"""One virtual machine for all tests of this rung; a machine that cannot emulate one skips the rung and says why."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.image import built_image
from tests.image.listener import PLUG_MEMBERS, PLUG_VIP, Controller
from tests.image.machine import VirtualMachine

LOG = logging.getLogger(__name__)

AGENT_SECONDS = 300.0


@pytest.fixture(scope="session")
def machine() -> Iterator[VirtualMachine]:
    """The machine, booted, its agent answering, both NICs plugged."""
    if (reason := built_image.reason_against()) is not None:
        pytest.skip(f"image rung: {reason}")
    with VirtualMachine(has_world=True) as machine:
        machine.boot()
        LOG.warning("commands taken %.1f s after power on", machine.boot_seconds)
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
