"""Every way in which an amphora is known to get sick: one check each, a pure function over what was seen.

A check yields what it finds; nothing means that all is in order, or that it could not be seen. What each code means
and what to do is in `explanations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from amphora_agent.core.doctor.facts import Certificate, Facts, Network
from amphora_agent.core.haproxy.plan import changes_under_leastconn
from amphora_agent.core.heartbeat.document import is_amphora_id
from amphora_agent.core.network.model import Interface, InterfaceType, Route, wanted_routes
from amphora_agent.core.network.unsettled import Trouble, unsettled
from amphora_agent.core.settings import Topology

DAY = 86400
# A certificate of the agent is renewed by the controller two weeks before its end; it is late then.
_LATE = 7 * DAY
_TENANT_SOON = 14 * DAY
_NEARLY_FULL, _FULL = 0.90, 0.98
_MANY_OLD_WORKERS = 10
# The agent ends old workers in time, which takes it a look or two.
_GRACE = 600
_CONNTRACK_HIGH = 0.8


class Severity(StrEnum):
    """How bad it is: it will go wrong, or it does."""

    WARNING = "warn"
    FAILURE = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, in words for an operator."""

    severity: Severity
    text: str


Find = Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `health` is what is true when it finds nothing."""

    code: str
    health: str
    find: Find


def _fail(text: str) -> Finding:
    return Finding(Severity.FAILURE, text)


def _warn(text: str) -> Finding:
    return Finding(Severity.WARNING, text)


def _agent(facts: Facts) -> Iterator[Finding]:
    if facts.agent_trouble:
        yield _fail(f"the agent does not answer: {facts.agent_trouble}")


def _units(facts: Facts) -> Iterator[Finding]:
    for unit in facts.failed_units:
        yield _fail(f"the unit {unit} has failed")


def _settings(facts: Facts) -> Iterator[Finding]:
    if facts.settings_trouble:
        yield _fail(f"the agent's configuration cannot be used: {facts.settings_trouble}")
    for oddity in facts.settings.oddities:
        yield _warn(f"the agent's configuration: {oddity.text}; the default stands for it")


def _disk(facts: Facts) -> Iterator[Finding]:
    yield from _full(facts, is_memory=False)


def _memory_disk(facts: Facts) -> Iterator[Finding]:
    yield from _full(facts, is_memory=True)


def _full(facts: Facts, *, is_memory: bool) -> Iterator[Finding]:
    for each in facts.file_systems:
        if each.is_memory is not is_memory:
            continue
        for what, size, free in (("", each.size, each.free), (" of files", each.files, each.free_files)):
            share = 1 - free / size if size else 0.0
            if share >= _NEARLY_FULL:
                make = _fail if share >= _FULL else _warn
                yield make(f"{each.path} ({each.use}) is {share:.0%} full{what}")


def _namespace(facts: Facts) -> Iterator[Finding]:
    if facts.network is None and not any("namespace" in each for each in facts.unseen):
        yield _fail(f"there is no network namespace {facts.settings.netns}")


def _nics(facts: Facts) -> Iterator[Finding]:
    network = facts.network
    if network is None:
        return
    inside = {link.mac for link in network.links}
    for nic in network.plugged:
        if nic.mac not in inside:
            where = "it is outside of the namespace" if nic.mac in network.outside else "no NIC has that MAC address"
            yield _fail(f"{nic.name} ({nic.mac}) is not in {facts.settings.netns}: {where}")


def _interfaces(facts: Facts) -> Iterator[Finding]:
    network = facts.network
    if network is None:
        return
    links = {link.name: link for link in network.links}
    for desired in network.desired:
        link = links.get(desired.name)
        for each in unsettled(desired, network.states.get(desired.name)):
            if each.trouble is not Trouble.DUPLICATE:
                yield _fail(str(each))
        if link is not None and desired.mtu and link.mtu != desired.mtu:
            yield _warn(f"{desired.name}: the MTU is {link.mtu} and not {desired.mtu}")


def _duplicates(facts: Facts) -> Iterator[Finding]:
    for desired in facts.network.desired if facts.network is not None else ():
        for each in unsettled(desired, facts.network.states.get(desired.name) if facts.network else None):
            if each.trouble is Trouble.DUPLICATE:
                yield _fail(f"{each.ifname} {each.address}: another machine has the address")


def _routes(facts: Facts) -> Iterator[Finding]:
    network = facts.network
    if network is None:
        return
    for desired in network.desired:
        index = _index(network, desired)
        for route in _missing_routes(network, desired, index) if index is not None else ():
            via = f" via {route.gateway}" if route.gateway is not None else ""
            yield _fail(f"{desired.name}: the route to {route.destination}{via} in table {route.table} is not there")


def _missing_routes(network: Network, desired: Interface, index: int) -> Iterator[Route]:
    """Yield the routes of an interface that are not there, and whose place no other interface's route has."""
    there = {(route.destination, route.gateway, route.table) for route in network.routes if route.interface == index}
    taken = {(route.destination, route.table) for route in network.routes if route.interface != index}
    for route in wanted_routes(desired.routes):
        is_there = (route.destination, route.gateway, route.table) in there
        if not is_there and (route.destination, route.table) not in taken:
            yield route


