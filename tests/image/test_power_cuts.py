"""The power goes at random moments during uploads and plugs: what was accepted is on the disk, whole, and serves again.

A running amphora is frozen once, memory and disk; each cut begins with it thawed, so that a cut takes seconds, and ends
with QEMU killed. The disk is looked at as the next boot would find it. After every tenth cut the machine is booted.
`tests/run image --long` tries ten times as many.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import logging
import os
import random
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from testbed.amphora import AMPHORA_ID, LB_ID, SAMPLES
from testbed.waiting import wait_for
from tests.image import built_image, emulator
from tests.image.dead_disk import DeadDisk
from tests.image.emulator import Hardware
from tests.image.flood import answers, udp_servers
from tests.image.listener import FIXED_IPS, PLUG_MEMBERS, PLUG_VIP, Controller, Listener, Member
from tests.image.machine import VirtualMachine

LOG = logging.getLogger(__name__)

CUTS = 200 if os.environ.get("AMPHORA_IMAGE") == "long" else 20
BOOTED = 10
SEED = os.environ.get("AMPHORA_SEED", "155882124")
LONGEST_SECONDS = 4.0
LISTENER = Listener(id="11111111-1111-4111-8111-111111111157", port=57)
HTTP = (SAMPLES / "haproxy/01-http-basic.cfg").read_text()
# Kind of change -> its file, and where the file tells the number of the change.
FILES = {
    "haproxy": (f"/var/lib/octavia/{LB_ID}/haproxy.cfg", r"(?<=timeout client )\d+"),
    "udp": (f"/var/lib/octavia/lvs/octavia-keepalivedlvs-{LISTENER.id}.conf", r"(?<=weight )\d+"),
    "network": ("/etc/octavia/interfaces/eth2.json", r"(?<=10\.20\.1\.)\d+"),
    "config": ("/etc/octavia/amphora-agent.conf", r"(?<=# change )\d+"),
}

pytestmark = pytest.mark.timeout(1800 + 60 * CUTS)


@dataclass(slots=True)
class Ledger:
    """Kind of change -> the number of the last one that was asked for, and of the last one that was accepted."""

    asked: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    refused: list[object] = field(default_factory=list)


def change(machine: VirtualMachine, controller: Controller, ledger: Ledger, kind: str, number: int) -> None:
    """Ask for a change, and enter what becomes of it."""
    another: dict[str, object] = {
        "ip_address": f"10.20.1.{number}",
        "subnet_cidr": "10.20.1.0/24",
        "gateway": None,
        "host_routes": [],
    }
    method, path, body, document = {
        "haproxy": (
            "PUT",
            f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy",
            HTTP.replace("timeout client 50000", f"timeout client {number}"),
            None,
        ),
        "udp": (
            "PUT",
            f"/1.0/listeners/{AMPHORA_ID}/{LISTENER.id}/udp_listener",
            LISTENER.config([Member(11, weight=number)]),
            None,
        ),
        "network": ("POST", "/1.0/plug/network", None, {**PLUG_MEMBERS, "fixed_ips": [*FIXED_IPS, another]}),
        "config": ("PUT", "/1.0/config", f"# change {number}\n{machine.config()}", None),
    }[kind]
    ledger.asked[kind] = number
    reply = controller.call(method, path, body, document=document)
    if reply.status in {200, 202}:
        ledger.accepted[kind] = number
    else:
        ledger.refused.append((kind, reply))


def follow(controller: Controller) -> None:
    """Have the daemons take what was uploaded."""
    for object_id in (LB_ID, LISTENER.id):
        controller.call("PUT", f"/1.0/loadbalancer/{object_id}/reload")


def all_changes(machine: VirtualMachine, controller: Controller, ledger: Ledger, number: int) -> None:
    for kind in FILES:
        change(machine, controller, ledger, kind, number)
    follow(controller)


def change_until_cut(machine: VirtualMachine, ledger: Ledger) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        controller = Controller(machine)
        for number in itertools.count(2):
            all_changes(machine, controller, ledger, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A running amphora that is frozen, and its files, the numbers of the changes left out."""

    machine: VirtualMachine
    ledger: Ledger
    shapes: dict[str, str]


