"""sysctl.d files: what of them concerns the namespace."""

from __future__ import annotations

from amphora_agent.core.network.sysctls import parse_drop_in


def test_names_in_both_spellings_and_what_is_left_out() -> None:
    text = """
# comment = 1
; comment = 1
net.ipv4.tcp_fin_timeout = 7
-net.core.somaxconn=9
net/ipv4/conf/eth0.100/rp_filter = 0
net.ipv4.conf.eth0/100.rp_filter = 1
net.ipv4.conf.*.rp_filter = 2
kernel.sysrq = 0
net.ipv4.tcp_rmem = 1 2 3
-net.ipv4.conf.all.rp_filter
net.ipv4.../etc = 1
"""
    assert list(parse_drop_in(text)) == [
        ("net/ipv4/tcp_fin_timeout", "7"),
        ("net/core/somaxconn", "9"),
        ("net/ipv4/conf/eth0.100/rp_filter", "0"),
        ("net/ipv4/conf/eth0.100/rp_filter", "1"),
        ("net/ipv4/tcp_rmem", "1 2 3"),
    ]
