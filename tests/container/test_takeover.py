"""An agent put in another one's place under systemd: what units of that one run is replaced, never doubled."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from testbed.amphora import LB_ID, SAMPLES
from testbed.scenario import VIP
from testbed.web_server import get
from tests.container.load_balancer import (
    UNIT,
    LoadBalancer,
    basic_config,
    daemons,
    load_balancer,
)
from tests.container.machine import CONFIG, Machine

FOREIGN_HAPROXY = f"haproxy-{LB_ID}.service"
FOREIGN_KEEPALIVED = "other-keepalived.service"
GROUP = "/var/lib/octavia/haproxy-default-user-group.conf"
DIRECTORY = f"/var/lib/octavia/{LB_ID}"
VRRP = "/var/lib/octavia/vrrp"
SERVICE = """[Service]
Type={kind}
ExecStart=/usr/sbin/ip netns exec amphora-haproxy {command}
Restart=always
KillMode=mixed
{more}
[Install]
WantedBy=multi-user.target
"""
HAPROXY = SERVICE.format(
    kind="notify",
    command=f"/usr/sbin/haproxy -Ws -f {DIRECTORY}/haproxy.cfg -f {GROUP} -p {DIRECTORY}/{LB_ID}.pid -L peer",
    more="NotifyAccess=all\nLimitNOFILE=200000",
)
KEEPALIVED = SERVICE.format(
    kind="forking",
    command=f"/usr/sbin/keepalived -D -d -f {VRRP}/octavia-keepalived.conf -p {VRRP}/octavia-keepalived.pid",
    more=f"PIDFile={VRRP}/octavia-keepalived.pid",
)


@pytest.fixture
def taken_over() -> Iterator[LoadBalancer]:
    """A load balancer that units of another agent run, and our agent started where that one was."""
    with Machine(config=CONFIG.replace("SINGLE", "ACTIVE_STANDBY")) as machine:
        machine.boot()
        machine.wait_for_agent()
        with load_balancer(machine, before_apply=_start_vrrp) as balancer:
            _hand_over(machine)
            machine.exec(["systemctl", "start", "amphora-agent.service"])
            machine.wait_for_agent()
            balancer.seconds_until_answer(time.monotonic())
            yield balancer


def _start_vrrp(machine: Machine) -> None:
    assert machine.request("PUT", "/1.0/vrrp/upload", (SAMPLES / "vrrp/01-ipv4-master.conf").read_text()).status == 200
    assert machine.request("PUT", "/1.0/vrrp/start").status == 202


def _hand_over(machine: Machine) -> None:
    """Have units of another agent run what is stored, and leave none of our own files behind."""
    ours = (UNIT, "octavia-keepalived.service")
    machine.exec(["systemctl", "stop", "amphora-agent.service", *ours])
    machine.exec(["systemctl", "disable", "--quiet", *ours])
    machine.exec(["rm", "-r", "/var/lib/octavia/agent"])
    # A container may not raise the limit as far as a machine of its own.
    machine.write(GROUP, "global\n    group nogroup\n    no strict-limits\n")
    for unit, text in ((FOREIGN_HAPROXY, HAPROXY), (FOREIGN_KEEPALIVED, KEEPALIVED)):
        machine.write(f"/etc/systemd/system/{unit}", text)
        machine.exec(["systemctl", "daemon-reload"])
        done = machine.try_exec(["systemctl", "enable", "--now", "--quiet", unit])
        assert done.returncode == 0, machine.journal("--unit", unit)


def masters(machine: Machine, name: str) -> list[int]:
    """Return the processes of that name that systemd started."""
    pids = daemons(machine, name)
    parents = {pid: int(machine.exec(["ps", "--format=ppid=", "--pid", str(pid)])) for pid in pids}
    return [pid for pid, parent in parents.items() if parent not in pids]


def has_vip(machine: Machine) -> bool:
    return VIP in machine.exec(["ip", "-n", "amphora-haproxy", "address", "show", "eth1"])


def is_gone(machine: Machine, unit: str) -> bool:
    """Tell whether a unit neither runs nor comes back at the next boot."""
    wanted = machine.exec(["ls", "/etc/systemd/system/multi-user.target.wants"]).split()
    return machine.unit_property(unit, "ActiveState") == "inactive" and unit not in wanted


@pytest.mark.hardening("B3")
def test_a_change_replaces_haproxy_and_a_removed_member_is_gone(taken_over: LoadBalancer) -> None:
    machine = taken_over.machine
    [foreign] = masters(machine, "haproxy")
    assert machine.main_pid(FOREIGN_HAPROXY) == foreign
    text = basic_config()
    last = [line for line in text.splitlines(keepends=True) if line.lstrip().startswith("server ")][-1]
    half, never_finished = taken_over.begin_request(), taken_over.begin_request()
    taken_over.apply(text.replace(last, ""))
    assert set(masters(machine, "haproxy")) == {foreign, machine.main_pid(UNIT)}
    assert taken_over.finish_request(half) == 200
    assert {get(taken_over.clients, VIP, 80) for _ in range(20)} == {"web1"}
    with never_finished:
        assert machine.unit_property(FOREIGN_HAPROXY, "ActiveState") == "deactivating"
        assert machine.request("DELETE", f"/1.0/listeners/{LB_ID}").status == 200
    assert daemons(machine, "haproxy") == {}
    assert is_gone(machine, FOREIGN_HAPROXY)
    assert not taken_over.answers()


@pytest.mark.hardening("B3")
@pytest.mark.parametrize("action", ["start", "stop"])
def test_keepalived_is_replaced_or_ended(taken_over: LoadBalancer, action: str) -> None:
    machine = taken_over.machine
    [foreign] = masters(machine, "keepalived")
    assert machine.main_pid(FOREIGN_KEEPALIVED) == foreign
    assert has_vip(machine)
    assert machine.request("PUT", f"/1.0/vrrp/{action}").status == 202
    assert is_gone(machine, FOREIGN_KEEPALIVED)
    if action == "stop":
        assert daemons(machine, "keepalived") == {}
        assert not has_vip(machine)
    else:
        assert masters(machine, "keepalived") == [machine.main_pid("octavia-keepalived.service")]
        machine.wait_for(lambda: has_vip(machine), 30, "the VIP")
