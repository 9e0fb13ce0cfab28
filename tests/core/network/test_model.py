"""The plan: whatever the kernel has, performing it reaches the desired state, and leaves alone what others own."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, ip_address, ip_interface, ip_network
from typing import assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.addresses import HostAddress
from amphora_agent.core.network.desired import Port, Vip, VipNet, member_interface, vip_interface
from amphora_agent.core.network.model import (
    MAIN_TABLE,
    PROTOCOL_ADVERTISED,
    PROTOCOL_STATIC,
    VIP_TABLE,
    AddAddress,
    AddRoute,
    AddRule,
    AutomaticAddress,
    AwaitAddresses,
    DisableSlaac,
    EnableSlaac,
    Interface,
    InterfaceType,
    Link,
    LinkStep,
    Observed,
    ObservedAddress,
    ObservedRoute,
    ObservedRule,
    RemoveAddress,
    RemoveRoute,
    RemoveRule,
    ReplaceRoute,
    Route,
    Rule,
    SetMtu,
    SetUp,
    StartDhcp,
    StaticAddress,
    StopDhcp,
    free_member_name,
    link_of_mac,
    plan,
    plan_down,
    wanted_routes,
)
from amphora_agent.core.settings import Topology
from tests.core.network.values import SUBNETS, fixed_ips, ports, vip_nets

KERNEL, KEEPALIVED = 2, 18
LINK = Link(index=7, name="eth1", mac="fa:16:3e:00:00:01", mtu=1500, is_up=False)

desired_interfaces = st.one_of(
    st.builds(vip_interface, vip_nets(), ports(), st.sampled_from(Topology), st.lists(fixed_ips(), max_size=3)),
    st.builds(member_interface, st.just("eth2"), ports(), st.lists(fixed_ips(), max_size=3)),
    st.builds(
        lambda member, automatic: replace(member, addresses=(automatic, *member.static_addresses)),
        st.builds(member_interface, st.just("eth2"), ports(), st.lists(fixed_ips(), max_size=3)),
        st.builds(AutomaticAddress, dhcp=st.booleans(), ipv6auto=st.booleans()),
    ),
)


def metric_of(destination_version: int) -> int:
    return 0 if destination_version == 4 else 1024


def perform(observed: Observed, step: LinkStep) -> Observed:  # noqa: C901, PLR0911, PLR0912 - one flat case per step
    """What the kernel makes of a step; a model of the parts that matter for the plan."""
    match step:
        case SetMtu(_, mtu):
            return replace(observed, link=replace(observed.link, mtu=mtu))
        case SetUp():
            return replace(observed, link=replace(observed.link, is_up=True))
        case StartDhcp():
            return replace(observed, dhcp=True)
        case StopDhcp():
            return replace(observed, dhcp=False)
        case EnableSlaac():
            return replace(observed, slaac=True)
        case DisableSlaac():
            return replace(observed, slaac=False)
        case AddAddress(_, address):
            return replace(observed, addresses=with_address(observed.addresses, address))
        case AwaitAddresses():
            settled = tuple(replace(address, tentative=False) for address in observed.addresses)
            return replace(observed, addresses=settled)
        case RemoveAddress(_, address):
            return replace(observed, addresses=tuple(a for a in observed.addresses if a.address != address))
        case AddRoute(index, route):
            assert not any(slot(r) == wanted_slot(route) for r in observed.routes), "the kernel would say EEXIST"
            return replace(observed, routes=(*observed.routes, made(route, index)))
        case ReplaceRoute(index, route):
            replaced = [r for r in observed.routes if slot(r) == wanted_slot(route)]
            assert all(r.interface == index and r.protocol in (PROTOCOL_STATIC, PROTOCOL_ADVERTISED) for r in replaced)
            rest = tuple(r for r in observed.routes if r not in replaced)
            return replace(observed, routes=(*rest, made(route, index)))
        case RemoveRoute(route):
            return replace(observed, routes=tuple(r for r in observed.routes if r != route))
        case AddRule(rule):
            new = ObservedRule(source=rule.source, table=rule.table, priority=32000, protocol=PROTOCOL_STATIC)
            return replace(observed, rules=(*observed.rules, new))
        case RemoveRule(rule):
            return replace(observed, rules=tuple(r for r in observed.rules if r != rule))
        case _:
            assert_never(step)


def with_address(present: tuple[ObservedAddress, ...], address: HostAddress) -> tuple[ObservedAddress, ...]:
    """Return the addresses with one that was added, or made permanent where it is."""
    if address not in {a.address for a in present}:
        return (*present, ObservedAddress(address=address, tentative=True))
    return tuple(replace(a, permanent=True, advertised=False) if a.address == address else a for a in present)


def made(route: Route, index: int) -> ObservedRoute:
    return ObservedRoute(
        destination=route.destination,
        gateway=route.gateway,
        prefsrc=route.prefsrc,
        table=route.table,
        interface=index,
        protocol=PROTOCOL_STATIC,
        metric=metric_of(route.destination.version),
    )


def slot(route: ObservedRoute) -> tuple[object, int, int]:
    return route.destination, route.table, route.metric


def wanted_slot(route: Route) -> tuple[object, int, int]:
    return route.destination, route.table, metric_of(route.destination.version)


@st.composite
def observations(draw: st.DrawFn) -> Observed:
    """Any kernel state: ours, others', leftovers, in any mixture."""
    subnet = st.sampled_from(SUBNETS)
    addresses = draw(
        st.lists(
            st.builds(
                ObservedAddress,
                address=subnet.map(lambda s: ip_interface((s[5], s.prefixlen))),
                permanent=st.booleans(),
                tentative=st.booleans(),
            ),
            max_size=4,
            unique_by=lambda a: a.address,
        )
    )
    addresses = [
        replace(a, advertised=a.address.version == 6 and not a.permanent and draw(st.booleans())) for a in addresses
    ]
    routes = draw(
        st.lists(
            st.builds(
                lambda s, protocol, interface, table: ObservedRoute(
                    destination=s,
                    gateway=s[1],
                    interface=interface,
                    protocol=protocol,
                    table=table,
                    metric=metric_of(s.version),
                ),
                subnet,
                st.sampled_from([KERNEL, 3, PROTOCOL_STATIC, PROTOCOL_ADVERTISED, KEEPALIVED]),
                st.sampled_from([LINK.index, 9]),
                st.sampled_from([VIP_TABLE, 254]),
            ),
            max_size=5,
            unique_by=slot,
        )
    )
    rules = draw(
        st.lists(
            st.builds(
                ObservedRule,
                source=subnet.map(lambda s: ip_network(s[5])),
                table=st.sampled_from([VIP_TABLE, 99]),
                priority=st.sampled_from([100, 32000]),
                protocol=st.sampled_from([0, KERNEL, 3, PROTOCOL_STATIC, KEEPALIVED]),
            ),
            max_size=4,
            unique=True,
        )
    )
    return Observed(
        link=replace(LINK, is_up=draw(st.booleans())),
        addresses=(LINK_LOCAL, *addresses),
        routes=tuple(routes),
        rules=tuple(rules),
        dhcp=draw(st.booleans()),
        slaac=draw(st.booleans()),
        slaac_by_default=draw(st.sampled_from([False, False, False, True])),
        leased=frozenset(draw(st.sets(st.sampled_from([s[5] for s in SUBNETS if isinstance(s, IPv4Network)])))),
    )


