"""Random load balancers for the tests of documents: good ones by construction, with texts that only a tenant writes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from amphora_agent.core.document.checks import HEADERS, POOL_PROTOCOLS, TLS_HEADERS, SecretKind
from amphora_agent.core.document.model import (
    Algorithm,
    Alpn,
    Comparison,
    HttpMethod,
    MonitorType,
    Protocol,
    RuleType,
)
from amphora_agent.core.document.values import CIPHERS_1_2, SUITES_1_3

Json = dict[str, Any]

SECRETS = {
    "shop-rsa": SecretKind.CERTIFICATE,
    "api": SecretKind.CERTIFICATE,
    "partners": SecretKind.AUTHORITY,
    "revoked": SecretKind.REVOCATIONS,
    "pair": SecretKind.PASSWORD,
}
LVS = (Protocol.UDP, Protocol.SCTP)
HTTP = (Protocol.HTTP, Protocol.TERMINATED_HTTPS)
TLS_VERSIONS = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]

# What would end a word, a line or the meaning of the rest in HAProxy's language.
HOSTILE = st.sampled_from(
    [
        "a b",
        'say "hi"',
        "it's",
        "50%",
        "%[src]",
        "back\\slash",
        "\\",
        "end\\",
        "# no comment",
        "$HOME ${PATH}",
        "{ path /x }",
        "if TRUE",
        "-f",
        "-i",
        "--",
        "-m",
        "é ü 日本",
        "a,b)(",
        "!",
        "\u2028\u00a0",
    ]
)
names = st.builds(lambda text, number: f"{text}{number}", HOSTILE, st.integers(0, 99)).filter(
    lambda text: "/" not in text
)
lines = st.one_of(
    HOSTILE.filter(str.isprintable),
    st.text("abcABC019 \\\"'#$%{}()[]!,;:-ü", min_size=1, max_size=12),
    st.sampled_from(["/api", "a" * 255, "exe"]),
)
tokens = st.text("abcXYZ019!#$%&*+.^_|~-", min_size=1, max_size=20)
paths = st.one_of(
    st.sampled_from(["/", "/healthz", "/a%20b?x=1&y=#".replace("#", "%23"), "/!$&'()*+,;=:@~/?-"]),
    st.text("abz09._~!$&'()*+,;=:@/?-", max_size=40).map(lambda text: f"/{text}"),
)
urls = st.builds(
    lambda scheme, host, rest: f"{scheme}://{host}{rest}",
    st.sampled_from(["http", "https"]),
    st.sampled_from(["shop.example.org", "[2001:db8::1]:8443", "a"]),
    st.text("abz09._~!$&'()*+,;=:@/?#[]-", max_size=40),
)
expressions = st.sampled_from(
    ["^a.*|b$", "a{2,3}", "[a-z]+\\.exe$", "(?:x|y)?", "\\d+\\s#", "[^/]*", "(?=a)b", "a b'\"", "\\x41$"]
)
addresses4 = st.integers(0x0A000001, 0x0AFFFFFE).map(
    lambda n: ".".join(str(n >> shift & 255) for shift in (24, 16, 8, 0))
)
addresses6 = st.integers(1, 0xFFFF).map(lambda n: f"2001:db8:20::{n:x}")


@dataclass(frozen=True, slots=True)
class _World:
    """What listeners can refer to."""

    pools: list[Json]
    versions: frozenset[int]


def optional(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Return an object with one field or none."""
    return st.one_of(st.just({}), values.map(lambda value: {name: value}))


