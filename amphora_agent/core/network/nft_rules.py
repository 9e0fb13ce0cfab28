"""Renders nftables rulesets: the SR-IOV filter of the VIP interface, and masquerading for LVS. Loads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from amphora_agent.core.addresses import Subnet
from amphora_agent.core.network.model import VIP_INTERFACE

_VRRP_PROTOCOL_NUMBER = 112
_DHCP_CLIENTS = "{ 68, 546 }"
_MASQUERADE_SCRIPT = re.compile(
    r"(?:\S*/)?lvs-masquerade\.sh (add|delete) ipv([46]) ([\w.-]{1,15})( sriov)?\Z", re.ASCII
)


class RuleProtocol(StrEnum):
    """What a rule lets in; spelled as on the wire."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    VRRP = "vrrp"


class MasqueradeAction(StrEnum):
    """What to do about the masquerading of an interface."""

    ADD = "add"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class AllowRule:
    """Traffic the VIP interface accepts: from everywhere when `source` is None; VRRP has no port."""

    protocol: RuleProtocol
    source: Subnet | None
    port: int


@dataclass(frozen=True, slots=True)
class Masquerade:
    """What LVS needs of one interface for one IP version.

    UDP and SCTP that leave through it get its address; TCP over it is not tracked, except where the SR-IOV filter has
    to know connections.
    """

    version: int
    interface: str
    is_sriov: bool


def render_filter(rules: Iterable[AllowRule]) -> str:
    """Return the whole filter of an SR-IOV VIP; loading it replaces the previous one in one transaction.

    TCP over interfaces that are not tracked (members that are no SR-IOV ports) has no connection state, so there
    everything but a new connection is an answer.
    """
    lines = "".join(f"        {line}\n" for line in dict.fromkeys(_render_rule(rule) for rule in rules))
    return f"""\
add table inet amphora_table
delete table inet amphora_table
table inet amphora_table {{
    chain amphora_vip_chain {{
{lines}    }}
    chain amphora_chain {{
        type filter hook input priority filter; policy drop;
        ct state vmap {{ established : accept, related : accept, invalid : drop }}
        iifname "lo" accept
        ip saddr 127.0.0.0/8 drop
        ip6 saddr ::1 drop
        ct state untracked tcp flags & (syn | ack) != syn accept
        icmp type destination-unreachable accept
        icmpv6 type {{ nd-neighbor-solicit, nd-router-advert, nd-neighbor-advert }} accept
        icmpv6 type {{ packet-too-big, destination-unreachable }} accept
        udp sport 67 udp dport 68 accept
        udp sport 547 udp dport 546 accept
        iifname "{VIP_INTERFACE}" goto amphora_vip_chain
    }}
}}
"""


def _render_rule(rule: AllowRule) -> str:
    if rule.protocol is RuleProtocol.VRRP:
        wanted = f"meta l4proto {_VRRP_PROTOCOL_NUMBER}"
    else:
        wanted = f"{rule.protocol.value.lower()} dport {rule.port}"
    return f"{_render_source(rule.source)}{wanted} accept"


def _render_source(source: Subnet | None) -> str:
    if source is None:
        return ""
    if source.prefixlen == 0:
        return f"meta nfproto ipv{source.version} "
    return f"{'ip' if source.version == 4 else 'ip6'} saddr {source} "


def parse_masquerade(command: str) -> tuple[MasqueradeAction, Masquerade] | None:
    """Return the action and its object when the command is the contract's masquerade script, with correct words."""
    match = _MASQUERADE_SCRIPT.match(" ".join(command.split()))
    if match is None:
        return None
    return MasqueradeAction(match[1]), Masquerade(int(match[2]), match[3], match[4] is not None)


def split_scripts(scripts: Iterable[str]) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Return the nft batch that stands for the masquerade commands among an interface's, and the other commands.

    The IP version that is not mentioned is deleted: the interface may have had addresses of it before.
    """
    wanted: dict[tuple[str, int], tuple[MasqueradeAction, Masquerade]] = {}
    others: list[tuple[str, ...]] = []
    for script in scripts:
        parsed = parse_masquerade(script)
        if parsed is None:
            others.append(tuple(script.split()))
            continue
        name = parsed[1].interface
        wanted[name, parsed[1].version] = parsed
        other = Masquerade(10 - parsed[1].version, name, is_sriov=False)
        wanted.setdefault((name, other.version), (MasqueradeAction.DELETE, other))
    ruleset = "".join(render_masquerade(action, [masquerade]) for action, masquerade in wanted.values())
    return ruleset, tuple(command for command in others if command)


def render_masquerade(action: MasqueradeAction, masquerades: Iterable[Masquerade]) -> str:
    """Return one atomic nft batch that adds or deletes the masquerading of interfaces, whatever was there.

    Decision: the rules name sets of interfaces. Adding twice is adding once, deleting leaves the other interfaces
    alone, and rules that an older agent piled up in these chains go.

    Decision: a new UDP or SCTP flow that IPVS did not take (no listener there yet, or none any more) is dropped.
    Connection tracking would remember it as one without masquerading, and a client that keeps on sending from the
    same port would get no answer from the listener that comes later.
    """
    return "\n".join(line for masquerade in masquerades for line in _masquerade_lines(action, masquerade)) + "\n"


def _masquerade_lines(action: MasqueradeAction, masquerade: Masquerade) -> Iterator[str]:
    family, version = ("ip", "ipv4") if masquerade.version == 4 else ("ip6", "ipv6")
    table = f"{family} octavia-{version}"
    rules = {
        f"{family}-udp-masq": "oifname @masqueraded meta l4proto udp masquerade",
        f"{family}-sctp-masq": "oifname @masqueraded meta l4proto sctp masquerade",
        "prerouting": "iifname @untracked meta l4proto tcp notrack",
        "output": "oifname @untracked meta l4proto tcp notrack",
        "left-over": f"iifname @masqueraded meta l4proto {{ udp, sctp }} th dport != {_DHCP_CLIENTS} ct state new drop",
    }
    yield f"add table {table}"
    yield from (f"add set {table} {name} {{ type ifname; }}" for name in ("masqueraded", "untracked"))
    for chain, rule in rules.items():
        yield f"add chain {table} {chain} {{ {_hook(chain)}; }}"
        yield f"flush chain {table} {chain}"
        yield f"add rule {table} {chain} {rule}"
    is_masqueraded = action is MasqueradeAction.ADD
    for name, wanted in (("masqueraded", is_masqueraded), ("untracked", is_masqueraded and not masquerade.is_sriov)):
        element = f'{table} {name} {{ "{masquerade.interface}" }}'
        yield f"add element {element}"
        if not wanted:  # to delete what is not there is an error, to add what is there is none
            yield f"delete element {element}"


def _hook(chain: str) -> str:
    """Return where a chain is called; IPVS takes its packets at 98 and 99 of the input hook."""
    if chain == "left-over":
        return "type filter hook input priority 150"
    return (
        "type nat hook postrouting priority 100"
        if chain.endswith("masq")
        else f"type filter hook {chain} priority -300"
    )