LINK_LOCAL = ObservedAddress(address=ip_interface("fe80::f816:3eff:fe00:1/64"))


def foreign_parts(desired: Interface, observed: Observed) -> tuple[set[object], ...]:
    """Return the addresses, routes and rules of others; what was asked for is the agent's once it is not any more."""
    ours, networks = {PROTOCOL_STATIC}, set[object]()
    if not desired.ipv6auto and not observed.slaac_by_default:
        ours |= {PROTOCOL_ADVERTISED}
        networks = {a.address.network for a in observed.addresses if a.advertised}
    given_back = set() if desired.dhcp else observed.leased
    return (
        {
            a.address
            for a in observed.addresses
            if a.address.ip.is_link_local
            or not (a.permanent or a.address.ip in given_back or (a.advertised and a.address.network in networks))
        },
        {
            r
            for r in observed.routes
            if r.interface != LINK.index
            or not (
                r.protocol in ours or (r.protocol == KERNEL and r.table == MAIN_TABLE and r.destination in networks)
            )
        },
        {r for r in observed.rules if r.protocol in (KERNEL, KEEPALIVED)},
    )


def test_a_route_takes_the_place_of_one_that_goes_with_its_advertised_address() -> None:
    """The kernel's route to a prefix that nobody is to advertise any more is in the way of ours to the same prefix."""
    ipv4, ipv6 = ip_network("10.9.0.0/24"), ip_network("2001:db8:9::/64")
    vips = tuple(Vip(address=subnet[2], subnet=subnet, gateway=None, host_routes=()) for subnet in (ipv4, ipv6))
    net = VipNet(vips=vips, vrrp_ip=ip_address("10.9.0.12"))
    desired = vip_interface(net, Port(mac=LINK.mac, mtu=None), Topology.SINGLE)
    before = Observed(
        link=LINK,
        addresses=(ObservedAddress(address=ip_interface("2001:db8:9::5/64"), permanent=False, advertised=True),),
        routes=(
            ObservedRoute(
                destination=ipv6,
                gateway=None,
                prefsrc=None,
                table=MAIN_TABLE,
                interface=LINK.index,
                protocol=KERNEL,
                metric=1024,
            ),
        ),
        rules=(),
    )
    after = before
    for step in plan(desired, before):
        after = perform(after, step)
    assert plan(desired, after) == ()