def _rules(facts: Facts) -> Iterator[Finding]:
    network = facts.network
    if network is None:
        return
    there = {(rule.source, rule.table) for rule in network.rules}
    for desired in network.desired:
        if desired.type is not InterfaceType.VIP or _index(network, desired) is None:
            continue
        for rule in desired.rules:
            if (rule.source, rule.table) not in there:
                yield _fail(f"{desired.name}: the rule from {rule.source} to table {rule.table} is not there")


def _index(network: Network, desired: Interface) -> int | None:
    return next((link.index for link in network.links if link.name == desired.name), None)


def _conntrack(facts: Facts) -> Iterator[Finding]:
    count, limit = (facts.network.conntrack if facts.network is not None else None) or (0, 0)
    if limit and count >= limit * _CONNTRACK_HIGH:
        make = _fail if count >= limit else _warn
        yield make(f"{count} of {limit} tracked connections are in use")


def _wants_heartbeats(facts: Facts) -> bool:
    """Tell whether the amphora has a controller: one that is driven by API 2.0 alone has none."""
    return bool(facts.settings.heartbeat_key or facts.settings.controller_ip_port_list)


def _heartbeat(facts: Facts) -> Iterator[Finding]:
    if not _wants_heartbeats(facts):
        return
    if facts.heartbeat_troubles is None and not any("processes" in each for each in facts.unseen):
        yield _fail("the heartbeat process does not run: the controller will replace this amphora")


def _heartbeat_settings(facts: Facts) -> Iterator[Finding]:
    settings = facts.settings
    if not _wants_heartbeats(facts):
        return
    missing = {
        "[health_manager] heartbeat_key": settings.heartbeat_key,
        "[health_manager] controller_ip_port_list": settings.controller_ip_port_list,
        "[amphora_agent] amphora_id": is_amphora_id(settings.amphora_id),
    }
    for option, value in missing.items():
        if not value:
            yield _warn(f"no heartbeats are sent without {option}")


def _heartbeat_delivery(facts: Facts) -> Iterator[Finding]:
    for subject, words in (facts.heartbeat_troubles or {}).items():
        if subject.startswith("controller "):
            yield _fail(f"{subject} {words}")
        elif subject in ("heartbeat", "counters", "keepalived"):
            yield _fail(f"{subject}: {words}")


def _heartbeat_size(facts: Facts) -> Iterator[Finding]:
    words = (facts.heartbeat_troubles or {}).get("heartbeat size", "")
    if words and "fragments" not in words:
        yield (_fail if "fit" in words else _warn)(f"the heartbeat {words}")


def _haproxy_runs(facts: Facts) -> Iterator[Finding]:
    for each in facts.haproxies:
        if not each.is_running and not each.is_stopped:
            yield _fail(f"HAProxy of load balancer {each.loadbalancer} does not run")


def _haproxy_current(facts: Facts) -> Iterator[Finding]:
    for each in facts.haproxies:
        if each.is_running and each.is_current is False:
            yield _warn(f"HAProxy of load balancer {each.loadbalancer} runs another configuration than is stored")


def _reloads(facts: Facts) -> Iterator[Finding]:
    for each in facts.haproxies:
        if each.failed_reloads:
            yield _fail(f"the last {each.failed_reloads} reloads of load balancer {each.loadbalancer} failed")
        if each.reload_only:
            yield _warn(f"every change of load balancer {each.loadbalancer} is a reload: {each.reload_only}")


def _old_workers(facts: Facts) -> Iterator[Finding]:
    oldest_allowed = facts.settings.hard_stop_after + _GRACE
    for each in facts.haproxies:
        stuck = [age for age in each.old_workers if age > oldest_allowed]
        if stuck:
            yield _fail(f"{len(stuck)} replaced workers of load balancer {each.loadbalancer} do not end")
        elif len(each.old_workers) >= min(_MANY_OLD_WORKERS, facts.settings.max_old_workers):
            yield _warn(f"{len(each.old_workers)} replaced workers of load balancer {each.loadbalancer} still run")


def _memory(facts: Facts) -> Iterator[Finding]:
    available = facts.available_memory
    needed = max((each.needs for each in facts.haproxies if each.is_running), default=0)
    if available is not None and needed > available:
        yield _fail(f"{available >> 20} MB of memory are left; the next reload needs {needed >> 20} MB")


def _version(facts: Facts) -> Iterator[Finding]:
    if facts.haproxy_version is not None and not changes_under_leastconn(facts.haproxy_version):
        yield _warn(f"HAProxy {facts.haproxy_version} aborts when members of least-connections pools change")


def _clock(facts: Facts) -> Iterator[Finding]:
    for each in facts.certificates:
        if each.use in ("agent", "controllers") and each.begin > facts.now:
            yield _fail(f"{each.path} is not valid yet: the clock may be wrong by {_days(each.begin - facts.now)}")


def _agent_certificate(facts: Facts) -> Iterator[Finding]:
    yield from _expiry(facts, "agent", "the agent's certificate", _LATE)


