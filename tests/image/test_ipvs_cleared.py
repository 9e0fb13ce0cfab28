"""Somebody clears the kernel's IPVS table: the same upload again brings it back, though nothing changed."""

from __future__ import annotations

import pytest

from tests.image.listener import Controller, Listener, Member
from tests.image.machine import TEST_SECONDS, VirtualMachine

pytestmark = pytest.mark.timeout(TEST_SECONDS)

LISTENER = Listener(id="11111111-1111-4111-8111-111111111157", port=57)
MEMBERS = (Member(11), Member(12, weight=3))


def table(machine: VirtualMachine) -> list[str]:
    """Return the services and their servers as commands that would make them."""
    return sorted(machine.inside("amphora-haproxy", ["ipvsadm", "--save", "--numeric"]).splitlines())


@pytest.mark.hardening("D27")
def test_an_identical_upload_repairs_it(machine: VirtualMachine, controller: Controller) -> None:
    config = LISTENER.config(MEMBERS)
    with controller.listening(LISTENER, MEMBERS):
        made = table(machine)
        assert len(made) == 1 + len(MEMBERS)
        machine.inside("amphora-haproxy", ["ipvsadm", "--clear"])
        assert table(machine) == []
        controller.apply_udp(LISTENER.id, config)
        assert table(machine) == made
