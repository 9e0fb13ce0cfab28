"""SCTP for real: the health check against a kernel's own SCTP, and a client's association through the VIP."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.image.flood import begin
from tests.image.listener import MEMBER_PORT, VIP, Controller, Listener, Member, monitor
from tests.image.machine import TEST_SECONDS, VirtualMachine

pytestmark = pytest.mark.timeout(TEST_SECONDS)

LISTENER = Listener(
    id="11111111-1111-4111-8111-111111113868",
    port=3868,
    protocol="SCTP",
    monitor=monitor(2, "amphora-health-checker sctp -t 2"),
)
INIT_ACK, ABORT, TIMEOUT = 0, 1, 2


@contextlib.contextmanager
def sctp_server(machine: VirtualMachine, address: str) -> Iterator[None]:
    """Have an SCTP server in the namespace of the members."""
    server = begin(machine, "members", "sctp_server.py", address, str(MEMBER_PORT))
    with contextlib.closing(server):
        machine.wait_for(lambda: str(MEMBER_PORT) in endpoints(machine), 20, "the SCTP server")
        yield


def endpoints(machine: VirtualMachine) -> str:
    """Return the kernel's list of SCTP servers; it is there once the module is."""
    return machine.inside("members", ["sh", "-c", "cat /proc/net/sctp/eps 2>/dev/null || true"])


def check(machine: VirtualMachine, address: str) -> int:
    """Return the exit code of the health check, as keepalived runs it."""
    command = ["amphora-health-checker", "sctp", "-t", "2", address, str(MEMBER_PORT)]
    return machine.begin(["ip", "netns", "exec", "amphora-haproxy", *command]).outcome()[0]


def test_health_check_tells_a_server_from_a_closed_port_and_from_silence(machine: VirtualMachine) -> None:
    with sctp_server(machine, "10.20.0.11"):
        assert check(machine, "10.20.0.11") == INIT_ACK
        # What the check began is not left half open at the member.
        associations = machine.inside("members", ["cat", "/proc/net/sctp/assocs"]).splitlines()
        assert len(associations) == 1, associations
        assert check(machine, "10.20.0.12") == ABORT
        began = time.monotonic()
        assert check(machine, "10.20.0.99") == TIMEOUT
        assert time.monotonic() - began < 10


def test_association_through_the_vip_and_its_members_health(machine: VirtualMachine, controller: Controller) -> None:
    members = (Member(11), Member(12))

    def statuses(message: dict[str, dict[str, dict[str, dict[str, str]]]]) -> dict[str, str]:
        return message["pools"].get(LISTENER.pool_id, {}).get("members", {})

    with sctp_server(machine, members[0].address), controller.listening(LISTENER, members):
        machine.heartbeats.drain()
        wanted = {members[0].id: "UP", members[1].id: "DOWN"}
        machine.heartbeats.receive_until(lambda message: statuses(message) == wanted, timeout=60)
        client = begin(machine, "client", "sctp_client.py", VIP, "3868", "diameter")
        assert client.finish() == "diameter"
        machine.heartbeats.receive_until(
            lambda message: message["listeners"][LISTENER.id]["stats"]["totconns"] == 1, timeout=10
        )
