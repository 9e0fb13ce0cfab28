"""The kernel's IPVS table is read and repaired by the agent's own code, in a namespace of the machine's own kernel."""

from __future__ import annotations

import json

from tests.image.machine import VirtualMachine

_SCRIPT = """
import json
from ipaddress import ip_address
from pathlib import Path
from amphora_agent.core.keepalived.ipvs import Endpoint, Protocol, ServiceKey
from amphora_agent.core.keepalived.lvs_change import AddDestination, RemoveDestination, RemoveService
from amphora_agent.host.keepalived import ipvs

path = Path("/run/netns/ipvs")
service = ServiceKey(Protocol.UDP, Endpoint(ip_address("192.0.2.1"), 53))
members = tuple(Endpoint(ip_address(f"198.51.100.{number}"), 53) for number in (1, 2))

def weights():
    table = ipvs.read(path)
    found = table[service].destinations if service in table else {}
    return {str(endpoint.address): destination.weight for endpoint, destination in found.items()}

seen = [weights()]
steps = tuple(AddDestination(service, member, 3, 98) for member in members)
for some in ((*steps, *steps), (RemoveDestination(service, members[0]),) * 2, (RemoveService(service),) * 2):
    ipvs.perform(path, some)
    seen.append(weights())
print(json.dumps([*seen, len(ipvs.read(path))]))
"""


def test_table_is_read_and_repaired(machine: VirtualMachine) -> None:
    machine.exec(["ip", "netns", "add", "ipvs"])
    # Without any local address there is no table to tell that a destination is none: every one would be refused.
    machine.inside("ipvs", ["ip", "link", "set", "lo", "up"])
    machine.inside("ipvs", ["ipvsadm", "-A", "-u", "192.0.2.1:53", "-s", "wrr"])
    seen = json.loads(machine.exec(["env", "PYTHONPATH=/opt/amphora-agent", "python3", "-c", _SCRIPT]))
    machine.exec(["ip", "netns", "delete", "ipvs"])
    # Each change is asked for twice: what is there already, or gone already, is fine.
    assert seen == [{}, {"198.51.100.1": 3, "198.51.100.2": 3}, {"198.51.100.2": 3}, {}, 0]
