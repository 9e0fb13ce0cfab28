"""Every semantic error of a document at once: references, clashes, values no HAProxy or keepalived would take. Pure.

Decision: a document that passes is one that HAProxy 2.6 to 3.2 accept once rendered, so that the check on the machine
only ever finds what the machine lacks. Where Octavia's API accepts what its amphora then cannot do, this refuses.

Source: Octavia API reference v2, "Protocol Combinations"; the bounds of HAProxy's configuration manual 2.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from amphora_agent.core.addresses import Address, parse_address
from amphora_agent.core.document.model import (
    Algorithm,
    ClientAuthentication,
    Comparison,
    Document,
    HealthMonitor,
    HttpMethod,
    L7Policy,
    L7Rule,
    Listener,
    Member,
    MonitorType,
    PersistenceType,
    PolicyAction,
    Pool,
    Protocol,
    RuleType,
    TlsVersion,
)
from amphora_agent.core.document.place import HTTP_PROTOCOLS, LVS_PROTOCOLS
from amphora_agent.core.document.problem import Path, Problem, problem, shown
from amphora_agent.core.document.values import (
    expression_fault,
    has_hole,
    host_fault,
    parse_network,
    split_ciphers,
    status_codes,
    unknown_ciphers,
)

POOL_PROTOCOLS: Mapping[Protocol, frozenset[Protocol]] = {
    Protocol.HTTP: frozenset({Protocol.HTTP, Protocol.PROXY, Protocol.PROXYV2}),
    Protocol.HTTPS: frozenset({Protocol.HTTPS, Protocol.PROXY, Protocol.PROXYV2, Protocol.TCP}),
    Protocol.PROMETHEUS: frozenset(),
    Protocol.SCTP: frozenset({Protocol.SCTP}),
    Protocol.TCP: frozenset({Protocol.HTTP, Protocol.HTTPS, Protocol.PROXY, Protocol.PROXYV2, Protocol.TCP}),
    Protocol.TERMINATED_HTTPS: frozenset({Protocol.HTTP, Protocol.PROXY, Protocol.PROXYV2}),
    Protocol.UDP: frozenset({Protocol.UDP}),
}
_LVS_MONITORS = frozenset({MonitorType.HTTP, MonitorType.SCTP, MonitorType.TCP, MonitorType.UDP_CONNECT})
_HAPROXY_MONITORS = frozenset(MonitorType) - {MonitorType.SCTP, MonitorType.UDP_CONNECT}
_HTTP_MONITORS = frozenset({MonitorType.HTTP, MonitorType.HTTPS})
HEADERS = frozenset({"X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"})
TLS_HEADERS = frozenset(
    {
        "X-SSL-Client-CN",
        "X-SSL-Client-DN",
        "X-SSL-Client-Has-Cert",
        "X-SSL-Client-Not-After",
        "X-SSL-Client-Not-Before",
        "X-SSL-Client-SHA1",
        "X-SSL-Client-Verify",
        "X-SSL-Issuer",
    }
)
_REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})
_DN_FIELDS = frozenset({"C", "CN", "DC", "GN", "L", "O", "OU", "SN", "ST", "UID", "emailAddress", "serialNumber"})
_KEYED_RULES = frozenset({RuleType.COOKIE, RuleType.HEADER, RuleType.SSL_DN_FIELD})
_TLS_RULES = frozenset({RuleType.SSL_CONN_HAS_CERT, RuleType.SSL_DN_FIELD, RuleType.SSL_VERIFY_RESULT})
_EQUAL_ONLY = frozenset({RuleType.SSL_CONN_HAS_CERT, RuleType.SSL_VERIFY_RESULT})
# HAProxy's round robin has 12 bits for the position of a server.
_ROUND_ROBIN_MOST = 4095
_MOST_CONNECTIONS = 2_000_000
_CODES_MOST = 100
# keepalived keeps seconds in 32 bits of microseconds.
_KEEPALIVED_LONGEST = 4294


class SecretKind(StrEnum):
    """What an uploaded secret is."""

    CERTIFICATE = "certificate"
    AUTHORITY = "authority"
    REVOCATIONS = "revocations"
    PASSWORD = "password"  # noqa: S105  the name of a kind


def check(document: Document, secrets: Mapping[str, SecretKind] | None = None) -> tuple[Problem, ...]:
    """Return every semantic error of a document, in its order; empty for a good one.

    Args:
        document: of the right shape already.
        secrets: name -> kind of those uploaded; None to leave them unchecked, as on a machine without the agent.
    """
    return tuple(dict.fromkeys(_Checker(document, secrets).problems()))


@dataclass(frozen=True, slots=True)
class _Fault:
    """A problem whose place in words is not looked up yet."""

    path: Path
    detail: str
    expected: str = ""


@dataclass(slots=True)
class _Checker:
    document: Document
    secrets: Mapping[str, SecretKind] | None

    def problems(self) -> Iterator[Problem]:
        """Yield all of them, objects in the order of the document."""
        for fault in self._faults():
            yield problem(self.document, fault.path, fault.detail, fault.expected)

    def _faults(self) -> Iterator[_Fault]:
        document = self.document
        yield from self._vip_faults()
        yield from _duplicate_names(document.listeners, ("listeners",))
        yield from _duplicate_names(document.pools, ("pools",))
        yield from self._port_clashes()
        total = sum(each.connection_limit for each in document.listeners if each.connection_limit > 0)
        if total > _MOST_CONNECTIONS:
            yield _Fault(("listeners",), f"all connection limits together are {total}", f"at most {_MOST_CONNECTIONS}")
        pools = {pool.name: pool for pool in document.pools}
        for number, listener in enumerate(document.listeners):
            yield from self._listener_faults(listener, pools, ("listeners", number))
        for number, pool in enumerate(document.pools):
            yield from self._pool_faults(pool, ("pools", number))
        yield from self._vrrp_faults()

    # --- addresses ---------------------------------------------------------------------------------------------

    def _vip_faults(self) -> Iterator[_Fault]:
        seen: dict[Address, int] = {}
        for number, vip in enumerate(self.document.vips):
            path: Path = ("vips", number)
            address, network = parse_address(vip.address), parse_network(vip.subnet)
            yield from _address_faults(vip.address, address, (*path, "address"))
            if network is None:
                yield _Fault((*path, "subnet"), f"got {shown(vip.subnet)}", "a subnet in CIDR notation, no host bits")
            elif address is not None and address not in network:
                yield _Fault((*path, "subnet"), f"{vip.address} is not in {vip.subnet}", "the subnet of the address")
            if address is not None and address in seen:
                yield _Fault((*path, "address"), f"VIP number {seen[address] + 1} has it too", "each address once")
            elif address is not None:
                seen[address] = number
            yield from _route_faults(self.document, number, address)

    def _vrrp_faults(self) -> Iterator[_Fault]:
        vrrp = self.document.vrrp
        if vrrp is None:
            return
        vips = {parse_address(vip.address) for vip in self.document.vips}
        own, peer = parse_address(vrrp.own), parse_address(vrrp.peer)
        for field, address in (("own", own), ("peer", peer)):
            yield from _address_faults(getattr(vrrp, field), address, ("vrrp", field))
            if address is not None and address in vips:
                yield _Fault(("vrrp", field), f"{address} is a VIP", "the amphora's fixed address")
        if own is not None and own == peer:
            yield _Fault(("vrrp", "peer"), "it is the own address too", "the other amphora's address")
        elif own is not None and peer is not None and own.version != peer.version:
            yield _Fault(("vrrp", "peer"), f"own is IPv{own.version}", f"an IPv{own.version} address")
        main = parse_address(self.document.vips[0].address)
        if own is not None and main is not None and own.version != main.version:
            yield _Fault(("vrrp", "own"), f"the first VIP is IPv{main.version}", f"an IPv{main.version} address")
        yield from self._secret_faults(vrrp.auth, SecretKind.PASSWORD, ("vrrp", "auth"))

    def _secret_faults(self, name: str | None, kind: SecretKind, path: Path) -> Iterator[_Fault]:
        if name is None or self.secrets is None:
            return
        if name not in self.secrets:
            yield _Fault(path, f"there is no secret {shown(name)}", f"the name of a secret ({kind}) that was uploaded")
        elif self.secrets[name] is not kind:
            yield _Fault(path, f"secret {shown(name)} is of kind {self.secrets[name]}", f"one of kind {kind}")

    # --- listeners ---------------------------------------------------------------------------------------------

    def _port_clashes(self) -> Iterator[_Fault]:
        seen: dict[tuple[Protocol, int], str] = {}
        for number, listener in enumerate(self.document.listeners):
            family = listener.protocol if listener.protocol in LVS_PROTOCOLS else Protocol.TCP
            key = (family, listener.protocol_port)
            if key in seen:
                detail = f"{family} port {listener.protocol_port} is taken by listener {shown(seen[key])}"
                yield _Fault(("listeners", number, "protocol_port"), detail, f"a {family} port of its own")
            else:
                seen[key] = listener.name

    def _listener_faults(self, listener: Listener, pools: Mapping[str, Pool], path: Path) -> Iterator[_Fault]:
        if listener.protocol not in POOL_PROTOCOLS:
            yield _Fault((*path, "protocol"), f"no listener speaks {listener.protocol}", _one_of(POOL_PROTOCOLS))
            return
        if listener.connection_limit == 0:
            yield _Fault((*path, "connection_limit"), "got 0", "-1 for no limit of its own, or at least 1")
        yield from self._pool_reference(listener, listener.default_pool, pools, (*path, "default_pool"))
        yield from self._policy_list_faults(listener, pools, path)
        yield from _header_faults(listener, path)
        yield from _cidr_faults(listener, path)
        if listener.protocol is Protocol.TERMINATED_HTTPS:
            yield from self._listener_tls_faults(listener, path)
        else:
            yield from _needless_tls_faults(listener, path)

    def _pool_reference(
        self, listener: Listener, name: str | None, pools: Mapping[str, Pool], path: Path
    ) -> Iterator[_Fault]:
        if name is None:
            return
        allowed = POOL_PROTOCOLS[listener.protocol]
        if name not in pools:
            yield _Fault(path, f"there is no pool {shown(name)}", "the name of a pool of this document")
        elif not allowed:
            yield _Fault(path, f"a {listener.protocol} listener has no pool", "nothing")
        elif pools[name].protocol not in allowed:
            detail = f"pool {shown(name)} speaks {pools[name].protocol}, the listener {listener.protocol}"
            yield _Fault(path, detail, f"a pool of protocol {', '.join(sorted(allowed))}")
        else:
            yield from self._persistence_behind(listener, pools[name], path)
            yield from self._member_families(listener, pools[name])

    def _persistence_behind(self, listener: Listener, pool: Pool, path: Path) -> Iterator[_Fault]:
        persistence = pool.session_persistence
        if persistence is None or persistence.type is PersistenceType.SOURCE_IP:
            return
        if listener.protocol not in HTTP_PROTOCOLS:
            detail = f"pool {shown(pool.name)} keeps sessions by cookie, and {listener.protocol} has none"
            yield _Fault(path, detail, "a pool with session persistence SOURCE_IP or none")

    def _member_families(self, listener: Listener, pool: Pool) -> Iterator[_Fault]:
        """LVS translates between addresses of one IP version only."""
        if listener.protocol not in LVS_PROTOCOLS:
            return
        vips = [parse_address(vip.address) for vip in self.document.vips]
        versions = {address.version for address in vips if address is not None}
        if None in vips:
            return
        at = self.document.pools.index(pool)
        for number, member in enumerate(pool.members):
            address = parse_address(member.address)
            if address is not None and address.version not in versions:
                path = ("pools", at, "members", number, "address")
                yield _Fault(
                    path,
                    f"no VIP is IPv{address.version}, and {listener.protocol} is not translated",
                    "an address of the IP version of a VIP",
                )

    def _policy_list_faults(self, listener: Listener, pools: Mapping[str, Pool], path: Path) -> Iterator[_Fault]:
        at: Path = (*path, "l7policies")
        if listener.l7policies and listener.protocol not in HTTP_PROTOCOLS:
            yield _Fault(at, f"{listener.protocol} has no requests to look at", "none, or an HTTP listener")
        yield from _duplicate_names(listener.l7policies, at)
        for number, policy in enumerate(listener.l7policies):
            yield from _policy_faults(policy, (*at, number))
            if policy.action is PolicyAction.REDIRECT_TO_POOL:
                reference: Path = (*at, number, "redirect_pool")
                yield from self._pool_reference(listener, policy.redirect_pool, pools, reference)
            for place, rule in enumerate(policy.rules):
                yield from _rule_faults(rule, listener, (*at, number, "rules", place))

    def _listener_tls_faults(self, listener: Listener, path: Path) -> Iterator[_Fault]:
        if listener.default_tls_container_ref is None and not listener.sni_container_refs:
            yield _Fault((*path, "default_tls_container_ref"), "there is no certificate", "the name of a secret")
        yield from self._secret_faults(
            listener.default_tls_container_ref, SecretKind.CERTIFICATE, (*path, "default_tls_container_ref")
        )
        for number, name in enumerate(listener.sni_container_refs):
            yield from self._secret_faults(name, SecretKind.CERTIFICATE, (*path, "sni_container_refs", number))
        ca, crl = listener.client_ca_tls_container_ref, listener.client_crl_container_ref
        yield from self._secret_faults(ca, SecretKind.AUTHORITY, (*path, "client_ca_tls_container_ref"))
        yield from self._secret_faults(crl, SecretKind.REVOCATIONS, (*path, "client_crl_container_ref"))
        if ca is None and listener.client_authentication is not ClientAuthentication.NONE:
            yield _Fault(
                (*path, "client_authentication"), "there is no CA to verify clients with", "client_ca_tls_container_ref"
            )
        if crl is not None and ca is None:
            yield _Fault((*path, "client_crl_container_ref"), "there is no CA", "client_ca_tls_container_ref")
        if listener.hsts_max_age is None and (listener.hsts_include_subdomains or listener.hsts_preload):
            yield _Fault((*path, "hsts_max_age"), "HSTS has options and no age", "seconds")
        yield from _tls_value_faults(listener, path)

    # --- pools -------------------------------------------------------------------------------------------------

    def _pool_faults(self, pool: Pool, path: Path) -> Iterator[_Fault]:
        if pool.protocol in {Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS}:
            yield _Fault((*path, "protocol"), f"got {pool.protocol}", "a protocol of pools, HTTP or TCP for instance")
            return
        yield from _persistence_faults(pool, path)
        yield from _monitor_faults(pool, path)
        yield from _extra_faults(pool, path)
        yield from _member_list_faults(pool, path)
        yield from self._pool_tls_faults(pool, path)

    def _pool_tls_faults(self, pool: Pool, path: Path) -> Iterator[_Fault]:
        references = (
            ("tls_container_ref", SecretKind.CERTIFICATE),
            ("ca_tls_container_ref", SecretKind.AUTHORITY),
            ("crl_container_ref", SecretKind.REVOCATIONS),
        )
        for field, kind in references:
            name = getattr(pool, field)
            if name is not None and not pool.tls_enabled:
                yield _Fault((*path, field), "TLS to the members is off", "tls_enabled: true")
            yield from self._secret_faults(name, kind, (*path, field))
        if pool.tls_enabled and pool.protocol in LVS_PROTOCOLS:
            yield _Fault((*path, "tls_enabled"), f"{pool.protocol} has no TLS", "false")
        if pool.crl_container_ref is not None and pool.ca_tls_container_ref is None:
            yield _Fault((*path, "crl_container_ref"), "there is no CA", "ca_tls_container_ref")
        if pool.tls_enabled:
            yield from _tls_value_faults(pool, path)


def _one_of(words: Iterable[str]) -> str:
    return f"one of {', '.join(sorted(words))}"


def _duplicate_names(objects: Iterable[Listener | Pool | Member | L7Policy], path: Path) -> Iterator[_Fault]:
    seen: set[str] = set()
    for number, each in enumerate(objects):
        if each.name in seen:
            yield _Fault((*path, number, "name"), f"the name {shown(each.name)} is taken", "each name once")
        seen.add(each.name)


def _address_faults(text: str, address: Address | None, path: Path) -> Iterator[_Fault]:
    """Yield what is wrong with a text that is read as `address`."""
    if address is None:
        yield _Fault(path, f"got {shown(text)}", "an IPv4 or IPv6 address")
    elif fault := host_fault(address):
        yield _Fault(path, fault, "a unicast address")


def _route_faults(document: Document, number: int, address: Address | None) -> Iterator[_Fault]:
    vip = document.vips[number]
    version = address.version if address is not None else None
    path: Path = ("vips", number)
    if vip.gateway_ip is not None:
        yield from _hop_faults(vip.gateway_ip, version, (*path, "gateway_ip"))
    for place, route in enumerate(vip.host_routes):
        at: Path = (*path, "host_routes", place)
        network = parse_network(route.destination)
        if network is None or (version is not None and network.version != version):
            yield _Fault((*at, "destination"), f"got {shown(route.destination)}", "a subnet of the VIP's IP version")
        yield from _hop_faults(route.nexthop, version, (*at, "nexthop"))


def _hop_faults(text: str, version: int | None, path: Path) -> Iterator[_Fault]:
    address = parse_address(text)
    if address is None or (version is not None and address.version != version):
        yield _Fault(path, f"got {shown(text)}", "an address of the VIP's IP version")


def _header_faults(listener: Listener, path: Path) -> Iterator[_Fault]:
    allowed: frozenset[str] = frozenset()
    if listener.protocol in HTTP_PROTOCOLS:
        allowed = HEADERS | TLS_HEADERS if listener.protocol is Protocol.TERMINATED_HTTPS else HEADERS
    for header, value in listener.insert_headers.items():
        at: Path = (*path, "insert_headers", header)
        if header not in allowed:
            what = ", ".join(sorted(allowed)) or f"none: {listener.protocol} has no headers"
            yield _Fault(at, f"{shown(header)} cannot be inserted here", what)
        elif value.lower() not in {"true", "false"}:
            yield _Fault(at, f"got {shown(value)}", '"true" or "false"')


def _cidr_faults(listener: Listener, path: Path) -> Iterator[_Fault]:
    for number, text in enumerate(listener.allowed_cidrs):
        if parse_network(text) is None:
            at: Path = (*path, "allowed_cidrs", number)
            yield _Fault(at, f"got {shown(text)}", "a subnet in CIDR notation, no host bits")
    if listener.allowed_cidrs and listener.protocol in LVS_PROTOCOLS:
        detail = f"{listener.protocol} is balanced in the kernel, where nothing keeps other clients out"
        yield _Fault((*path, "allowed_cidrs"), detail, "none")


def _needless_tls_faults(listener: Listener, path: Path) -> Iterator[_Fault]:
    """Yield what only a listener that ends TLS can do; said of another it would be believed and not done."""
    fields = (
        "default_tls_container_ref",
        "sni_container_refs",
        "client_ca_tls_container_ref",
        "client_crl_container_ref",
        "hsts_max_age",
    )
    for field in fields:
        if getattr(listener, field):
            yield _Fault((*path, field), f"a {listener.protocol} listener does not end TLS", "TERMINATED_HTTPS")
    if listener.client_authentication is not ClientAuthentication.NONE:
        at: Path = (*path, "client_authentication")
        yield _Fault(at, f"a {listener.protocol} listener does not end TLS", "TERMINATED_HTTPS")


def _tls_value_faults(owner: Listener | Pool, path: Path) -> Iterator[_Fault]:
    versions = owner.tls_versions
    if not versions:
        yield _Fault((*path, "tls_versions"), "got none", "at least one version")
    elif has_hole(versions):
        yield _Fault((*path, "tls_versions"), f"got {', '.join(versions)}", "versions without one missing in between")
    elif TlsVersion.SSLV3 in versions:
        yield _Fault((*path, "tls_versions"), "got SSLv3", "TLSv1 or later: no OpenSSL of today speaks SSLv3")
    if owner.tls_ciphers is None:
        return
    unknown = unknown_ciphers(owner.tls_ciphers)
    if unknown:
        yield _Fault(
            (*path, "tls_ciphers"), f"{shown(', '.join(unknown))}: not known", "OpenSSL's names, joined by ':'"
        )
        return
    names, suites = split_ciphers(owner.tls_ciphers)
    if not names and not suites:
        yield _Fault((*path, "tls_ciphers"), "got none", "at least one cipher, or null for the defaults")


def _policy_faults(policy: L7Policy, path: Path) -> Iterator[_Fault]:
    wanted = {
        PolicyAction.REDIRECT_PREFIX: "redirect_prefix",
        PolicyAction.REDIRECT_TO_POOL: "redirect_pool",
        PolicyAction.REDIRECT_TO_URL: "redirect_url",
        PolicyAction.REJECT: None,
    }[policy.action]
    for field in ("redirect_prefix", "redirect_pool", "redirect_url"):
        given = getattr(policy, field)
        if field == wanted and given is None:
            yield _Fault((*path, field), f"action {policy.action} goes nowhere", "where to")
        elif field != wanted and given is not None:
            yield _Fault((*path, field), f"action {policy.action} does not use it", "nothing")
    code = policy.redirect_http_code
    if code is not None and policy.action not in {PolicyAction.REDIRECT_PREFIX, PolicyAction.REDIRECT_TO_URL}:
        yield _Fault((*path, "redirect_http_code"), f"action {policy.action} does not use it", "nothing")
    elif code is not None and code not in _REDIRECT_CODES:
        yield _Fault((*path, "redirect_http_code"), f"got {code}", "one of 301, 302, 303, 307, 308")


def _rule_faults(rule: L7Rule, listener: Listener, path: Path) -> Iterator[_Fault]:
    if rule.type in _TLS_RULES and listener.protocol is not Protocol.TERMINATED_HTTPS:
        yield _Fault((*path, "type"), f"{rule.type} looks at TLS, which the listener does not end", "TERMINATED_HTTPS")
    if (rule.key is not None) != (rule.type in _KEYED_RULES):
        expected = "the name of what to look at" if rule.key is None else "nothing"
        yield _Fault((*path, "key"), f"{rule.type} rules have {'one' if rule.key is None else 'none'}", expected)
    elif rule.type is RuleType.SSL_DN_FIELD and rule.key not in _DN_FIELDS:
        yield _Fault((*path, "key"), f"got {shown(rule.key)}", f"one of {', '.join(sorted(_DN_FIELDS))}")
    allowed = frozenset(Comparison)
    if rule.type in _EQUAL_ONLY:
        allowed = frozenset({Comparison.EQUAL_TO})
    elif rule.type is RuleType.FILE_TYPE:
        allowed = frozenset({Comparison.EQUAL_TO, Comparison.REGEX})
    if rule.compare_type not in allowed:
        at: Path = (*path, "compare_type")
        yield _Fault(
            at, f"{rule.type} cannot be compared by {rule.compare_type}", f"one of {', '.join(sorted(allowed))}"
        )
    elif rule.compare_type is Comparison.REGEX:
        fault = expression_fault(rule.value)
        if fault:
            yield _Fault((*path, "value"), f"{shown(rule.value)}: {fault}", "a regular expression")
    yield from _rule_value_faults(rule, path)


def _rule_value_faults(rule: L7Rule, path: Path) -> Iterator[_Fault]:
    at: Path = (*path, "value")
    if rule.type is RuleType.SSL_CONN_HAS_CERT and rule.value.lower() != "true":
        yield _Fault(at, f"got {shown(rule.value)}", '"true"; for the opposite, invert: true')
    elif rule.type is RuleType.SSL_VERIFY_RESULT:
        value = rule.value
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            yield _Fault(at, f"got {shown(value)}", "a number of OpenSSL's verification results")


def _persistence_faults(pool: Pool, path: Path) -> Iterator[_Fault]:
    persistence = pool.session_persistence
    if persistence is None:
        return
    at: Path = (*path, "session_persistence")
    is_lvs = pool.protocol in LVS_PROTOCOLS
    if persistence.type is not PersistenceType.SOURCE_IP and (
        is_lvs or pool.protocol in {Protocol.TCP, Protocol.HTTPS}
    ):
        yield _Fault((*at, "type"), f"{pool.protocol} has no cookies", "SOURCE_IP")
    if (persistence.cookie_name is not None) != (persistence.type is PersistenceType.APP_COOKIE):
        expected = "the name of the cookie" if persistence.cookie_name is None else "nothing"
        yield _Fault((*at, "cookie_name"), f"type is {persistence.type}", expected)
    for field in ("persistence_timeout", "persistence_granularity"):
        if getattr(persistence, field) is not None and not is_lvs:
            yield _Fault((*at, field), f"{pool.protocol} pools have none", "nothing")
    granularity = persistence.persistence_granularity
    if granularity is not None and is_lvs and not _is_granularity(granularity):
        yield _Fault((*at, "persistence_granularity"), f"got {shown(granularity)}", "a netmask, or a prefix for IPv6")


def _is_granularity(text: str) -> bool:
    """Tell whether this is an IPv6 prefix length or an IPv4 netmask."""
    if text.isascii() and text.isdigit() and len(text) <= 3:
        return 1 <= int(text) <= 128
    address = parse_address(text)
    inverted = ~int(address) & 0xFFFFFFFF if address is not None and address.version == 4 else 0xFFFFFFFF
    return inverted != 0xFFFFFFFF and inverted & (inverted + 1) == 0


def _monitor_faults(pool: Pool, path: Path) -> Iterator[_Fault]:
    monitor = pool.healthmonitor
    if monitor is None:
        return
    at: Path = (*path, "healthmonitor")
    is_lvs = pool.protocol in LVS_PROTOCOLS
    allowed = _LVS_MONITORS if is_lvs else _HAPROXY_MONITORS
    if monitor.type not in allowed:
        detail = f"{monitor.type} does not check {pool.protocol} members"
        yield _Fault((*at, "type"), detail, f"one of {', '.join(sorted(allowed))}")
    if monitor.timeout > monitor.delay:
        yield _Fault((*at, "timeout"), f"{monitor.timeout} s is longer than the delay", f"at most {monitor.delay}")
    elif is_lvs and monitor.timeout > _KEEPALIVED_LONGEST:
        yield _Fault((*at, "timeout"), f"got {monitor.timeout}", f"at most {_KEEPALIVED_LONGEST}, as keepalived counts")
    yield from _http_monitor_faults(monitor, at, is_lvs=is_lvs)


def _http_monitor_faults(monitor: HealthMonitor, path: Path, *, is_lvs: bool) -> Iterator[_Fault]:
    if monitor.type not in _HTTP_MONITORS:
        for field in ("http_method", "url_path", "expected_codes", "http_version", "domain_name"):
            if getattr(monitor, field) is not None:
                yield _Fault((*path, field), f"{monitor.type} checks make no HTTP request", "nothing")
        return
    if is_lvs and monitor.http_method not in {None, HttpMethod.GET}:
        yield _Fault((*path, "http_method"), f"got {monitor.http_method}", "GET: keepalived knows no other")
    if monitor.http_version not in {None, 1.0, 1.1}:
        yield _Fault((*path, "http_version"), f"got {monitor.http_version}", "1.0 or 1.1")
    if monitor.domain_name is not None and (monitor.http_version != 1.1 or is_lvs):
        yield _Fault((*path, "domain_name"), "the check sends no Host header", "http_version 1.1, and no UDP or SCTP")
    codes = status_codes(monitor.expected_codes or "200")
    if not codes or (is_lvs and len(codes) > _CODES_MOST):
        yield _Fault((*path, "expected_codes"), f"got {shown(monitor.expected_codes)}", f"1 to {_CODES_MOST} codes")


def _extra_faults(pool: Pool, path: Path) -> Iterator[_Fault]:
    at: Path = (*path, "extra")
    for field in ("ramp", "outlier_errors"):
        if getattr(pool.extra, field) is None:
            continue
        if pool.protocol in LVS_PROTOCOLS:
            yield _Fault((*at, field), f"{pool.protocol} is balanced in the kernel, which has none", "nothing")
        elif pool.healthmonitor is None or not pool.healthmonitor.admin_state_up:
            yield _Fault((*at, field), "no check says when a member is up again", "a health monitor")


def _member_list_faults(pool: Pool, path: Path) -> Iterator[_Fault]:
    at: Path = (*path, "members")
    yield from _duplicate_names(pool.members, at)
    if pool.lb_algorithm is Algorithm.ROUND_ROBIN and len(pool.members) > _ROUND_ROBIN_MOST:
        yield _Fault(at, f"got {len(pool.members)} members", f"at most {_ROUND_ROBIN_MOST} with ROUND_ROBIN")
    seen: dict[tuple[Address, int], str] = {}
    for number, member in enumerate(pool.members):
        address = parse_address(member.address)
        yield from _address_faults(member.address, address, (*at, number, "address"))
        if address is not None:
            key = (address, member.protocol_port)
            if key in seen:
                detail = f"member {shown(seen[key])} has this address and port"
                yield _Fault((*at, number, "address"), detail, "each address and port once in a pool")
            seen.setdefault(key, member.name)
        yield from _member_faults(pool, member, (*at, number))


def _member_faults(pool: Pool, member: Member, path: Path) -> Iterator[_Fault]:
    if member.monitor_address is not None:
        yield from _address_faults(
            member.monitor_address, parse_address(member.monitor_address), (*path, "monitor_address")
        )
    if member.backup and pool.protocol in LVS_PROTOCOLS:
        yield _Fault((*path, "backup"), f"{pool.protocol} members are no reserves", "false")
