#!/bin/sh
# What a cloud has around an amphora, made anew at every boot: a client and the members, each in a namespace of its
# own, and one NIC towards each, unplugged as far as the agent knows.
set -e

network() {  # namespace, the amphora's NIC, its MAC, addresses of the far end ...
    ip netns add "$1"
    ip link add "$2" address "$3" type veth peer name eth0 netns "$1"
    {
        echo "link set lo up"
        echo "link set eth0 up"
        shift 3
        for address; do
            case $address in
            *:*) echo "address add $address dev eth0 nodad" ;;
            *) echo "address add $address dev eth0" ;;
            esac
        done
    } | ip -n "$1" -batch -
}

network client nic-vip fa:16:3e:00:00:01 10.10.0.1/24 2001:db8:10::1/64
members=
for number in $(seq 11 30); do
    members="$members 10.20.0.$number/24 2001:db8:20::$number/64"
done
# shellcheck disable=SC2086
network members nic-members fa:16:3e:00:00:02 10.20.0.1/24 $members
# A dead member's host says so for every query: a flood must not use up the messages that its health check waits for.
ip netns exec members sysctl -q net.ipv4.icmp_ratelimit=0
