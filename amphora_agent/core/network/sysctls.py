"""The kernel settings of the namespace, and the reader of sysctl.d files. Never touches /proc."""

from __future__ import annotations

from collections.abc import Iterator

# Of the whole machine: they can be written in the initial namespace alone.
CONNTRACK_SIZES = {
    "net/netfilter/nf_conntrack_buckets": "125000",
    "net/netfilter/nf_conntrack_max": "125000",
    "net/netfilter/nf_conntrack_expect_max": "488",
}

# What the image's own drop-ins say; a drop-in of the machine wins.
NAMESPACE_SYSCTLS = {
    "net/core/somaxconn": "65534",
    "net/ipv4/ip_local_port_range": "1025 65534",
    "net/ipv4/ping_group_range": "0 2147483647",
    "net/ipv4/tcp_fin_timeout": "5",
    "net/ipv4/tcp_keepalive_time": "300",
    "net/ipv4/tcp_max_orphans": "5800000",
    "net/ipv4/tcp_max_syn_backlog": "100000",
    "net/ipv4/tcp_max_tw_buckets": "5800000",
    # A connection that waits at a listener that closes goes to the one beside it: none is reset when one HAProxy takes
    # over from another. Since Linux 5.14.
    "net/ipv4/tcp_migrate_req": "1",
    "net/ipv4/tcp_mtu_probing": "1",
    # A slow download holds what it may send soon, not megabytes: 0.16 MB of kernel memory in place of 5 MB.
    "net/ipv4/tcp_notsent_lowat": "131072",
    "net/ipv4/tcp_rmem": "4096 131072 33554432",
    "net/ipv4/tcp_synack_retries": "3",
    "net/ipv4/tcp_tw_reuse": "1",
    "net/ipv4/tcp_wmem": "4096 16384 33554432",
    "net/netfilter/nf_conntrack_tcp_timeout_fin_wait": "5",
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5",
}

# What the data plane does not work without, whatever a drop-in says:
# forwarding and IPVS for LVS; binding VIPs the amphora does not hold (yet); loose reverse path checks, because a client
# on a member subnet reaches the VIP through another interface than the answer to it would take by the main table;
# promotion, because without it the kernel removes all addresses of a subnet with the first one.
REQUIRED_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/ip_nonlocal_bind": "1",
    "net/ipv6/ip_nonlocal_bind": "1",
    "net/ipv4/vs/conntrack": "1",
    "net/ipv4/vs/expire_nodest_conn": "1",
    "net/ipv4/vs/expire_quiescent_template": "1",
    "net/ipv4/conf/all/rp_filter": "2",
    "net/ipv4/conf/all/promote_secondaries": "1",
    "net/ipv4/conf/default/promote_secondaries": "1",
}


def parse_drop_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the network settings of one sysctl.d file as path below /proc/sys and value, in order.

    Patterns and exclusions are left out: interfaces get theirs from `all` and `default`.

    Source: sysctl.d(5): `#` and `;` start comments, `-` before a name ignores errors, `.` and `/` change places
    depending on which one comes first.
    """
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        name = name.strip().removeprefix("-")
        if not separator or name[:1] in ("", "#", ";") or "*" in name or ".." in name:
            continue
        dots_separate = "/" not in name or ("." in name and name.index(".") < name.index("/"))
        path = name.translate(str.maketrans("./", "/.")) if dots_separate else name
        if path.startswith("net/") and value.strip():
            yield path, value.strip()
