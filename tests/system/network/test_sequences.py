"""Random lives of an amphora: plugs, re-plugs, unplugs, crashes between any two steps, restarts and reboots.

After each event the kernel must equal the desired state, a second plan must be empty, and what others own must be
untouched. AMPHORA_SEQUENCES sets how many lives are tried (they are shared out over the shards), AMPHORA_SEED which;
both are printed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, assert_never

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from amphora_agent.core.addresses import Address, Subnet
from amphora_agent.core.network.desired import FixedIp, HostRoute, Port, Vip, VipNet, vips_of
from amphora_agent.core.network.model import PROTOCOL_STATIC, Interface, InterfaceType, Observed, ObservedAddress, plan
from amphora_agent.core.settings import Topology
from amphora_agent.errors import Conflict
from amphora_agent.host import files
from amphora_agent.host.network import dhcp, netlink, netns, nft
from amphora_agent.operations.network import interfaces, nic_watch, nics, plug, reconcile
from tests.system.network.conftest import CLONE_NEWNET, LIBC, MNT_DETACH, Machine, MakeMachine, run

SEQUENCES = int(os.environ.get("AMPHORA_SEQUENCES", "200"))
SEED = int(os.environ.get("AMPHORA_SEED", "0"))
SHARDS = 20  # small enough for the last of them to keep every worker busy
KEEPALIVED = 18
# Never the same again: the kernel takes its time to destroy namespaces and what is in them.
PEER_NUMBERS = itertools.count()

MACS = tuple(f"fa:16:3e:00:00:{number:02x}" for number in range(1, 5))
VIP_SUBNETS: tuple[Subnet, ...] = tuple(map(ip_network, ("10.9.0.0/24", "2001:db8:9::/64")))
MEMBER_SUBNETS: tuple[Subnet, ...] = tuple(
    map(ip_network, ("10.20.0.0/24", "10.30.0.0/20", "2001:db8:20::/64", "10.9.0.0/24"))
)
ELSEWHERE: tuple[Subnet, ...] = tuple(map(ip_network, ("203.0.113.0/24", "198.51.100.7/32", "2001:db8:ff::/48")))


@dataclass(frozen=True, slots=True)
class Attach:
    """The cloud attaches a NIC."""

    nic: int


@dataclass(frozen=True, slots=True)
class Unplug:
    """The cloud takes a NIC away."""

    nic: int


@dataclass(frozen=True, slots=True)
class PlugVip:
    """The controller plugs the VIP, with NIC 0."""

    net: VipNet
    port: Port


@dataclass(frozen=True, slots=True)
class PlugNetwork:
    """The controller plugs or re-plugs a NIC; for NIC 0 with the VIPs it knows."""

    nic: int
    fixed_ips: tuple[FixedIp, ...]
    mtu: int | None


@dataclass(frozen=True, slots=True)
class Reboot:
    """The namespace is lost and NICs come back in some order, under any names."""

    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Restart:
    """The agent starts again."""


@dataclass(frozen=True, slots=True)
class Others:
    """keepalived, a DHCP client and an operator do something on the interfaces."""


Event = Attach | Unplug | PlugVip | PlugNetwork | Reboot | Restart | Others


@dataclass(frozen=True, slots=True)
class Life:
    """What happens, and after how many steps of it the agent is killed; None when it is not."""

    topology: Topology
    events: tuple[tuple[Event, int | None], ...]


def addresses(subnets: tuple[Subnet, ...]) -> st.SearchStrategy[tuple[Address, Subnet]]:
    return st.tuples(st.sampled_from(subnets), st.integers(10, 14)).map(lambda pair: (pair[0][pair[1]], pair[0]))


def host_routes(subnet: Subnet) -> st.SearchStrategy[tuple[HostRoute, ...]]:
    elsewhere = [other for other in ELSEWHERE if other.version == subnet.version]
    route = st.builds(HostRoute, st.sampled_from(elsewhere), st.integers(100, 102).map(lambda number: subnet[number]))
    return st.lists(route, max_size=2).map(tuple)


@st.composite
def vips(draw: st.DrawFn) -> Vip:
    address, subnet = draw(addresses(VIP_SUBNETS))
    gateway = draw(st.sampled_from([None, subnet[1], subnet[2]]))
    return Vip(address=address, subnet=subnet, gateway=gateway, host_routes=draw(host_routes(subnet)))


@st.composite
def fixed_ips(draw: st.DrawFn) -> FixedIp:
    address, subnet = draw(addresses(MEMBER_SUBNETS))
    gateway = draw(st.sampled_from([None, subnet[1]]))
    return FixedIp(address=address, subnet=subnet, gateway=gateway, host_routes=draw(host_routes(subnet)))


@st.composite
def plug_vips(draw: st.DrawFn) -> PlugVip:
    chosen = tuple(draw(st.lists(vips(), min_size=1, max_size=2, unique_by=lambda vip: vip.address)))
    port = Port(
        mac=MACS[0], mtu=draw(st.sampled_from([None, 1400])), is_sriov=draw(st.sampled_from([False, False, True]))
    )
    return PlugVip(VipNet(vips=chosen, vrrp_ip=chosen[0].subnet[20]), port)


nic_numbers = st.integers(0, len(MACS) - 1)
plug_networks = st.builds(
    PlugNetwork,
    st.sampled_from([0, 0, 1, 2, 3]),
    st.lists(fixed_ips(), min_size=1, max_size=3, unique_by=lambda fixed: fixed.address).map(tuple),
    st.sampled_from([None, 1400, 1450]),
)
events: st.SearchStrategy[Event] = st.one_of(
    plug_vips(),
    plug_vips(),
    plug_networks,
    plug_networks,
    st.builds(Unplug, nic_numbers),
    st.builds(Attach, nic_numbers),
    st.builds(Reboot, st.permutations(range(len(MACS))).map(tuple)),
    st.just(Restart()),
    st.just(Others()),
)
kills = st.one_of(st.none(), st.integers(0, 24))
lives = st.builds(
    lambda topology, first, rest: Life(topology, (first, *rest)),
    st.sampled_from(Topology),
    st.tuples(st.one_of(plug_vips(), events), kills),
    st.lists(st.tuples(events, kills), min_size=1, max_size=4),
)


@dataclass(slots=True)
class World:
    """A machine, and what its history says it should be like."""

    machine: Machine
    link_locals: set[int] = field(default_factory=set)
    vips: tuple[Vip, ...] = ()

    def start(self) -> None:
        """Begin with all NICs attached and an empty namespace."""
        self.attach({f"nic{nic}": nic for nic in range(len(MACS))})
        self.make_namespace()

    def make_namespace(self) -> None:
        """Make the namespace as the agent does, but without the seconds that duplicate address detection takes."""
        netns.ensure(self.machine.paths.netns)

        def settle_at_once() -> None:
            for place in ("all", "default"):
                netns.write_sysctl(f"net/ipv6/conf/{place}/accept_dad", "0")
                netns.write_sysctl(f"net/ipv6/conf/{place}/dad_transmits", "0")

        netns.inside(self.machine.paths.netns, settle_at_once)

    def attach(self, names: dict[str, int]) -> None:
        """Attach NICs under these names, in this order, unless they are there."""
        present = self.macs()
        commands, peers = [], []
        for name, nic in names.items():
            if MACS[nic] not in present:
                peers.append(f"peer{next(PEER_NUMBERS)}")
                veth = f"link add {name} address {MACS[nic]} type veth peer name {peers[-1]}"
                commands.append(f"{veth} netns {self.machine.outside}")
        batch(commands)
        netns.inside(self.machine.outside, lambda: batch(f"link set {peer} up" for peer in peers))

    def macs(self) -> frozenset[str]:
        """Return the MAC addresses of all NICs that are attached."""
        return netlink.mac_addresses() | nics.inside_macs(self.machine.paths)

    def name_of(self, nic: int) -> str | None:
        """Return a NIC's name inside."""
        links = nics.links_inside(self.machine.paths)
        return next((link.name for link in links if link.mac == MACS[nic]), None)

    def lose_namespace(self) -> None:
        """Destroy the namespace and every NIC; those outside go with the machine's namespace, which is made anew."""
        assert LIBC.umount2(bytes(self.machine.paths.netns), MNT_DETACH) == 0
        self.machine.paths.netns.unlink()
        assert LIBC.unshare(CLONE_NEWNET) == 0
        self.link_locals.clear()

    def live_through(self, event: Event, kill_after: int | None) -> None:
        """Let an event happen; a killed agent is started again, which has to repair everything."""
        match event:
            case Attach(nic):
                self.attach({f"again{nic}": nic})
            case Unplug(nic):
                name = self.name_of(nic)
                known = nics.inside_macs(self.machine.paths)
                if name is not None:
                    self.machine.inside_run("ip", "link", "del", name)
                nic_watch.look_after(self.machine.amphora, known)
            case Reboot(order):
                self.lose_namespace()
                self.attach({f"eth{place}": nic for place, nic in enumerate(order)})
                self.make_namespace()
                self.act(self.restart, kill_after)
            case Restart():
                self.act(self.restart, kill_after)
            case PlugVip():
                self.act(lambda: self.request(event), kill_after)
                self.vips = self.stored_vips()
            case PlugNetwork():
                self.act(lambda: self.request(event), kill_after)
            case Others():
                self.meddle()
            case _:
                assert_never(event)

    def act(self, action: Callable[[], None], kill_after: int | None) -> None:
        """Do something; or do it in a process that is killed on the way, and start again."""
        if kill_after is None:
            action()
            return
        die_on_the_way(action, kill_after)
        self.restart()

    def restart(self) -> None:
        """What the agent does when it starts."""
        with self.machine.amphora.changing() as change:
            interfaces.write_loopback(change)
            interfaces.prune(change)
            assert interfaces.bring_up_everything(change.paths) == []

    def request(self, event: PlugVip | PlugNetwork) -> None:
        """What the controller does, for a NIC that is attached."""
        amphora = self.machine.amphora
        nic = 0 if isinstance(event, PlugVip) else event.nic
        if MACS[nic] not in self.macs():
            return
        with contextlib.suppress(Conflict), amphora.changing() as change:
            if isinstance(event, PlugVip):
                plug.plug_vip(change, event.net, event.port)
            elif event.nic or MACS[0] in nics.inside_macs(amphora.paths):
                net = None if event.nic else self.primary_net()
                plug.plug_network(change, Port(mac=MACS[event.nic], mtu=event.mtu), event.fixed_ips, net)

    def primary_net(self) -> VipNet:
        """Return the primary VIP as the controller sends it with a re-plug: without the additional ones."""
        return VipNet(vips=self.vips[:1], vrrp_ip=self.vips[0].subnet[20])

    def stored_vips(self) -> tuple[Vip, ...]:
        """Return the VIPs that the interface file still knows."""
        stored = reconcile.load(self.machine.paths, "eth1")
        return () if stored is None else vips_of(stored)

    def meddle(self) -> None:
        """Add what the agent must leave alone and what it must remove, and have it start again.

        Removed is also what is left when it dies having ended SLAAC or a DHCP client, or before it has.
        """
        links = [link for link in nics.links_inside(self.machine.paths) if link.mac in MACS]
        kept, removed = set[str](), set[str]()
        for link in links:
            number = link.index % 50
            kept |= {
                f"addr replace 10.77.{number}.1/24 dev {link.name} valid_lft 3600 preferred_lft 3600",
                f"route replace 192.0.2.{number}/32 dev {link.name} proto 18 table 1",
            }
            removed |= {
                f"addr replace 10.78.{number}.1/24 dev {link.name}",
                f"route replace 192.0.3.{number}/32 dev {link.name} proto static",
                f"addr replace 10.79.{number}.1/24 dev {link.name} valid_lft 3600 preferred_lft 3600",
                f"addr replace 2001:db8:79:{number}::1/64 dev {link.name} valid_lft 60 preferred_lft 60 mngtmpaddr",
                f"route replace 2001:db8:7a:{number}::/64 dev {link.name} proto ra",
            }
            leases = self.machine.paths.dhcp_leases(link.name)
            files.make_directory(leases.parent)
            leases.write_text(f"lease {{\n  fixed-address 10.79.{number}.1;\n}}\n", encoding="ascii")
            netns.inside(self.machine.paths.netns, functools.partial(dhcp.enable_slaac, link.name))
        rule = "rule add from 10.9.0.10 table 1 priority 100 protocol 18"
        had_rule = "100:" in self.machine.inside_run("ip", "rule")
        netns.inside(self.machine.paths.netns, lambda: batch([*kept, *removed, *([] if had_rule else [rule])]))
        self.restart()
        after = netns.inside(
            self.machine.paths.netns,
            lambda: "".join(run("ip", *words.split()) for words in ("addr", "route show table all", "-6 route show")),
        )
        assert all(command.split()[2].removesuffix("/32") in after for command in kept)
        assert not any(f"{command.split()[2].removesuffix('/32')} " in after for command in removed)
        assert "2001:db8:79:" not in after, "the route to an advertised prefix"
        assert "100:" in self.machine.inside_run("ip", "rule")

    def check(self) -> None:
        """Compare the kernel with what the files want, and the list of NICs with the names they have."""
        paths = self.machine.paths
        listed = {nic.mac: nic.name for nic in nics.plugged(paths)}
        names = {link.mac: link.name for link in nics.links_inside(paths) if link.mac in MACS}
        assert names.items() <= listed.items()
        assert "eth1" not in names.values() or names[MACS[0]] == "eth1"
        interfaces_wanted = [reconcile.load(paths, name) for name in names.values()]
        desired = [interface for interface in interfaces_wanted if interface is not None]
        assert len(desired) == len(names)
        if MACS[0] in names:
            assert self.stored_vips() == self.vips
        netns.inside(paths.netns, lambda: self.check_kernel(desired))

    def check_kernel(self, interfaces_wanted: list[Interface]) -> None:
        """Compare in the amphora's namespace; a link-local address that was seen once has to stay."""
        with netlink.connect() as kernel:
            snapshot = reconcile.take_snapshot(kernel, with_routes=True)
        for desired in interfaces_wanted:
            observed = reconcile.observe(snapshot, self.machine.paths, desired)
            check_interface(desired, observed)
            if any(is_link_local(address) for address in observed.addresses):
                self.link_locals.add(observed.link.index)
            else:
                assert observed.link.index not in self.link_locals
        check_firewall(interfaces_wanted)