def shape(kind: str, text: str) -> str:
    """Return a file with a 0 in place of the change's number."""
    return re.sub(FILES[kind][1], "0", text)


@pytest.fixture(scope="module")
def frozen() -> Iterator[Frozen]:
    if (reason := built_image.reason_against()) is not None:
        pytest.skip(f"image rung: {reason}")
    with VirtualMachine(hardware=Hardware(memory_mib=512), has_world=True) as machine:
        machine.boot()
        machine.wait_for(machine.agent_answers, 300, "the agent")
        controller, ledger = Controller(machine), Ledger()
        controller.expect(202, "POST", "/1.0/plug/vip/10.10.0.100", document=PLUG_VIP)
        all_changes(machine, controller, ledger, 1)
        assert ledger.refused == []
        controller.close()
        shapes = {kind: shape(kind, machine.exec(["cat", path])) for kind, (path, _) in FILES.items()}
        machine.freeze()
        yield Frozen(machine=machine, ledger=ledger, shapes=shapes)


def found_numbers(frozen: Frozen, disk: DeadDisk) -> dict[str, int]:
    """Return the number of the change that each file is of, having checked that the file is whole."""
    found = {}
    for kind, (path, number) in FILES.items():
        text = disk.read(path)
        assert shape(kind, text) == frozen.shapes[kind], (kind, text)
        found[kind] = int(re.findall(number, text)[0])
    return found


def cut(frozen: Frozen, after: float) -> tuple[Ledger, dict[str, int]]:
    """Take the power away so many seconds after the first change is begun; return what was told and what is left."""
    machine = frozen.machine
    ledger = Ledger(dict(frozen.ledger.asked), dict(frozen.ledger.accepted))
    machine.thaw()
    machine.wait_for(machine.agent_answers, 120, "the thawed agent")
    changes = threading.Thread(target=change_until_cut, args=(machine, ledger))
    changes.start()
    wait_for(lambda: ledger.asked != frozen.ledger.asked, "the first change")
    changes.join(after)
    machine.switch_off()
    changes.join()
    disk = DeadDisk.take_out(machine.directory / emulator.DISK, machine.directory / "dead.raw")
    disk.replay()
    found = found_numbers(frozen, disk)
    disk.path.unlink()
    return ledger, found


def check_booted(machine: VirtualMachine, found: dict[str, int]) -> None:
    """Check that everything serves again as the disk has it, without a word of the controller."""
    machine.boot()
    machine.wait_for(machine.agent_answers, 300, "the agent")
    with udp_servers(machine, [Member(11).address]):
        machine.wait_for(lambda: answers(machine, LISTENER.port), 120, "an answer through the VIP")
    machine.heartbeats.drain()
    machine.heartbeats.receive_until(
        lambda message: len([entry for entry in message["listeners"].values() if entry["status"] == "OPEN"]) == 2,
        timeout=120,
    )
    addresses = json.loads(machine.inside("amphora-haproxy", ["ip", "-json", "address", "show", "eth2"]))
    assert f"10.20.1.{found['network']}" in {entry["local"] for entry in addresses[0]["addr_info"]}
    running = machine.request("GET", f"/1.0/loadbalancer/{LB_ID}/haproxy").body.decode()
    assert f"timeout client {found['haproxy']}\n" in running
    leftovers = machine.exec(["find", "/etc/octavia", "/var/lib/octavia", "-name", "*.agent-tmp"])
    assert leftovers == ""
    machine.switch_off()


def test_what_was_accepted_survives_every_cut(frozen: Frozen) -> None:
    dice = random.Random(f"{SEED} cuts")  # noqa: S311 - to be repeated, not to be secret
    changes = 0
    for number in range(CUTS):
        ledger, found = cut(frozen, dice.uniform(0.0, LONGEST_SECONDS))
        assert ledger.refused == []
        for kind in FILES:
            assert ledger.accepted[kind] <= found[kind] <= ledger.asked[kind], (number, kind, found, ledger)
        changes += sum(ledger.accepted.values()) - len(FILES)
        if number % BOOTED == 0:
            check_booted(frozen.machine, found)
    LOG.warning("%d cuts, %d changes accepted before them", CUTS, changes)
    assert changes > 0
