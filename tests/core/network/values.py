"""Hypothesis strategies for addresses, ports and VIPs that a controller could send."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from amphora_agent.core.addresses import Address, Subnet
from amphora_agent.core.network.desired import FixedIp, HostRoute, Port, Vip, VipNet

# Few of each, so that they meet.
SUBNETS: tuple[Subnet, ...] = tuple(
    ip_network(text) for text in ("10.9.0.0/24", "10.20.0.0/20", "10.30.0.0/28", "2001:db8:9::/64", "2001:db8:20::/64")
)
ELSEWHERE: tuple[Subnet, ...] = tuple(
    ip_network(text) for text in ("203.0.113.0/24", "198.51.100.7/32", "0.0.0.0/0", "2001:db8:ff::/48", "10.9.0.0/24")
)


def addresses_in(subnet: Subnet) -> st.SearchStrategy[Address]:
    """Return one of the first ten addresses a NIC can have in the subnet."""
    return st.integers(2, 11).map(lambda number: subnet[number])


def host_routes(subnet: Subnet) -> st.SearchStrategy[tuple[HostRoute, ...]]:
    """Return routes a subnet's owner may have written, sense and nonsense."""
    nexthop = st.one_of(addresses_in(subnet), st.just(ip_address("192.0.2.77")), st.just(ip_address("2001:db8:bad::1")))
    return st.lists(st.builds(HostRoute, st.sampled_from(ELSEWHERE), nexthop), max_size=3).map(tuple)


def gateways(subnet: Subnet) -> st.SearchStrategy[Address | None]:
    return st.sampled_from([None, subnet[1], subnet[1]])


@st.composite
def vips(draw: st.DrawFn, subnets: tuple[Subnet, ...] = SUBNETS) -> Vip:
    subnet = draw(st.sampled_from(subnets))
    return Vip(
        address=draw(addresses_in(subnet)),
        subnet=subnet,
        gateway=draw(gateways(subnet)),
        host_routes=draw(host_routes(subnet)),
    )


@st.composite
def vip_nets(draw: st.DrawFn) -> VipNet:
    chosen = draw(st.lists(vips(), min_size=1, max_size=3, unique_by=lambda vip: vip.address))
    own = chosen[0].subnet[12]
    return VipNet(vips=tuple(chosen), vrrp_ip=draw(st.sampled_from([own, own, own, None])))


@st.composite
def fixed_ips(draw: st.DrawFn) -> FixedIp:
    subnet = draw(st.sampled_from(SUBNETS))
    return FixedIp(
        address=draw(addresses_in(subnet)),
        subnet=subnet,
        gateway=draw(gateways(subnet)),
        host_routes=draw(host_routes(subnet)),
    )


def ports(mac: str = "fa:16:3e:00:00:01") -> st.SearchStrategy[Port]:
    return st.builds(Port, mac=st.just(mac), mtu=st.sampled_from([None, 1450, 1500]), is_sriov=st.booleans())
