"""Each injected fault is named by its check and by no other; a healthy amphora has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Interface, ip_address, ip_interface, ip_network

import pytest

from amphora_agent.core.doctor.checks import CHECKS, DAY
from amphora_agent.core.doctor.facts import Certificate, Facts, FileSystem, Haproxy, Network, Vrrp
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.network.model import (
    Interface,
    InterfaceType,
    Link,
    ObservedRoute,
    ObservedRule,
    Route,
    Rule,
    StaticAddress,
)
from amphora_agent.core.network.nic_list import PluggedNic
from amphora_agent.core.network.unsettled import AddressFlags, LinkState
from amphora_agent.core.settings import Oddity, Settings, Topology

NOW = 1_800_000_000.0
MAC = "fa:16:3e:00:00:01"
VIP = IPv4Address("10.0.0.100")
LB = "25744ac1-3e34-55a2-8441-e585e4cba268"
V6 = IPv6Interface("2001:db8::5/64")

ETH1 = Interface(
    name="eth1",
    type=InterfaceType.VIP,
    addresses=(StaticAddress(ip_interface("10.0.0.5/24")), StaticAddress(V6)),
    routes=(Route(destination=ip_network("0.0.0.0/0"), gateway=ip_address("10.0.0.1")),),
    rules=(Rule(ip_network("10.0.0.5/32")),),
    mtu=1450,
)
STATE = LinkState(
    is_up=True, has_carrier=True, ipv4=frozenset({IPv4Address("10.0.0.5"), VIP}), ipv6={V6: AddressFlags()}
)
NETWORK = Network(
    plugged=(PluggedNic(MAC, "eth1"),),
    desired=(ETH1,),
    links=(Link(index=3, name="eth1", mac=MAC, mtu=1450, is_up=True),),
    states={"eth1": STATE},
    routes=(
        ObservedRoute(destination=ip_network("0.0.0.0/0"), gateway=ip_address("10.0.0.1"), interface=3, protocol=4),
    ),
    rules=(ObservedRule(source=ip_network("10.0.0.5/32"), table=1, priority=32000, protocol=4),),
    conntrack=(10, 1000),
)
DISK = FileSystem(path="/", use="the system", is_memory=False, size=1000, free=500, files=100, free_files=50)
SETTINGS = Settings(
    heartbeat_key="k",
    controller_ip_port_list=("192.0.2.1:5555",),
    amphora_id="badf474f-b45d-5d8b-80bb-35dbe5e8281e",
    loadbalancer_topology=Topology.ACTIVE_STANDBY,
)
HEALTHY = Facts(
    now=NOW,
    settings=SETTINGS,
    file_systems=(DISK, replace(DISK, path="/run", use="sockets", is_memory=True)),
    network=NETWORK,
    heartbeat_troubles={"heartbeat size": "needs IP fragments to reach the controllers"},
    haproxies=(Haproxy(loadbalancer=LB, needs=10 << 20, old_workers=(60, 120)),),
    haproxy_version=Version(2, 6, 12),
    available_memory=500 << 20,
    certificates=tuple(
        Certificate(path=f"/{use}.pem", use=use, begin=int(NOW) - DAY, end=int(NOW) + 90 * DAY)
        for use in ("agent", "controllers", "listener", "revocations")
    ),
    vrrp=Vrrp(is_running=True, vips=frozenset({VIP}), peers=("10.0.0.6",)),
    lvs={"l": True},
)


def codes(facts: Facts) -> list[str]:
    return [check.code for check in CHECKS if list(check.find(facts))]


def network(**changes: object) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, network=replace(NETWORK, **changes))  # type: ignore[arg-type]  # any field


def state(**changes: object) -> Callable[[Facts], Facts]:
    return network(states={"eth1": replace(STATE, **changes)})  # type: ignore[arg-type]  # any field


def haproxy(**changes: object) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, haproxies=(replace(facts.haproxies[0], **changes),))  # type: ignore[arg-type]


def certificate(use: str, **changes: object) -> Callable[[Facts], Facts]:
    def change(facts: Facts) -> Facts:
        found = (replace(each, **changes) if each.use == use else each for each in facts.certificates)  # type: ignore[arg-type]
        return replace(facts, certificates=tuple(found))

    return change


def facts(**changes: object) -> Callable[[Facts], Facts]:
    return lambda before: replace(before, **changes)  # type: ignore[arg-type]  # any field


def settings(**changes: object) -> Callable[[Facts], Facts]:
    return lambda before: replace(before, settings=replace(SETTINGS, **changes))  # type: ignore[arg-type]  # any field


FAULTS: dict[str, tuple[str, Callable[[Facts], Facts]]] = {
    "the agent is down": ("E01", facts(agent_trouble="Connection refused")),
    "a unit has failed": ("E02", facts(failed_units=("amphora-agent.service",))),
    "the settings are broken": ("E03", facts(settings_trouble="line 3 continues no value")),
    "an option is out of range": (
        "E03",
        facts(settings=replace(SETTINGS, oddities=(Oddity("[a] b must be 1", False),))),
    ),
    "the clock is behind": ("E04", certificate("agent", begin=int(NOW) + DAY)),
    "the disk is full": ("E05", facts(file_systems=(replace(DISK, free=5),))),
    "the disk has no more files": ("E05", facts(file_systems=(replace(DISK, free_files=0),))),
    "a file system in memory is full": ("E06", facts(file_systems=(replace(DISK, is_memory=True, free=0),))),
    "a NIC is outside": ("E07", network(plugged=(*NETWORK.plugged, PluggedNic("aa:bb:cc:dd:ee:ff", "eth2")))),
    "a link is down": ("E08", state(is_up=False)),
    "a cable is out": ("E08", state(has_carrier=False)),
    "an address is missing": ("E08", state(ipv4=frozenset({VIP}))),
    "the MTU is wrong": ("E08", network(links=(replace(NETWORK.links[0], mtu=1500),))),
    "a route is missing": ("E09", network(routes=())),
    "a rule is missing": ("E10", network(rules=())),
    "another machine has the address": ("E11", state(ipv6={V6: AddressFlags(duplicate=True)})),
    "heartbeats are refused": ("E12", facts(heartbeat_troubles={"controller 192.0.2.1:5555": "cannot be reached"})),
    "the heartbeat is dead": ("E13", facts(heartbeat_troubles=None)),
    "the heartbeat is too large": ("E14", facts(heartbeat_troubles={"heartbeat size": "does not fit one datagram"})),
    "the key is missing": ("E15", settings(heartbeat_key=None)),
    "the amphora has no id": ("E15", settings(amphora_id="nonsense")),
    "the namespace is missing": ("E16", facts(network=None)),
    "connection tracking is full": ("E17", network(conntrack=(1000, 1000))),
    "HAProxy is dead": ("E20", haproxy(is_running=False, is_current=None)),
    "HAProxy runs an old configuration": ("E21", haproxy(is_current=False)),
    "reloads fail": ("E22", haproxy(failed_reloads=2)),
    "every change is a reload": ("E22", haproxy(reload_only="a worker crashed")),
    "an old worker hangs": ("E23", haproxy(old_workers=(90_000,))),
    "many old workers": ("E23", haproxy(old_workers=(1,) * 12)),
    "no memory for a reload": ("E24", facts(available_memory=1 << 20)),
    "a bad version of HAProxy": ("E25", facts(haproxy_version=Version(3, 2, 7))),
    "the agent's certificate ended": ("E31", certificate("agent", end=int(NOW) - DAY)),
    "the agent's certificate is broken": ("E31", certificate("agent", trouble="KEY_VALUES_MISMATCH")),
    "the controllers' authority ends soon": ("E32", certificate("controllers", end=int(NOW) + DAY)),
    "a listener's certificate ends soon": ("E33", certificate("listener", end=int(NOW) + 10 * DAY)),
    "a revocation list is overdue": ("E34", certificate("revocations", end=int(NOW) - 1)),
    "keepalived is dead": ("E40", facts(vrrp=Vrrp(is_running=False))),
    "the mastership was resigned": ("E41", facts(vrrp=Vrrp(is_running=False, has_resigned=True))),
    "a VIP is missing": (
        "E42",
        facts(vrrp=Vrrp(is_running=True, vips=frozenset({VIP, ip_address("10.0.0.101")}))),
    ),
    "the peer is silent": ("E43", network(silent=frozenset({"10.0.0.6"}))),
    "a UDP listener is dead": ("E44", facts(lvs={"l": False})),
}


def test_a_healthy_amphora_has_nothing() -> None:
    assert codes(HEALTHY) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_by_its_check_alone(fault: str) -> None:
    code, inject = FAULTS[fault]
    assert codes(inject(HEALTHY)) == [code]


def test_every_check_has_a_fault() -> None:
    assert {code for code, _ in FAULTS.values()} == {check.code for check in CHECKS}


def test_a_machine_without_a_controller_needs_no_heartbeats() -> None:
    quiet = settings(heartbeat_key=None, controller_ip_port_list=(), amphora_id=None)
    assert codes(replace(quiet(HEALTHY), heartbeat_troubles=None)) == []


def test_a_route_that_another_interface_has_is_not_missing() -> None:
    assert codes(network(routes=(replace(NETWORK.routes[0], interface=4),))(HEALTHY)) == []


def test_what_could_not_be_seen_is_no_fault() -> None:
    blind = Facts(
        now=NOW, settings=SETTINGS, unseen=("the namespace: Operation not permitted", "the processes: no such file")
    )
    assert codes(blind) == []


def test_a_stopped_load_balancer_may_be_stopped() -> None:
    assert codes(haproxy(is_running=False, is_current=None, is_stopped=True)(HEALTHY)) == []
