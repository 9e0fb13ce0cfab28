"""Our agent put in the place of Octavia's own, and back, by the commands of docs/upgrade.md under traffic.

$AMPHORA_UPGRADE_FROM names the releases, separated by commas: 19.0.0 by default.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from testbed.amphora import LB_ID, SAMPLES
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.pki import Pki
from testbed.scenario import MEMBER_IDS, VIP
from testbed.web_server import get
from tests.container.existing_agent import existing_agent
from tests.container.load_balancer import (
    UNIT,
    LoadBalancer,
    Traffic,
    basic_config,
    daemons,
    load_balancer,
)
from tests.container.machine import CLIENT_ADDRESS, CONFIG, HEARTBEAT_KEY, HEARTBEAT_PORT, REPOSITORY, Machine

RELEASES = os.environ.get("AMPHORA_UPGRADE_FROM", "19.0.0").split(",")
AGENT, KEEPALIVED = "amphora-agent.service", "octavia-keepalived.service"
FOREIGN = f"haproxy-{LB_ID}.service"
UPGRADE, WAY_BACK = "Upgrade one amphora", "The way back of one amphora"
LISTENER_ID = re.findall(r"^frontend (\S+)", basic_config(), re.MULTILINE)[0]
FACTS = (
    "hostname",
    "haproxy_version",
    "api_version",
    "haproxy_count",
    "listeners",
    "lvs_listener_process_count",
    "keepalived_version",
    "ipvsadm_version",
    "cpu_count",
    "topology_status",
)
# A client may take its time, as one does whose request lasts as long as the way back.
PATIENT = basic_config().replace("timeout client 50000", "timeout client 500000")
LISTED = [{"status": "ACTIVE", "type": "HTTP", "uuid": LISTENER_ID}]
CERTIFICATE = f"/1.0/loadbalancer/{LB_ID}/certificates/{LISTENER_ID}.pem"


def start_vrrp(machine: Machine) -> None:
    assert machine.request("PUT", "/1.0/vrrp/upload", (SAMPLES / "vrrp/01-ipv4-master.conf").read_text()).status == 200
    assert machine.request("PUT", "/1.0/vrrp/start").status == 202


def follow_page(machine: Machine, section: str) -> None:
    """Give the commands of a section of the page, all indented lines, on the machine; none may fail."""
    text = (REPOSITORY / "docs/upgrade.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    commands = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    done = machine.try_exec(["bash", "-e", "-x"], stdin=commands, timeout=120)
    assert done.returncode == 0, done.stdout
    machine.wait_for_agent(60)


def is_ours(machine: Machine) -> bool:
    """Tell whether the agent that answers is ours: the other one has no API 2.0."""
    return machine.request("GET", "/2.0/loadbalancers").status == 200


def details(machine: Machine) -> dict[str, object]:
    """Return what `GET details` says that no upgrade changes."""
    answer = machine.request("GET", "/1.0/details").json()
    return {key: answer[key] for key in FACTS} | {"networks": sorted(answer["networks"])}


def without_last_member(text: str) -> str:
    last = [line for line in text.splitlines(keepends=True) if line.lstrip().startswith("server ")][-1]
    return text.replace(last, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A load balancer that the existing agent made, and what may change by no upgrade."""

    balancer: LoadBalancer
    certificate: bytes
    facts: Mapping[str, object]

    def upgrade(self) -> None:
        """Follow the page to our agent, which knows all there is."""
        machine = self.balancer.machine
        before = daemons(machine, "haproxy", "keepalived")
        follow_page(machine, UPGRADE)
        assert is_ours(machine)
        self.assert_same()
        assert daemons(machine, "haproxy", "keepalived") == before

    def go_back(self) -> None:
        """Follow the page to the existing agent, which knows all there is; keepalived goes on."""
        machine = self.balancer.machine
        keepalived = daemons(machine, "keepalived")
        follow_page(machine, WAY_BACK)
        assert not is_ours(machine)
        self.assert_same()
        assert daemons(machine, "keepalived") == keepalived

    def assert_same(self) -> None:
        """Ask the agent that runs now for everything, and wait for a heartbeat of it."""
        machine = self.balancer.machine
        assert details(machine) == self.facts
        assert machine.request("GET", "/1.0/listeners").json() == LISTED
        md5 = hashlib.md5(self.certificate, usedforsecurity=False).hexdigest()
        assert machine.request("GET", CERTIFICATE).json() == {"md5sum": md5}
        with HeartbeatReceiver.listen(machine.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver:
            receiver.receive_until(has_both_members, timeout=60)


def has_both_members(message: Any) -> bool:
    members = [member for pool in message["pools"].values() for member in pool["members"]]
    return set(members) == set(MEMBER_IDS) and message["listeners"][LISTENER_ID]["status"] == "OPEN"


@pytest.fixture(params=RELEASES)
def story(request: pytest.FixtureRequest) -> Iterator[Story]:
    with (
        existing_agent(request.param, CONFIG.replace("SINGLE", "ACTIVE_STANDBY")) as machine,
        load_balancer(machine, before_apply=start_vrrp) as balancer,
    ):
        certificate = Pki.mint("www.example.com").server
        assert machine.request("PUT", CERTIFICATE, certificate).status == 200
        made = Story(balancer=balancer, certificate=certificate, facts=details(machine))
        made.assert_same()
        yield made


def test_there_and_back(story: Story) -> None:
    balancer, machine = story.balancer, story.balancer.machine
    with Traffic(balancer, may_close=True) as traffic:
        before = daemons(machine, "haproxy", "keepalived")
        assert len(before) == 4
        story.upgrade()
        story.go_back()
        assert daemons(machine, "haproxy", "keepalived") == before
        story.upgrade()
        machine.wait_for(lambda: namespace_sysctl(machine, "net.ipv4.tcp_migrate_req") == "1", 20, "our settings")
        change_members(balancer)
        ours = machine.main_pid(UNIT)
        assert machine.unit_property(UNIT, "Restart") == "always"
        balancer.apply(basic_config())
        balancer.apply(PATIENT)
        assert machine.main_pid(UNIT) == ours
        story.assert_same()
    assert traffic.failures == []
    assert min(traffic.answers.values()) > 0
    for action in ("stop", "start"):
        assert machine.request("PUT", f"/1.0/loadbalancer/{LB_ID}/{action}").status == 202
        assert balancer.answers() is (action == "start")
    machine.reboot()
    machine.wait_for_agent(60)
    balancer.seconds_until_answer(machine.boot_started, limit=60)
    story.assert_same()
    with Traffic(balancer, may_close=True) as traffic:
        half = balancer.begin_request()
        story.go_back()
        assert balancer.finish_request(half) == 200
        machine.wait_for(lambda: machine.main_pid(UNIT) == 0, 20, "the end of our HAProxy")
        balancer.apply(without_last_member(PATIENT))
        # The existing agent does not wait until the new worker alone listens.
        machine.wait_for(lambda: {get(balancer.clients, VIP, 80) for _ in range(10)} == {"web1"}, 20, "one member")
    assert traffic.failures == []
    assert min(traffic.answers.values()) > 0
    assert machine.request("DELETE", f"/1.0/listeners/{LB_ID}").status == 200
    assert not daemons(machine, "haproxy")


def change_members(balancer: LoadBalancer) -> None:
    """Have our HAProxy take over from the other one, which ends with the request that it serves."""
    machine = balancer.machine
    half = balancer.begin_request()
    balancer.apply(without_last_member(basic_config()))
    assert {get(balancer.clients, VIP, 80) for _ in range(10)} == {"web1"}
    assert balancer.finish_request(half) == 200
    machine.wait_for(lambda: machine.main_pid(FOREIGN) == 0, 20, "the end of the other HAProxy")


def namespace_sysctl(machine: Machine, name: str) -> str:
    return machine.exec(["ip", "netns", "exec", "amphora-haproxy", "sysctl", "-n", name]).strip()
