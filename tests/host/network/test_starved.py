"""Without a free descriptor every door to the network fails as the machine's failure, by its own words."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest

from testbed.namespaces import Namespace, unique

SCRIPT = """
import json, os, resource, sys
from ipaddress import ip_address
from pathlib import Path
import pyroute2, pyroute2.netlink.exceptions
from amphora_agent.errors import HostFailure
from amphora_agent.host import commands, locks
from amphora_agent.host.network import advertise, netlink, netns, nft, state

own = Path("/proc/self/ns/net")
def enter(manager):
    with manager:
        pass
doors = {
    "mac_addresses": netlink.mac_addresses,
    "link_counters": lambda: netlink.link_counters(own),
    "link_states": state.link_states,
    "connect": lambda: enter(netlink.connect()),
    "link_events": lambda: enter(netlink.link_events()),
    "inside": lambda: netns.inside(own, int),
    "inside_all": lambda: netns.inside(own, state.link_states),
    "ensure": lambda: netns.ensure(Path(sys.argv[1])),
    "arp": lambda: advertise.send("lo", bytes(6), ip_address("127.0.0.1")),
    "na": lambda: advertise.send("lo", bytes(6), ip_address("::1")),
    "nft": lambda: nft.load(""),
    "lock": lambda: enter(locks.exclusive(Path("/tmp"), timeout=0.1)),
}
with netlink.connect() as kernel:  # whatever it imports at the first use
    kernel.links()
found = {}
held = []
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
for spare in (0, 1, 2):
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for _ in range(spare):
        os.close(held.pop())
    for name, door in doors.items():
        try:
            door()
            outcome = "done"
        except HostFailure:
            outcome = "HostFailure"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        found.setdefault(name, []).append(outcome)
for handle in held:
    os.close(handle)
print(json.dumps(found))
"""


@pytest.mark.hardening("C13")
@pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")
def test_every_door_fails_as_the_machine_s_failure() -> None:
    never_made = Namespace(unique("starved"))
    with contextlib.closing(never_made):  # unless it could be made after all
        command = [sys.executable, "-c", SCRIPT, str(never_made.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    odd = {name: set(outcomes) - {"done", "HostFailure"} for name, outcomes in found.items()}
    assert {name: outcomes for name, outcomes in odd.items() if outcomes} == {}
    assert all(outcomes[0] == "HostFailure" for outcomes in found.values()), found
