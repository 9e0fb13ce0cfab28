"""What each finding of the doctor means and what to do about it. The page docs/doctor.md is made from it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.core.doctor.checks import CHECKS


@dataclass(frozen=True, slots=True)
class Explanation:
    """What it means, and what to do, in the order to try."""

    meaning: str
    remedy: tuple[str, ...]


EXPLANATIONS: dict[str, Explanation] = {
    "E01": Explanation(
        "Nothing answers on the agent's socket. HAProxy and keepalived go on without it; the controller cannot change "
        "anything and shows errors.",
        (
            "`systemctl status amphora-agent` and `journalctl -u amphora-agent -n 50` say why it ended.",
            "Look at E03, E05 and E31: without settings, disk or certificate it cannot start.",
            "`api_socket` in the agent's configuration says where the socket is; empty means there is none.",
        ),
    ),
    "E02": Explanation(
        "systemd has given up on a unit, or waits before it tries again.",
        ("`journalctl -u UNIT -n 50` says why.", "`systemctl reset-failed UNIT && systemctl start UNIT` tries again."),
    ),
    "E03": Explanation(
        "The agent's configuration file is missing or holds what cannot be used. A running agent goes on with the last "
        "good one; it does not start with a bad one. A harmless option with a bad value counts as its default.",
        ("Correct the option that is named; `amphora-agent.conf(5)` lists all of them.",),
    ),
    "E04": Explanation(
        "A certificate begins in the future. Either the clock of this machine is behind, often after a resume, or the "
        "controller's is ahead. Mutual TLS fails until then, and the controller replaces the amphora.",
        ("`timedatectl` shows the clock and whether it is synchronised.", "Is the time server reachable from here?"),
    ),
    "E05": Explanation(
        "A disk is full or nearly so. Configurations are written whole before they replace the old ones, so changes "
        "are refused with the old state in place; logs are lost.",
        (
            "`du -xh / | sort -h | tail` finds what takes the room, most often /var/log.",
            "`journalctl --vacuum-size=50M` gives some of it back.",
        ),
    ),
    "E06": Explanation(
        "A file system in memory is full: certificates cannot be stored, or nothing below /run can be written.",
        (
            "Remove what does not belong there; `df -h` shows them.",
            "A larger one needs a larger flavor or another image.",
        ),
    ),
    "E07": Explanation(
        "A NIC that was plugged once is not in the namespace. The cloud detached it, or its hot-plug event was lost.",
        (
            "Outside of the namespace: the agent takes it within seconds; if not, restart the agent.",
            "Nowhere: compare the VM's ports in the cloud; detach and attach the port, or fail the load balancer over.",
            "`echo 1 > /sys/bus/pci/rescan` finds a NIC whose event was lost.",
        ),
    ),
    "E08": Explanation(
        "An interface is absent, down, without a carrier, without its address, without a lease, or has another MTU.",
        (
            "`amphora-interface up NAME` makes it what its file says; the agent does so at a plug and at boot.",
            "Without a lease: does a DHCP server answer in that subnet?",
        ),
    ),
    "E09": Explanation(
        "A route that an interface file asks for is not in the kernel. Somebody removed it, or the kernel refused it.",
        ("`amphora-interface up NAME` adds it and says why when it cannot.",),
    ),
    "E10": Explanation(
        "A rule that sends answers of the VIP through its own table is gone. Clients of other subnets get no answer.",
        ("`amphora-interface up eth1` adds it.",),
    ),
    "E11": Explanation(
        "Another machine answers for an address of ours. Two amphorae think that they are MASTER, or an old amphora "
        "was never deleted.",
        (
            "`amphoractl status` on the peer: is it MASTER too? Then VRRP does not pass between them.",
            "Find the other machine by its MAC address: `arping -D -I eth1 ADDRESS` inside of the namespace.",
        ),
    ),
    "E12": Explanation(
        "Heartbeats do not reach a controller: nothing listens there, the address cannot be resolved or reached, or a "
        "message could not be made. When no controller gets any, the load balancer is failed over.",
        (
            "Is the health manager running at that address, and is UDP 5555 open towards it?",
            "`journalctl -u amphora-heartbeat -n 50` has the network's own words.",
            "`amphoractl heartbeat listen` on that machine shows whether anything arrives.",
        ),
    ),
    "E13": Explanation(
        "The process that sends heartbeats does not run. After a minute without them the controller builds another "
        "amphora in place of this one.",
        ("`systemctl start amphora-heartbeat` and `journalctl -u amphora-heartbeat -n 50`.",),
    ),
    "E14": Explanation(
        "The heartbeat is larger than a datagram may be. The largest pools are left out of it and show as OFFLINE in "
        "the cloud; their traffic goes on.",
        ("Spread the members over several load balancers; some 3,200 of one pool fit.",),
    ),
    "E15": Explanation(
        "The configuration lacks what heartbeats need. A machine without a controller needs none of it.",
        ("Set the option that is named; the file is read again at once.",),
    ),
    "E16": Explanation(
        "The namespace of the load balancer is missing: nothing can be served.",
        ("`systemctl restart amphora-netns` builds it again, with all interfaces.",),
    ),
    "E17": Explanation(
        "The table of tracked connections is nearly full; new connections are dropped beyond its limit.",
        ("Raise `net.netfilter.nf_conntrack_max`, or choose a flavor with more memory.",),
    ),
    "E20": Explanation(
        "A load balancer is configured and its HAProxy is not there. It is started again with a growing pause.",
        (
            "`journalctl -u 'amphora-haproxy@*' -n 50` has HAProxy's own words.",
            "A port that another program holds, a missing certificate and a lack of memory (E24) are usual.",
        ),
    ),
    "E21": Explanation(
        "What was stored last is not what HAProxy was given: a reload failed or was never asked for.",
        ("`amphoractl get --running` and `--rendered` show both.", "Apply again, or have the controller update it."),
    ),
    "E22": Explanation(
        "HAProxy refused the last reloads and serves with the configuration from before them; or it has shown itself "
        "unfit for changes at run time, so that each change is a reload.",
        ("`journalctl -u 'amphora-haproxy@*' -n 50` says what it refused.", "An agent's restart ends reload-only."),
    ),
    "E23": Explanation(
        "Workers that a reload has replaced go on for their open connections. Each takes memory.",
        (
            "`hard_stop_after` and `max_old_workers` in the agent's configuration bound them.",
            "Workers older than that hang: `kill` the pids that `show proc` on the master's socket names.",
        ),
    ),
    "E24": Explanation(
        "A reload starts a second worker beside the first. There is not enough memory for it; the kernel would kill.",
        ("Lower the connection limits of the listeners (130 bytes each), or choose a larger flavor.", "See E23."),
    ),
    "E25": Explanation(
        "This version of HAProxy has a fault that ends it when members of a least-connections pool are enabled or "
        "disabled. The agent avoids that by reloading.",
        ("Upgrade HAProxy: 3.2.19, or any 2.6 to 3.1 of a distribution.",),
    ),
    "E31": Explanation(
        "The agent's own certificate ended, ends soon, or cannot be used. Without it the controller cannot connect.",
        (
            "The controller renews it by `octavia-housekeeping`; is that running?",
            "`openstack loadbalancer amphora failover` makes a new amphora with a new one.",
            "Without a controller: `amphoractl pki issue`.",
        ),
    ),
    "E32": Explanation(
        "The authority that controllers' certificates are checked against ended or ends soon. Nobody gets in then.",
        ("Renew the client CA of the controllers, then fail the amphorae over.",),
    ),
    "E33": Explanation(
        "A certificate of a TLS listener ended or ends soon: clients refuse to connect.",
        (
            "Upload another one: to the cloud's secret store, and update the listener; else `amphoractl secret put`.",
            "It is exchanged without a reload.",
        ),
    ),
    "E34": Explanation(
        "The next update of a revocation list is due. HAProxy refuses every client certificate once it is overdue.",
        ("Upload the current list.",),
    ),
    "E40": Explanation(
        "VRRP is configured and keepalived is gone: this amphora is no part of its pair, and sends no heartbeats so "
        "that it is replaced.",
        ("`systemctl status octavia-keepalived` and `journalctl -u octavia-keepalived -n 50`.",),
    ),
    "E41": Explanation(
        "HAProxy could not be kept running, so keepalived was stopped and the peer has the VIP. It is asked for again "
        "when HAProxy has run for a while.",
        ("Find out what E20 is about; everything else follows from it.",),
    ),
    "E42": Explanation(
        "keepalived is MASTER and one of the VIPs is not on the interface: somebody removed it.",
        ("`systemctl reload octavia-keepalived` adds it again.",),
    ),
    "E43": Explanation(
        "The other amphora of the pair answers no ARP. It is down, or the network between the two is cut, in which "
        "case both are MASTER.",
        ("`openstack loadbalancer amphora list` shows whether it is being replaced.", "See E11."),
    ),
    "E44": Explanation(
        "A UDP or SCTP listener has no keepalived: its members are not checked, and a crash leaves its last state.",
        ("`journalctl -u 'octavia-keepalivedlvs@*' -n 50`.", "The agent starts it again within seconds."),
    ),
}


def page() -> str:
    """Return the documentation of all findings as Markdown."""
    lines = [
        "# What the doctor finds",
        "",
        "`amphoractl doctor` looks at the machine itself and needs no agent. Each finding has a code; this page is",
        "what `amphoractl explain CODE` prints. It is made from `amphora_agent/core/doctor/explanations.py`.",
    ]
    for check in CHECKS:
        lines += ["", f"## {check.code}: not so: {check.health}", "", *_body(EXPLANATIONS[check.code])]
    return "\n".join(lines) + "\n"


def explain(code: str) -> str | None:
    """Return the text of one finding, None for a code that there is not."""
    check = next((each for each in CHECKS if each.code == code.upper()), None)
    if check is None:
        return None
    return "\n".join((f"{check.code}: not so: {check.health}", "", *_body(EXPLANATIONS[check.code]))) + "\n"


def _body(explanation: Explanation) -> Iterator[str]:
    yield from _wrapped(explanation.meaning, "", "")
    yield ""
    for step in explanation.remedy:
        yield from _wrapped(step, "- ", "  ")


def _wrapped(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text, 110, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