@given(desired_interfaces, observations())
def test_one_pass_reaches_the_desired_state_and_the_next_is_empty(desired: Interface, before: Observed) -> None:
    after = before
    for step in plan(desired, before):
        after = perform(after, step)
    assert plan(desired, after) == ()
    assert after.link.is_up
    owned = {static.address for static in desired.static_addresses if static.owned}
    assert owned <= {a.address for a in after.addresses if a.permanent}
    extra = [a for a in after.addresses if a.address not in {s.address for s in desired.static_addresses}]
    leased = after.leased if desired.dhcp else frozenset()
    assert all(a.address.ip.is_link_local for a in extra if a.permanent and a.address.ip not in leased)
    assert desired.dhcp == after.dhcp
    assert desired.dhcp or not any(a.address.ip in after.leased for a in extra)
    if not after.slaac_by_default:
        assert desired.ipv6auto == after.slaac
        assert desired.ipv6auto or not any(a.advertised for a in extra)
        here = [route.protocol for route in after.routes if route.interface == LINK.index]
        assert desired.ipv6auto or PROTOCOL_ADVERTISED not in here


@given(desired_interfaces, observations())
def test_what_others_own_is_never_touched(desired: Interface, before: Observed) -> None:
    after = before
    for step in plan(desired, before):
        after = perform(after, step)
    left: tuple[set[object], ...] = ({a.address for a in after.addresses}, set(after.routes), set(after.rules))
    for had, has in zip(foreign_parts(desired, before), left, strict=True):
        assert had <= has


@given(desired_interfaces, observations())
def test_no_wanted_address_is_missing_for_a_moment(desired: Interface, before: Observed) -> None:
    wanted = {static.address for static in desired.static_addresses} & {a.address for a in before.addresses}
    state = before
    for step in plan(desired, before):
        state = perform(state, step)
        assert wanted <= {a.address for a in state.addresses}


@given(desired_interfaces, observations())
def test_addresses_and_rules_are_added_before_others_are_removed(desired: Interface, before: Observed) -> None:
    steps = plan(desired, before)
    # The route to the prefix of an address that goes is followed by none.
    kinds = [type(s) for s in steps if not (isinstance(s, RemoveRoute) and s.route.protocol == KERNEL)]
    for add, remove in ((AddAddress, RemoveAddress), (AddRoute, RemoveRoute), (AddRule, RemoveRule)):
        if add in kinds and remove in kinds:
            assert len(kinds) - kinds[::-1].index(add) <= kinds.index(remove)


MEMBER = Interface(
    name="eth2", type=InterfaceType.BACKEND, addresses=(StaticAddress(ip_interface("10.20.0.5/24")),), mtu=1450
)
UP = Observed(
    link=replace(LINK, is_up=True, mtu=1450), addresses=(ObservedAddress(address=ip_interface("10.20.0.5/24")),)
)


