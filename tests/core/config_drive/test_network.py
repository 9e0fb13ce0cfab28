"""network_data.json, and the files for systemd-networkd made of it."""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.config_drive.network_data import ManagementNic, NetworkData, StaticRoute, parse_network_data
from amphora_agent.core.config_drive.networkd import render_networks, render_resolv_conf
from amphora_agent.errors import InvalidRequest

MAC = "fa:16:3e:00:00:01"


def link(name: str = "tap0", mac: str = MAC, **more: object) -> dict[str, object]:
    return {"id": name, "type": "ovs", "ethernet_mac_address": mac, "mtu": 1450, **more}


def parse(networks: list[object], links: list[object] | None = None, **more: object) -> NetworkData:
    document = {"links": [link()] if links is None else links, "networks": networks, **more}
    return parse_network_data(json.dumps(document).encode())


def network(kind: str, **more: object) -> dict[str, object]:
    return {"id": "network0", "link": "tap0", "type": kind, **more}


STATIC = network(
    "ipv4",
    ip_address="192.0.2.5",
    netmask="255.255.255.0",
    routes=[
        {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"},
        {"network": "198.51.100.0", "netmask": "255.255.255.0", "gateway": "192.0.2.2"},
    ],
    services=[{"type": "dns", "address": "192.0.2.53"}],
)
STATIC6 = network(
    "ipv6",
    ip_address="2001:db8::5",
    netmask="ffff:ffff:ffff:ffff::",
    routes=[{"network": "::", "netmask": "::", "gateway": "2001:db8::1"}],
)


def test_static_addresses_of_both_families() -> None:
    parsed = parse([STATIC, STATIC6], services=[{"type": "dns", "address": "2001:db8::53"}])
    assert parsed == NetworkData(
        nics=(
            ManagementNic(
                mac=MAC,
                mtu=1450,
                addresses=(ip_interface("192.0.2.5/24"), ip_interface("2001:db8::5/64")),
                routes=(
                    StaticRoute(ip_network("0.0.0.0/0"), ip_address("192.0.2.1")),
                    StaticRoute(ip_network("198.51.100.0/24"), ip_address("192.0.2.2")),
                    StaticRoute(ip_network("::/0"), ip_address("2001:db8::1")),
                ),
            ),
        ),
        name_servers=(ip_address("2001:db8::53"), ip_address("192.0.2.53")),
    )


@pytest.mark.parametrize(
    ("kinds", "dhcp4", "dhcp6", "advertised"),
    [
        (["ipv4_dhcp"], True, False, False),
        (["ipv6_dhcp"], False, True, True),
        (["ipv6_dhcpv6-stateful"], False, True, True),
        (["ipv6_dhcpv6-stateless"], False, False, True),
        (["ipv6_slaac"], False, False, True),
        (["ipv4_dhcp", "ipv6_dhcpv6-stateful"], True, True, True),
        ([], False, False, False),
    ],
)
def test_automatic_addresses(kinds: list[str], *, dhcp4: bool, dhcp6: bool, advertised: bool) -> None:
    nic = parse([network(kind) for kind in kinds]).nics[0]
    assert (nic.is_dhcp4, nic.is_dhcp6, nic.is_advertised) == (dhcp4, dhcp6, advertised)


@pytest.mark.parametrize("prefix", [{"ip_address": "192.0.2.5/24"}, {"ip_address": "192.0.2.5", "netmask": "24"}])
def test_other_ways_to_write_a_prefix_length(prefix: dict[str, object]) -> None:
    nic = parse([network("ipv4", gateway="192.0.2.1", **prefix)]).nics[0]
    assert nic.addresses == (ip_interface("192.0.2.5/24"),)
    assert nic.routes == (StaticRoute(ip_network("0.0.0.0/0"), ip_address("192.0.2.1")),)


@pytest.mark.parametrize("kind", ["bond", "vlan"])
def test_bonds_and_vlans_are_refused_by_name_and_the_other_links_are_not(kind: str) -> None:
    other = link("tap1", "fa:16:3e:00:00:02")
    parsed = parse([STATIC, {**STATIC, "link": "tap1"}], [link(type=kind), other])
    assert [nic.mac for nic in parsed.nics] == ["fa:16:3e:00:00:02"]
    assert any(f"type {kind} are not supported" in complaint for complaint in parsed.complaints)
    assert any("networks of the link 'tap0'" in complaint for complaint in parsed.complaints)


@pytest.mark.parametrize(
    "wrong",
    [
        network("ipv4", ip_address="192.0.2.256", netmask="255.255.255.0"),
        network("ipv4", ip_address="192.0.2.5"),
        network("ipv4", ip_address="192.0.2.5", netmask="255.0.255.0"),
        network("ipv4", ip_address="192.0.2.5", netmask="255.255.255.0", gateway="x"),
        network("ipv4", ip_address="192.0.2.5", netmask="255.255.255.0", routes=7),
        network("ipv4", ip_address="192.0.2.5", netmask="255.255.255.0", routes=["x"]),
        network("ipv6", ip_address="fe80::1%eth0\nDHCP=yes", netmask="64"),
        network("ipv7"),
        network("ipv4_dhcp", routes=[{"network": "::", "netmask": "::", "gateway": "192.0.2.1"}]),
    ],
)
def test_a_wrong_network_is_left_out_whole_and_the_others_are_not(wrong: dict[str, object]) -> None:
    parsed = parse([wrong, STATIC])
    assert parsed.nics[0].addresses == (ip_interface("192.0.2.5/24"),)
    assert len(parsed.nics[0].routes) == 2
    assert len(parsed.complaints) == 1


@pytest.mark.parametrize("mac", ["", "fa:16:3e:00:00", "fa:16:3e:00:00:zz", "fa:16:3e:00:00:1\n", None])
def test_a_link_without_mac_address_is_left_out(mac: str | None) -> None:
    assert parse([STATIC], [link(ethernet_mac_address=mac)]).nics == ()


def test_the_files_of_a_dual_stack_nic() -> None:
    files = render_networks(parse([STATIC, network("ipv6_slaac")]), set())
    assert files == {
        "10-management-0.network": b"""\
[Match]
MACAddress=fa:16:3e:00:00:01
Type=ether

[Link]
RequiredForOnline=yes
MTUBytes=1450

[Network]
LinkLocalAddressing=ipv6
LLMNR=no
MulticastDNS=no
DHCP=no
IPv6AcceptRA=yes

[DHCPv6]
UseDNS=no
UseHostname=no
UseNTP=yes
DUIDType=link-layer

[IPv6AcceptRA]
RouteMetric=100
UseDNS=no

[Address]
Address=192.0.2.5/24

[Route]
Destination=0.0.0.0/0
Gateway=192.0.2.1
Metric=100

[Route]
Destination=198.51.100.0/24
Gateway=192.0.2.2
Metric=100
"""
    }


def test_nics_of_the_load_balancer_get_no_file_and_the_second_nic_yields() -> None:
    links: list[object] = [
        link("a", "FA:16:3E:00:00:0A"),
        link("b", "fa:16:3e:00:00:0b"),
        link("c", "fa:16:3e:00:00:0c"),
    ]
    networks: list[object] = [{**network("ipv4_dhcp"), "link": name} for name in "abc"]
    files = render_networks(parse(networks, links), {"fa:16:3e:00:00:0b"})
    assert list(files) == ["10-management-0.network", "10-management-1.network"]
    assert b"MACAddress=fa:16:3e:00:00:0a\n" in files["10-management-0.network"]
    assert b"RouteMetric=200\n" in files["10-management-1.network"]
    assert b"fa:16:3e:00:00:0c" in files["10-management-1.network"]


def test_name_servers() -> None:
    assert render_resolv_conf(NetworkData()) == b""
    servers = tuple(ip_address(f"192.0.2.{number}") for number in range(1, 6))
    assert render_resolv_conf(NetworkData(name_servers=servers)).count(b"nameserver") == 3


JSON = st.recursive(
    st.none()
    | st.integers(-5, 70000)
    | st.sampled_from(["tap0", "ipv4", "ipv6", "ipv4_dhcp", "bond", MAC, "192.0.2.5", "::1", "255.255.255.0", "a\nb"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "link", "type", "mtu", "ethernet_mac_address", "ip_address", "netmask", "gateway"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["links", "networks", "services"]), JSON))
def test_no_document_makes_an_error_unforeseen_or_a_line_of_its_own(document: dict[str, object]) -> None:
    parsed = parse_network_data(json.dumps(document).encode())
    for text in render_networks(parsed, set()).values():
        assert all(line.startswith("[") or "=" in line or not line for line in text.decode().splitlines())


@given(st.binary(max_size=100))
def test_any_bytes_are_a_network_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        parse_network_data(data)
