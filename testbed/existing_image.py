"""What the image of the existing agent has beside that agent, for machines that are to be like it."""

from __future__ import annotations

# What the image's script does for an interface that is no SR-IOV port, in one nft call.
MASQUERADE = """#!/bin/sh
[ "$1" = add ] || exit 0
family=ip; [ "$2" = ipv6 ] && family=ip6
exec nft -f - <<EOF
table $family octavia-$2 {
    chain $family-udp-masq { type nat hook postrouting priority 100; oifname $3 meta l4proto udp masquerade; }
    chain $family-sctp-masq { type nat hook postrouting priority 100; oifname $3 meta l4proto sctp masquerade; }
    chain prerouting { type filter hook prerouting priority -300; iifname $3 meta l4proto tcp notrack; }
    chain output { type filter hook output priority -300; oifname $3 meta l4proto tcp notrack; }
}
EOF
"""