def test_the_mtu_of_an_interface_that_is_up_is_changed() -> None:
    assert plan(replace(MEMBER, mtu=8950), UP) == (SetMtu(7, 8950),)
    assert plan(replace(MEMBER, mtu=None), UP) == ()


def test_keepalived_s_vip_is_neither_added_nor_removed() -> None:
    vip = ip_interface("10.9.0.5/32")
    standby = Interface(name="eth1", type=InterfaceType.VIP, addresses=(StaticAddress(vip, owned=False),))
    up = replace(UP, link=replace(LINK, is_up=True), addresses=())
    assert plan(standby, up) == ()
    assert plan(standby, replace(up, addresses=(ObservedAddress(address=vip),))) == ()


def test_a_changed_gateway_replaces_the_route_in_place() -> None:
    old, new = (
        Route(destination=ip_network("0.0.0.0/0"), gateway=ip_address(a), onlink=True) for a in ("10.9.0.1", "10.9.0.2")
    )
    observed = replace(UP, routes=(made(old, 7),))
    assert plan(replace(MEMBER, routes=(new,)), observed) == (ReplaceRoute(7, new),)


def test_a_route_that_another_interface_or_the_kernel_holds_is_left_to_it() -> None:
    wanted = replace(MEMBER, routes=(Route(destination=ip_network("10.20.0.0/24"), link_scope=True),))
    connected = ObservedRoute(destination=ip_network("10.20.0.0/24"), interface=7, protocol=KERNEL)
    assert plan(wanted, replace(UP, routes=(connected,))) == ()
    assert plan(wanted, replace(UP, routes=(replace(connected, interface=9, protocol=PROTOCOL_STATIC),))) == ()


def test_detection_of_duplicates_is_awaited_only_for_addresses_that_settle() -> None:
    host = IPv6Interface("2001:db8::5/64")
    desired = replace(MEMBER, addresses=(StaticAddress(host),))
    observed = replace(UP, addresses=(LINK_LOCAL, ObservedAddress(address=host, tentative=True)))
    assert plan(desired, observed) == (AwaitAddresses(7, frozenset({host})),)
    failed = replace(UP, addresses=(ObservedAddress(address=host, tentative=True, duplicate=True),))
    assert plan(desired, failed) == ()


def test_an_endless_lease_looks_static_and_stays() -> None:
    desired = member_interface("eth2", Port(mac="fa:16:3e:00:00:02"), ())
    leased = IPv4Interface("10.20.0.99/24")
    observed = replace(
        UP, addresses=(ObservedAddress(address=leased),), dhcp=True, slaac=True, leased=frozenset({leased.ip})
    )
    assert plan(desired, observed) == ()


def test_an_address_that_is_to_be_fixed_is_made_permanent_after_its_client_ended() -> None:
    host = IPv4Interface("10.20.0.5/24")
    leased = ObservedAddress(address=host, permanent=False)
    observed = replace(UP, addresses=(leased,), dhcp=True, leased=frozenset({host.ip}))
    assert plan(MEMBER, observed) == (StopDhcp(7), AddAddress(7, host))


def test_a_leased_address_goes_from_a_fixed_interface_though_its_client_is_gone_already() -> None:
    host = IPv4Interface("10.20.0.99/24")
    leased = ObservedAddress(address=host, permanent=False)
    observed = replace(UP, addresses=(*UP.addresses, leased), leased=frozenset({host.ip}))
    assert plan(MEMBER, observed) == (RemoveAddress(7, host),)
    assert plan(MEMBER, replace(observed, leased=frozenset())) == (), "whose it is, nobody knows"


ADVERTISED = ObservedAddress(address=IPv6Interface("2001:db8:20::99/64"), permanent=False, advertised=True)
PREFIX = ObservedRoute(destination=ip_network("2001:db8:20::/64"), interface=7, protocol=KERNEL, metric=256)
ROUTER = ObservedRoute(
    destination=ip_network("::/0"),
    gateway=ip_address("fe80::1"),
    interface=7,
    protocol=PROTOCOL_ADVERTISED,
    metric=1024,
)
ASKING = replace(UP, addresses=(*UP.addresses, LINK_LOCAL, ADVERTISED), routes=(PREFIX, ROUTER), slaac=True)