def _controller_authority(facts: Facts) -> Iterator[Finding]:
    yield from _expiry(facts, "controllers", "the controllers' authority", _LATE)


def _tenant_certificates(facts: Facts) -> Iterator[Finding]:
    yield from _expiry(facts, "listener", "a certificate of a listener", _TENANT_SOON)


def _revocations(facts: Facts) -> Iterator[Finding]:
    yield from _expiry(facts, "revocations", "a revocation list", DAY)


def _expiry(facts: Facts, use: str, what: str, soon: float) -> Iterator[Finding]:
    for each in facts.certificates:
        if each.use == use:
            yield from _expiry_of(each, what, facts.now, soon)


def _expiry_of(certificate: Certificate, what: str, now: float, soon: float) -> Iterator[Finding]:
    if certificate.trouble:
        yield _fail(f"{what}, {certificate.path}, cannot be used: {certificate.trouble}")
    if certificate.end is None:
        return
    left = certificate.end - now
    if left <= 0:
        yield _fail(f"{what}, {certificate.path}, ended {_days(-left)} ago")
    elif left < soon:
        yield _warn(f"{what}, {certificate.path}, ends in {_days(left)}")


def _days(seconds: float) -> str:
    return f"{seconds / DAY:.0f} days" if seconds >= 2 * DAY else f"{seconds / 3600:.0f} hours"


def _keepalived(facts: Facts) -> Iterator[Finding]:
    if facts.vrrp is not None and not facts.vrrp.is_running and not facts.vrrp.has_resigned:
        yield _fail("keepalived does not run although VRRP is configured: no heartbeats are sent either")


def _resigned(facts: Facts) -> Iterator[Finding]:
    if facts.vrrp is not None and facts.vrrp.has_resigned:
        yield _fail("this amphora gave the VIP away because HAProxy cannot be kept running")


def _vip_owner(facts: Facts) -> Iterator[Finding]:
    vrrp, network = facts.vrrp, facts.network
    if vrrp is None or network is None or not vrrp.is_running or not vrrp.vips:
        return
    held = vrrp.vips & network.addresses
    if held and held != vrrp.vips:
        missing = ", ".join(sorted(str(vip) for vip in vrrp.vips - held))
        yield _fail(f"this amphora is MASTER and has only some of its VIPs; without: {missing}")


def _peer(facts: Facts) -> Iterator[Finding]:
    vrrp, network = facts.vrrp, facts.network
    if vrrp is None or network is None or facts.settings.loadbalancer_topology is not Topology.ACTIVE_STANDBY:
        return
    for peer in vrrp.peers:
        if peer in network.silent:
            role = "MASTER" if vrrp.vips & network.addresses else "BACKUP"
            yield _warn(f"this amphora is {role} and its peer {peer} does not answer")


def _lvs(facts: Facts) -> Iterator[Finding]:
    for listener, is_running in facts.lvs.items():
        if not is_running:
            yield _fail(f"keepalived of the UDP or SCTP listener {listener} does not run")


CHECKS: tuple[Check, ...] = (
    Check("E01", "the agent answers", _agent),
    Check("E02", "no unit has failed", _units),
    Check("E03", "the agent's configuration is in order", _settings),
    Check("E04", "the clock agrees with the certificates", _clock),
    Check("E05", "no disk is full", _disk),
    Check("E06", "no file system in memory is full", _memory_disk),
    Check("E07", "every NIC is in the namespace", _nics),
    Check("E08", "interfaces are up and have their addresses", _interfaces),
    Check("E09", "every route is there", _routes),
    Check("E10", "every rule is there", _rules),
    Check("E11", "no other machine has our addresses", _duplicates),
    Check("E12", "heartbeats reach their controllers", _heartbeat_delivery),
    Check("E13", "the heartbeat process runs", _heartbeat),
    Check("E14", "heartbeats fit into a datagram", _heartbeat_size),
    Check("E15", "heartbeats have a key, an id and a destination", _heartbeat_settings),
    Check("E16", "the network namespace is there", _namespace),
    Check("E17", "connection tracking has room", _conntrack),
    Check("E20", "HAProxy runs", _haproxy_runs),
    Check("E21", "HAProxy runs what is stored", _haproxy_current),
    Check("E22", "reloads succeed and are seldom needed", _reloads),
    Check("E23", "replaced workers end", _old_workers),
    Check("E24", "there is memory for another worker", _memory),
    Check("E25", "HAProxy's version is not known to be bad", _version),
    Check("E31", "the agent's certificate is valid", _agent_certificate),
    Check("E32", "the controllers' authority is valid", _controller_authority),
    Check("E33", "the listeners' certificates are valid", _tenant_certificates),
    Check("E34", "revocation lists are current", _revocations),
    Check("E40", "keepalived runs where VRRP is configured", _keepalived),
    Check("E41", "this amphora has not resigned", _resigned),
    Check("E42", "the master has every VIP", _vip_owner),
    Check("E43", "the peer answers", _peer),
    Check("E44", "UDP and SCTP listeners are served", _lvs),
)