def is_link_local(address: ObservedAddress) -> bool:
    return address.address.version == 6 and address.address.ip.is_link_local


def check_interface(desired: Interface, observed: Observed) -> None:
    """Compare without the help of the plan, which is then asked for its opinion, too."""
    assert observed.link.is_up
    assert desired.mtu in (None, observed.link.mtu)
    has = {a.address for a in observed.addresses if a.permanent and not is_link_local(a)}
    assert has == {static.address for static in desired.static_addresses if static.owned}
    ours = {r.key for r in observed.routes if r.interface == observed.link.index and r.protocol == PROTOCOL_STATIC}
    others = {
        (r.destination, r.table, r.metric)
        for r in observed.routes
        if r.interface != observed.link.index or r.protocol != PROTOCOL_STATIC
    }
    first = {(route.destination, route.table): route for route in reversed(desired.routes)}
    metric = {4: 0, 6: 1024}
    wanted = {r.key for r in first.values()}
    needed = {r.key for r in first.values() if (*r.key[::3], metric[r.destination.version]) not in others}
    assert needed <= ours <= wanted
    if desired.type is InterfaceType.VIP:
        found = {(r.source, r.table) for r in observed.rules if r.protocol not in (2, KEEPALIVED)}
        assert found == {(rule.source, rule.table) for rule in desired.rules}
    assert plan(desired, observed) == ()