def merged(*parts: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    """Return one object with the fields of all."""
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


def fixed(**fields: object) -> st.SearchStrategy[Json]:
    """Return always these fields."""
    return st.just(dict(fields))


def fields(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Return an object with each of these fields or without it."""
    return st.fixed_dictionaries({}, optional=values)


def required(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Return an object with all of these fields."""
    return st.fixed_dictionaries(values)


@st.composite
def documents(draw: st.DrawFn) -> Json:
    """Return a load balancer that has nothing wrong, as JSON."""
    vips = draw(
        st.sampled_from(
            [
                [{"address": "10.10.0.100", "subnet": "10.10.0.0/24", "gateway_ip": "10.10.0.1"}],
                [{"address": "2001:db8:10::100", "subnet": "2001:db8:10::/64"}],
                [
                    {"address": "10.10.0.100", "subnet": "10.10.0.0/24"},
                    {"address": "2001:db8:10::100", "subnet": "2001:db8:10::/64"},
                    {"address": "10.11.0.100", "subnet": "10.11.0.0/24"},
                ],
            ]
        )
    )
    versions = frozenset(6 if ":" in vip["address"] else 4 for vip in vips)
    pool_names = draw(st.lists(names, max_size=4, unique=True))
    world = _World([{"name": name, **draw(pools(versions))} for name in pool_names], versions)
    listener_names = draw(st.lists(names, max_size=4, unique=True))
    ports = draw(st.lists(st.integers(1, 65535), min_size=4, max_size=4, unique=True))
    document: Json = {
        "name": draw(names),
        "vips": vips,
        "pools": world.pools,
        "listeners": [
            listener_of(draw(LISTENERS), name, port, world) for name, port in zip(listener_names, ports, strict=False)
        ],
    }
    document |= draw(fields(admin_state_up=st.sampled_from([True, True, False]), description=lines))
    if draw(st.booleans()):
        own, peer = (
            ("10.10.0.12", "10.10.0.11") if ":" not in vips[0]["address"] else ("2001:db8:10::1", "2001:db8:10::2")
        )
        document["vrrp"] = {"own": own, "peer": peer, "auth": "pair", "priority": draw(st.integers(1, 254))}
    return document


@functools.cache
def pools(versions: frozenset[int]) -> st.SearchStrategy[Json]:
    """Return a pool of any protocol."""
    protocols = st.sampled_from(sorted(set(Protocol) - {Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS}))
    return protocols.flatmap(lambda protocol: _pool(protocol, versions))


@functools.cache
def _pool(protocol: Protocol, versions: frozenset[int]) -> st.SearchStrategy[Json]:
    is_lvs = protocol in LVS
    parts = [
        fixed(protocol=protocol),
        required(lb_algorithm=st.sampled_from(Algorithm)),
        fields(
            admin_state_up=st.sampled_from([True, True, True, False]),
            healthmonitor=monitors(is_lvs=is_lvs),
            session_persistence=persistences(protocol),
        ),
        required(members=members(versions, is_lvs=is_lvs)),
    ]
    if not is_lvs:
        parts += [st.one_of(st.just({}), _pool_tls()), optional("extra", EXTRA)]
    return merged(*parts).map(_checked_extra)


EXTRA = fields(ramp=st.integers(1, 86400), outlier_errors=st.integers(1, 100_000))


def _checked_extra(pool: Json) -> Json:
    """Return a pool without what only a check can end, where none is made."""
    monitor = pool.get("healthmonitor")
    if monitor is None or monitor.get("admin_state_up") is False:
        return {key: value for key, value in pool.items() if key != "extra"}
    return pool


@functools.cache
def _pool_tls() -> st.SearchStrategy[Json]:
    authority = st.sampled_from(
        [{}, {"ca_tls_container_ref": "partners"}, {"ca_tls_container_ref": "partners", "crl_container_ref": "revoked"}]
    )
    return merged(fixed(tls_enabled=True), fields(tls_container_ref=st.just("api")), authority, tls_values())


@functools.cache
def tls_values() -> st.SearchStrategy[Json]:
    """Return versions, ciphers and ALPN."""
    ranges = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda ends: TLS_VERSIONS[min(ends) : max(ends) + 1])
    ciphers = st.lists(st.sampled_from(sorted(CIPHERS_1_2 | SUITES_1_3)), min_size=1, max_size=5).map(":".join)
    return fields(
        tls_versions=ranges,
        tls_ciphers=st.one_of(st.none(), ciphers),
        alpn_protocols=st.lists(st.sampled_from(Alpn), max_size=3),
    )


@functools.cache
def persistences(protocol: Protocol) -> st.SearchStrategy[Json]:
    """Return what keeps sessions in a pool; cookies only where every listener has them."""
    source = fixed(type="SOURCE_IP")
    if protocol in LVS:
        granularity = st.sampled_from(["255.255.0.0", "255.255.255.255", "64", "128"])
        return merged(
            source, fields(persistence_timeout=st.integers(1, 2_678_400), persistence_granularity=granularity)
        )
    if protocol in {Protocol.TCP, Protocol.HTTPS}:
        return source
    return st.one_of(source, fixed(type="HTTP_COOKIE"), merged(fixed(type="APP_COOKIE"), required(cookie_name=tokens)))


@functools.cache
def monitors(*, is_lvs: bool) -> st.SearchStrategy[Json]:
    """Return a health monitor."""
    kinds = (
        [MonitorType.TCP, MonitorType.UDP_CONNECT, MonitorType.SCTP]
        if is_lvs
        else [
            MonitorType.TCP,
            MonitorType.PING,
            MonitorType.TLS_HELLO,
        ]
    )
    longest = 4294 if is_lvs else 86400
    times = st.tuples(st.integers(1, 86400), st.integers(1, longest)).map(
        lambda pair: {"delay": max(pair), "timeout": min(pair)}
    )
    retries = merged(required(max_retries=st.integers(1, 10)), fields(max_retries_down=st.integers(1, 10)))
    common = merged(times, retries, fields(admin_state_up=st.sampled_from([True, True, False]), name=lines))
    codes = st.sampled_from(["200", "200-204,301", "200,204", "404-404,200", "100-199"])
    http: list[st.SearchStrategy[Json]] = [required(type=st.sampled_from(["HTTP"] if is_lvs else ["HTTP", "HTTPS"]))]
    http.append(fields(url_path=paths, expected_codes=codes))
    if is_lvs:
        http.append(fields(http_method=st.just("GET")))
    else:
        hosts: st.SearchStrategy[Json] = st.sampled_from(
            [{"http_version": 1.0}, {"http_version": 1.1, "domain_name": "a.example.org"}, {}]
        )
        http += [fields(http_method=st.sampled_from(HttpMethod)), hosts]
    return st.one_of(merged(required(type=st.sampled_from(kinds)), common), merged(*http, common))


@functools.cache
def members(versions: frozenset[int], *, is_lvs: bool) -> st.SearchStrategy[list[Json]]:
    """Return the members of a pool."""
    usable = versions if is_lvs else frozenset({4, 6})
    addresses = st.one_of(*([addresses4] if 4 in usable else []), *([addresses6] if 6 in usable else []))
    member = st.fixed_dictionaries(
        {"name": names, "address": addresses, "protocol_port": st.integers(1, 65535)},
        optional={
            "weight": st.integers(0, 256),
            "admin_state_up": st.booleans(),
            "monitor_port": st.integers(1, 65535),
            "monitor_address": addresses,
            **({} if is_lvs else {"backup": st.booleans()}),
        },
    )
    return st.lists(member, max_size=3, unique_by=(lambda each: each["name"], lambda each: each["address"]))


@functools.cache
def _listener(protocol: Protocol) -> st.SearchStrategy[Json]:
    """Return a listener whose pools are numbers still, see `listeners`."""
    times = st.integers(1, 2_147_483_647)
    cidrs = st.lists(st.sampled_from(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32", "0.0.0.0/0"]), max_size=3)
    common = fields(
        admin_state_up=st.sampled_from([True, True, True, False]),
        connection_limit=st.one_of(st.just(-1), st.integers(1, 500_000)),
        timeout_client_data=times,
        timeout_member_connect=times,
        timeout_member_data=times,
        timeout_tcp_inspect=st.integers(0, 2_147_483_647),
        default_pool=st.integers(0, 3),
        **({} if protocol in LVS else {"allowed_cidrs": st.one_of(cidrs, cidrs.map(lambda found: found * 30))}),
    )
    parts = [fixed(protocol=protocol), common]
    if protocol in HTTP:
        parts.append(_http_fields(protocol))
    if protocol is Protocol.TERMINATED_HTTPS:
        parts.append(_tls_fields())
    return merged(*parts)


LISTENERS = st.sampled_from(sorted(POOL_PROTOCOLS)).flatmap(_listener)


def listener_of(found: Json, name: str, port: int, world: _World) -> Json:
    """Return a drawn listener with names instead of the numbers of its pools; it loses what it has no pool for."""
    protocol = Protocol(found["protocol"])
    usable = [pool["name"] for pool in world.pools if _fits(protocol, pool)]
    listener: Json = {"name": name, "protocol_port": port, **found}
    if "default_pool" in found:
        del listener["default_pool"]
        if usable:
            listener["default_pool"] = usable[found["default_pool"] % len(usable)]
    if "l7policies" in found:
        policies_found = [dict(policy) for policy in found["l7policies"]]
        listener["l7policies"] = [each for each in policies_found if usable or "redirect_pool" not in each]
        for policy in listener["l7policies"]:
            if "redirect_pool" in policy:
                policy["redirect_pool"] = usable[policy["redirect_pool"] % len(usable)]
    return listener


def _fits(protocol: Protocol, pool: Json) -> bool:
    persistence = pool.get("session_persistence", {}).get("type", "SOURCE_IP")
    return pool["protocol"] in POOL_PROTOCOLS[protocol] and (persistence == "SOURCE_IP" or protocol in HTTP)


@functools.cache
def _http_fields(protocol: Protocol) -> st.SearchStrategy[Json]:
    headers = HEADERS | TLS_HEADERS if protocol is Protocol.TERMINATED_HTTPS else HEADERS
    chosen = st.dictionaries(st.sampled_from(sorted(headers)), st.sampled_from(["true", "True", "false"]))
    unique = st.lists(policies(protocol), max_size=4, unique_by=lambda policy: policy["name"])
    return fields(insert_headers=chosen, l7policies=unique)


@functools.cache
def _tls_fields() -> st.SearchStrategy[Json]:
    client = st.sampled_from(
        [
            {},
            {"client_authentication": "OPTIONAL", "client_ca_tls_container_ref": "partners"},
            {
                "client_authentication": "MANDATORY",
                "client_ca_tls_container_ref": "partners",
                "client_crl_container_ref": "revoked",
            },
        ]
    )
    hsts = merged(
        required(hsts_max_age=st.integers(0, 2_147_483_647)),
        fields(hsts_include_subdomains=st.booleans(), hsts_preload=st.booleans()),
    )
    certificates = merged(fixed(default_tls_container_ref="shop-rsa"), fields(sni_container_refs=st.just(["api"])))
    return merged(certificates, client, st.one_of(st.just({}), hsts), tls_values())


@functools.cache
def policies(protocol: Protocol) -> st.SearchStrategy[Json]:
    """Return an L7 policy."""
    code = optional("redirect_http_code", st.sampled_from([301, 302, 303, 307, 308]))
    actions = [
        fixed(action="REJECT"),
        merged(fixed(action="REDIRECT_TO_URL"), required(redirect_url=urls), code),
        merged(fixed(action="REDIRECT_PREFIX"), required(redirect_prefix=urls), code),
        merged(fixed(action="REDIRECT_TO_POOL"), required(redirect_pool=st.integers(0, 3))),
    ]
    return merged(
        required(name=names, rules=st.lists(rules(protocol), max_size=5)),
        st.one_of(actions),
        fields(position=st.integers(1, 9), admin_state_up=st.sampled_from([True, True, False])),
    )


@functools.cache
def rules(protocol: Protocol) -> st.SearchStrategy[Json]:
    """Return an L7 rule."""
    plain = st.sampled_from(sorted(set(Comparison) - {Comparison.REGEX}))
    compared = st.one_of(
        required(compare_type=plain, value=lines), merged(fixed(compare_type="REGEX"), required(value=expressions))
    )
    kinds = [
        merged(required(type=st.sampled_from([RuleType.HOST_NAME, RuleType.PATH])), compared),
        merged(required(type=st.sampled_from([RuleType.COOKIE, RuleType.HEADER]), key=tokens), compared),
        merged(fixed(type="FILE_TYPE", compare_type="EQUAL_TO"), required(value=lines)),
        merged(fixed(type="FILE_TYPE", compare_type="REGEX"), required(value=expressions)),
    ]
    if protocol is Protocol.TERMINATED_HTTPS:
        kinds += [
            fixed(type="SSL_CONN_HAS_CERT", compare_type="EQUAL_TO", value="True"),
            fixed(type="SSL_VERIFY_RESULT", compare_type="EQUAL_TO", value="18"),
            merged(fixed(type="SSL_DN_FIELD"), required(key=st.sampled_from(["CN", "emailAddress"])), compared),
        ]
    return merged(st.one_of(kinds), fields(invert=st.booleans(), admin_state_up=st.sampled_from([True, True, False])))
