"""A member of a UDP listener dies and comes back: clients are moved, the heartbeat says so."""

from __future__ import annotations

import logging
import time

import pytest

from tests.image.flood import PER_SECOND, answers, flooding, udp_servers
from tests.image.listener import Controller, Listener, Member, monitor
from tests.image.machine import TEST_SECONDS, VirtualMachine

LOG = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(TEST_SECONDS)

LISTENER = Listener(id="11111111-1111-4111-8111-111111111155", port=55, monitor=monitor(2))
ALIVE, MORTAL = (Member(11), Member(12)), Member(13)
# Time for two checks, 2 s and 1 s apart, each of which waits a second, and a machine under load.
NOTICE_SECONDS = 60.0


def status(message: dict[str, dict[str, dict[str, dict[str, str]]]], member: Member) -> str:
    """Return what a heartbeat says of a member."""
    return message["pools"].get(LISTENER.pool_id, {}).get("members", {}).get(member.id, "absent")


def wait_for_status(machine: VirtualMachine, wanted: str) -> float:
    """Return after how many seconds the heartbeat says so of the mortal member."""
    began = time.monotonic()
    machine.heartbeats.drain()
    machine.heartbeats.receive_until(lambda message: status(message, MORTAL) == wanted, timeout=NOTICE_SECONDS)
    return time.monotonic() - began


def test_dead_member_leaves_and_returns(machine: VirtualMachine, controller: Controller) -> None:
    members = (*ALIVE, MORTAL)
    with udp_servers(machine, [MORTAL.address]) as mortal, controller.listening(LISTENER, members):
        with flooding(machine, ALIVE, LISTENER.port) as flood:
            wait_for_status(machine, "UP")
            mortal.close()
            down = wait_for_status(machine, "DOWN")
            settled = time.monotonic()
            machine.wait_for(lambda: time.monotonic() > settled + 3, 5, "three seconds of traffic without the member")
            outcome = flood.stop()
        LOG.warning("DOWN %.1f s after its death: %s", down, outcome)
        # Clients that had stuck to it, from unchanging ports too, are served by the others.
        assert not [query for query in outcome.lost_queries if query > outcome.sent - 2 * PER_SECOND]
        assert not outcome.lost_replies
        with udp_servers(machine, [MORTAL.address]):
            LOG.warning("UP %.1f s after its return", wait_for_status(machine, "UP"))
            # The others are gone with the flood: whoever answers is the one that returned.
            machine.wait_for(lambda: answers(machine, LISTENER.port), 20, "an answer of the member that returned")


def test_pool_comes_and_goes(machine: VirtualMachine, controller: Controller) -> None:
    # A tenant makes the listener first, the pool later: until then keepalived has nothing to run.
    full = LISTENER.config(ALIVE)
    bare = full.partition("virtual_server_group")[0]
    controller.apply_udp(LISTENER.id, bare)
    with udp_servers(machine, [member.address for member in ALIVE]):
        for _ in range(2):
            assert not answers(machine, LISTENER.port)
            controller.apply_udp(LISTENER.id, full)
            began = time.monotonic()
            machine.wait_for(lambda: answers(machine, LISTENER.port), 20, "an answer of the new pool")
            LOG.warning("the new pool answers %.1f s after the call", time.monotonic() - began)
            controller.apply_udp(LISTENER.id, bare)
    assert not machine.inside("amphora-haproxy", ["ipvsadm", "-Sn"])
    controller.delete(LISTENER.id)


def test_identical_upload_mends_a_table_that_was_cleared(machine: VirtualMachine, controller: Controller) -> None:
    full = LISTENER.config(ALIVE)
    with udp_servers(machine, [member.address for member in ALIVE]), controller.listening(LISTENER, ALIVE):
        machine.wait_for(lambda: answers(machine, LISTENER.port), 20, "an answer of the pool")
        machine.inside("amphora-haproxy", ["ipvsadm", "-C"])
        assert not answers(machine, LISTENER.port)
        controller.apply_udp(LISTENER.id, full)
        machine.wait_for(lambda: answers(machine, LISTENER.port), 20, "an answer again")


def test_identical_upload_leaves_keepalived_alone(machine: VirtualMachine, controller: Controller) -> None:
    unit = f"octavia-keepalivedlvs@{LISTENER.id}.service"
    config = LISTENER.config(ALIVE)

    def facts() -> tuple[str, str, str]:
        return (
            machine.exec(["systemctl", "show", "--property=MainPID,NRestarts,StateChangeTimestamp", unit]),
            machine.exec(["journalctl", "--no-pager", "--output=cat", "--grep=eload|tart", "--unit", unit]),
            machine.exec(["stat", "--format=%i %Y", f"/var/lib/octavia/lvs/octavia-keepalivedlvs-{LISTENER.id}.conf"]),
        )

    with udp_servers(machine, [member.address for member in ALIVE]), controller.listening(LISTENER, ALIVE):
        before = facts()
        for _ in range(10):
            controller.apply_udp(LISTENER.id, config)
        assert facts() == before
