#!/bin/sh
# Masquerading for LVS: lvs-masquerade.sh add|delete ipv4|ipv6 INTERFACE [sriov]
# Interface files name this path; install it as /usr/local/bin/lvs-masquerade.sh.
amphora-interface masquerade "$@"
