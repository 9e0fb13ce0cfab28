"""nftables text; that nft takes it, and what it then lets through, is tested with real namespaces."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from amphora_agent.core.network.nft_rules import (
    AllowRule,
    Masquerade,
    MasqueradeAction,
    RuleProtocol,
    parse_masquerade,
    render_filter,
    render_masquerade,
    split_scripts,
)

FILTER = """\
add table inet amphora_table
delete table inet amphora_table
table inet amphora_table {
    chain amphora_vip_chain {
        ip saddr 192.0.2.0/24 tcp dport 80 accept
        ip6 saddr 2001:db8:77::/48 tcp dport 80 accept
        udp dport 53 accept
        meta nfproto ipv4 sctp dport 3868 accept
        meta nfproto ipv6 tcp dport 443 accept
        ip6 saddr 2001:db8::2 meta l4proto 112 accept
    }
    chain amphora_chain {
        type filter hook input priority filter; policy drop;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iifname "lo" accept
        ip saddr 127.0.0.0/8 drop
        ip6 saddr ::1 drop
        ct state untracked tcp flags & (syn | ack) != syn accept
        icmp type destination-unreachable accept
        icmpv6 type { nd-neighbor-solicit, nd-router-advert, nd-neighbor-advert } accept
        icmpv6 type { packet-too-big, destination-unreachable } accept
        udp sport 67 udp dport 68 accept
        udp sport 547 udp dport 546 accept
        iifname "eth1" goto amphora_vip_chain
    }
}
"""


def test_the_whole_filter() -> None:
    http = AllowRule(RuleProtocol.TCP, ip_network("192.0.2.0/24"), 80)
    rules = [
        http,
        http,
        AllowRule(RuleProtocol.TCP, ip_network("2001:db8:77::/48"), 80),
        AllowRule(RuleProtocol.UDP, None, 53),
        AllowRule(RuleProtocol.SCTP, ip_network("0.0.0.0/0"), 3868),
        AllowRule(RuleProtocol.TCP, ip_network("::/0"), 443),
        AllowRule(RuleProtocol.VRRP, ip_network("2001:db8::2/128"), 112),
    ]
    assert render_filter(rules).replace("2001:db8::2/128", "2001:db8::2") == FILTER


def test_no_rule_lets_nothing_in() -> None:
    assert "chain amphora_vip_chain {\n    }" in render_filter([])


@pytest.mark.parametrize("directory", ["", "/usr/local/bin/"])
def test_the_contract_s_script_is_understood(directory: str) -> None:
    command = f"{directory}lvs-masquerade.sh  add ipv6 eth10 sriov"
    assert parse_masquerade(command) == (MasqueradeAction.ADD, Masquerade(6, "eth10", is_sriov=True))


@pytest.mark.parametrize(
    "command",
    [
        "",
        "lvs-masquerade.sh",
        "lvs-masquerade.sh add ipv5 eth1",
        'lvs-masquerade.sh add ipv4 eth1"}',
        "lvs-masquerade.sh add ipv4 eth1 other",
        "lvs-masquerade.sh flush ipv4 eth1",
        "echo lvs-masquerade.sh add ipv4 eth1",
        "lvs-masquerade.sh add ipv4 a-name-longer-than-15",
    ],
)
def test_other_commands_are_not(command: str) -> None:
    assert parse_masquerade(command) is None


def test_the_ip_version_an_interface_no_longer_has_is_deleted() -> None:
    ruleset, others = split_scripts(["/usr/local/bin/lvs-masquerade.sh add ipv4 eth1", "/bin/echo a  b", " "])
    assert others == (("/bin/echo", "a", "b"),)
    assert 'add element ip octavia-ipv4 masqueraded { "eth1" }' in ruleset
    assert "delete element ip octavia-ipv4" not in ruleset
    assert 'delete element ip6 octavia-ipv6 masqueraded { "eth1" }' in ruleset
    both, _ = split_scripts([f"lvs-masquerade.sh add ipv{version} eth1" for version in (4, 6)])
    assert "delete" not in both
    assert split_scripts(["true"]) == ("", (("true",),))


def test_what_ipvs_did_not_take_is_dropped_before_it_is_remembered() -> None:
    text = render_masquerade(MasqueradeAction.ADD, [Masquerade(6, "eth1", is_sriov=False)])
    assert "add chain ip6 octavia-ipv6 left-over { type filter hook input priority 150; }" in text
    assert "left-over iifname @masqueraded meta l4proto { udp, sctp } th dport != { 68, 546 } ct state new drop" in text


def test_connections_of_an_sriov_port_are_tracked() -> None:
    text = render_masquerade(MasqueradeAction.ADD, [Masquerade(4, "eth1", is_sriov=True)])
    assert 'delete element ip octavia-ipv4 untracked { "eth1" }' in text
    assert "delete element ip octavia-ipv4 masqueraded" not in text