def check_firewall(interfaces_wanted: list[Interface]) -> None:
    """Masquerading for exactly the IP versions of each interface, connections tracked where the filter needs it."""
    ruleset = json.loads(run("nft", "-j", "list", "ruleset"))["nftables"]
    sets = {
        (item["set"]["family"], item["set"]["name"]): item["set"].get("elem", []) for item in ruleset if "set" in item
    }
    for desired in interfaces_wanted:
        for family, version in (("ip", 4), ("ip6", 6)):
            wanted = any(f"ipv{version} " in command for command in desired.up)
            assert (desired.name in sets.get((family, "masqueraded"), [])) == wanted
            assert (desired.name in sets.get((family, "untracked"), [])) == (wanted and not desired.is_sriov)
        if desired.type is InterfaceType.VIP and desired.is_sriov:
            assert [item for item in ruleset if item.get("chain", {}).get("name") == "amphora_vip_chain"]


def batch(commands: Iterable[str]) -> None:
    """Have ip(8) carry out commands in the thread's namespace."""
    text = "\n".join(commands)
    if text:
        done = subprocess.run(
            ["ip", "-batch", "-"], input=text, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{text}: {done.stderr}"


def die_on_the_way(action: Callable[[], None], kill_after: int) -> None:
    """Run an action in a process of its own that kills itself between two of its steps, or comes to its end.

    A step is a request to the kernel that changes something, a file written, or a ruleset loaded.
    """
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] in (0, signal.SIGKILL)
        return
    try:
        count_down = [kill_after]
        for owner, name in (
            (netlink.Netlink, "perform"),
            (netlink.Netlink, "move"),
            (netlink.Netlink, "rename"),
            (files, "write_atomic"),
            (files, "remove"),
            (nft, "load"),
            (nft, "load_file"),
        ):
            setattr(owner, name, dying(getattr(owner, name), count_down))
        action()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the parent has to hear of it
        traceback.print_exc()
        os._exit(1)


def dying(function: Callable[..., Any], count_down: list[int]) -> Callable[..., Any]:
    def step(*arguments: Any, **options: Any) -> Any:
        if count_down[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        count_down[0] -= 1
        return function(*arguments, **options)

    return step


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_life_leaves_anything_wrong_behind(make_machine: MakeMachine, shard: int) -> None:
    print(f"AMPHORA_SEED={SEED} shard {shard}: {SEQUENCES // SHARDS} sequences")  # noqa: T201 - to repeat it

    @seed(SEED * SHARDS + shard)
    @settings(
        max_examples=SEQUENCES // SHARDS,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(lives)
    def live(life: Life) -> None:
        world = World(make_machine(life.topology))
        world.start()
        try:
            for event, kill_after in life.events:
                world.live_through(event, kill_after)
                world.check()
        finally:
            world.lose_namespace()
            files.remove(world.machine.paths.interfaces)
            files.remove(world.machine.paths.base)

    live()