def test_what_a_router_gave_goes_with_its_routes_from_a_fixed_interface() -> None:
    leaving = (RemoveRoute(PREFIX), RemoveAddress(7, ADVERTISED.address), RemoveRoute(ROUTER))
    assert plan(MEMBER, ASKING) == (DisableSlaac(7), *leaving)
    assert plan(MEMBER, replace(ASKING, slaac=False)) == leaving


def test_the_route_to_a_prefix_stays_with_a_wanted_address_in_it() -> None:
    host = IPv6Interface("2001:db8:20::5/64")
    desired = replace(MEMBER, addresses=(*MEMBER.addresses, StaticAddress(host)))
    observed = replace(ASKING, addresses=(*ASKING.addresses, ObservedAddress(address=host)), routes=(PREFIX,))
    assert plan(desired, observed) == (DisableSlaac(7), RemoveAddress(7, ADVERTISED.address))


def test_an_advertised_default_route_does_not_hold_the_place_of_a_wanted_one() -> None:
    default = Route(destination=ip_network("::/0"), gateway=ip_address("fe80::1"))
    observed = replace(ASKING, addresses=UP.addresses, routes=(ROUTER,))
    assert plan(replace(MEMBER, routes=(default,)), observed) == (DisableSlaac(7), ReplaceRoute(7, default))
    automatic = replace(MEMBER, addresses=(*MEMBER.addresses, AutomaticAddress(ipv6auto=True)), routes=(default,))
    assert plan(automatic, observed) == ()


def test_where_every_interface_takes_advertisements_by_default_a_fixed_one_does_too() -> None:
    assert plan(MEMBER, replace(ASKING, slaac_by_default=True)) == ()


def test_only_the_vip_interface_has_to_do_with_rules() -> None:
    stray = ObservedRule(source=ip_network("10.9.0.5/32"), table=1, priority=32000, protocol=3)
    assert plan(MEMBER, replace(UP, rules=(stray,))) == ()
    vip = replace(MEMBER, type=InterfaceType.VIP, rules=(Rule(ip_network("10.9.0.6/32")),))
    assert plan(vip, replace(UP, rules=(stray,))) == (AddRule(Rule(ip_network("10.9.0.6/32"))), RemoveRule(stray))


def test_down_takes_everything_but_the_link_local_address() -> None:
    vip = ip_interface("10.9.0.5/32")
    desired = Interface(name="eth1", type=InterfaceType.VIP, addresses=(StaticAddress(vip, owned=False),))
    observed = replace(UP, addresses=(LINK_LOCAL, ObservedAddress(address=vip)))
    assert plan_down(desired, observed) == (RemoveAddress(7, vip),)


def test_of_routes_to_one_destination_the_first_is_made() -> None:
    routes = [Route(destination=ip_network("0.0.0.0/0"), gateway=ip_address(f"10.9.0.{n}")) for n in (1, 2)]
    assert wanted_routes(routes) == (routes[0],)


@pytest.mark.parametrize(
    ("names", "alternative", "reserved", "expected"),
    [
        (["lo"], (), (), "eth2"),
        (["lo", "eth1", "eth2", "eth4"], (), (), "eth3"),
        (["eth3", "eth2"], (), (), "eth4"),
        (["ens5"], ("eth2",), (), "eth3"),
        (["eth2"], (), ("eth3", "eth5"), "eth4"),
    ],
)
def test_the_first_free_name(
    names: list[str], alternative: tuple[str, ...], reserved: tuple[str, ...], expected: str
) -> None:
    links = [replace(LINK, name=name, alternative_names=alternative) for name in names]
    assert free_member_name(links, reserved) == expected


def test_a_nic_is_found_by_its_mac_in_either_case_but_not_what_is_stacked_on_it() -> None:
    vlan = replace(LINK, index=3, name="eth1.5", stacked=True)
    assert link_of_mac([vlan, LINK], "FA:16:3E:00:00:01") == LINK
    assert link_of_mac([vlan], "fa:16:3e:00:00:01") is None
    assert link_of_mac([LINK], "fa:16:3e:00:00:02") is None
