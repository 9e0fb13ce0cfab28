"""Octavia's own driver makes, changes and deletes a UDP listener, as its renderer writes it, on a kernel with IPVS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import octavia_venv
from testbed.amphora import AMPHORA_ID
from testbed.scenario import LISTENER_ID
from tests.compat.controller import OctaviaController, listener, member, pool, row, world
from tests.image.flood import answers, udp_servers
from tests.image.listener import MEMBER_PORT
from tests.image.machine import TEST_SECONDS, VirtualMachine

pytestmark = pytest.mark.timeout(TEST_SECONDS)

UDP_ID = "a1b2c3d4-0000-4000-8000-000000000056"
POOL_ID = "a1b2c3d4-0000-4000-8000-000000000156"
MEMBERS = {
    "a1b2c3d4-0000-4000-8000-00000000000b": "10.20.0.11",
    "a1b2c3d4-0000-4000-8000-00000000000c": "10.20.0.12",
}
PORT = 56


@pytest.fixture
def octavia(machine: VirtualMachine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OctaviaController]:
    """Octavia's classes, their database with one amphora in it: the machine."""
    python = octavia_venv.install() / "bin" / "python"
    with OctaviaController(python, tmp_path_factory.mktemp("octavia")) as controller:
        controller.attach_to(machine.directory, machine.agent_port)
        controller.call("insert", rows=world(monitor=False))
        controller.call("update", model="Amphora", key=AMPHORA_ID, columns={"lb_network_ip": "127.0.0.1"})
        yield controller


def test_a_udp_listener_from_creation_to_deletion(machine: VirtualMachine, octavia: OctaviaController) -> None:
    def servers() -> int:
        return machine.inside("amphora-haproxy", ["ipvsadm", "-Sn"]).count(f":{MEMBER_PORT} ")

    def statuses() -> dict[str, str]:
        found = octavia.call("status", model="Member")
        return {key: found[key] for key in MEMBERS if key in found}

    (first, address), (second, other) = MEMBERS.items()
    rows = [pool(POOL_ID, protocol="UDP"), member(first, POOL_ID, address, port=MEMBER_PORT)]
    octavia.call("insert", rows=rows)
    octavia.call("insert", rows=[listener(UDP_ID, protocol="UDP", port=PORT, default_pool_id=POOL_ID)])
    octavia.update_listeners()
    assert servers() == 1
    with udp_servers(machine, list(MEMBERS.values())):
        machine.wait_for(lambda: answers(machine, PORT), 20, "an answer through the VIP")
        octavia.call("insert", rows=[member(second, POOL_ID, other, port=MEMBER_PORT)])
        octavia.update_listeners()
        assert servers() == 2
        machine.heartbeats.drain()
        heard = machine.heartbeats.receive_until(
            lambda message: any(len(entry["members"]) == 2 for entry in message["pools"].values()), timeout=30
        )
        octavia.heartbeat(heard.envelope)
        assert statuses() == dict.fromkeys(MEMBERS, "NO_MONITOR")
        octavia.call("remove", model="Member", key=first)
        octavia.update_listeners()
        assert servers() == 1
        assert answers(machine, PORT)
    octavia.drive("delete", row("Listener", UDP_ID))
    octavia.drive("delete", row("Listener", LISTENER_ID))
    assert machine.request("GET", "/1.0/listeners").json() == []
    assert servers() == 0
