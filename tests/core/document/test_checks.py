"""Semantic errors: each row of the table is a good document with one thing changed, and the problem it has to have."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given

from amphora_agent.core.document.checks import POOL_PROTOCOLS, check
from amphora_agent.core.document.model import Protocol
from amphora_agent.core.document.problem import Problem
from amphora_agent.core.document.reading import Reading, read, read_tree
from tests.core.document.documents import SECRETS, Json, documents

MONITOR = {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2}
SHOP: Json = {
    "name": "shop",
    "vips": [{"address": "10.10.0.100", "subnet": "10.10.0.0/24", "gateway_ip": "10.10.0.1"}],
    "listeners": [
        {
            "name": "plain",
            "protocol": "HTTP",
            "protocol_port": 80,
            "default_pool": "web",
            "l7policies": [
                {
                    "name": "api",
                    "action": "REDIRECT_TO_POOL",
                    "redirect_pool": "api",
                    "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}],
                }
            ],
        },
        {
            "name": "tls",
            "protocol": "TERMINATED_HTTPS",
            "protocol_port": 443,
            "default_pool": "web",
            "default_tls_container_ref": "shop-rsa",
            "sni_container_refs": ["api"],
            "client_authentication": "OPTIONAL",
            "client_ca_tls_container_ref": "partners",
        },
        {"name": "db", "protocol": "TCP", "protocol_port": 5432, "default_pool": "db"},
        {"name": "dns", "protocol": "UDP", "protocol_port": 53, "default_pool": "dns"},
    ],
    "pools": [
        {
            "name": "web",
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "session_persistence": {"type": "HTTP_COOKIE"},
            "healthmonitor": MONITOR,
            "members": [
                {"name": "w1", "address": "192.0.2.11", "protocol_port": 8080},
                {"name": "w2", "address": "192.0.2.12", "protocol_port": 8080},
            ],
        },
        {"name": "api", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
        {"name": "db", "protocol": "TCP", "lb_algorithm": "SOURCE_IP"},
        {
            "name": "dns",
            "protocol": "UDP",
            "lb_algorithm": "ROUND_ROBIN",
            "members": [{"name": "n1", "address": "192.0.2.53", "protocol_port": 53}],
        },
    ],
    "vrrp": {"own": "10.10.0.11", "peer": "10.10.0.12", "auth": "pair"},
}


def changed(*path: str | int, to: object) -> Json:
    """Return the shop with one value replaced or added; a number at the end of a list appends."""
    tree = copy.deepcopy(SHOP)
    place: Any = tree
    for step in path[:-1]:
        place = place[step]
    last = path[-1]
    if isinstance(last, int) and last == len(place):
        place.append(to)
    else:
        place[last] = to
    return tree


def found(tree: Json) -> tuple[Problem, ...]:
    reading = read(json.dumps(tree).encode())
    assert isinstance(reading, Reading), reading
    return check(reading.document, SECRETS)


RULE = ("listeners", 0, "l7policies", 0, "rules", 0)
POLICY = ("listeners", 0, "l7policies", 0)
TABLE: list[tuple[Json, str, str, str]] = [
    # addresses
    (changed("vips", 0, "address", to="10.10.0"), "/vips/0/address", "VIP 10.10.0", "got '10.10.0'"),
    (changed("vips", 0, "subnet", to="10.11.0.0/24"), "/vips/0/subnet", "VIP 10.10.0.100", "is not in"),
    (changed("vips", 0, "subnet", to="10.10.0.1/24"), "/vips/0/subnet", "VIP 10.10.0.100", "got"),
    (
        changed("vips", 0, to={"address": "127.0.0.1", "subnet": "127.0.0.0/8"}),
        "/vips/0/address",
        "VIP 127.0.0.1",
        "no address of a host",
    ),
    (changed("vips", 1, to=SHOP["vips"][0]), "/vips/1/address", "VIP 10.10.0.100", "VIP number 1 has it too"),
    (changed("vips", 0, "gateway_ip", to="2001:db8::1"), "/vips/0/gateway_ip", "VIP 10.10.0.100", "got"),
    (
        changed("vips", 0, "host_routes", to=[{"destination": "0.0.0.1/0", "nexthop": "10.10.0.1"}]),
        "/vips/0/host_routes/0/destination",
        "VIP 10.10.0.100, host route number 1",
        "got",
    ),
    (changed("vrrp", "own", to="10.10.0.100"), "/vrrp/own", "VRRP", "is a VIP"),
    (changed("vrrp", "peer", to="10.10.0.11"), "/vrrp/peer", "VRRP", "own address too"),
    (changed("vrrp", "peer", to="2001:db8::12"), "/vrrp/peer", "VRRP", "own is IPv4"),
    (
        changed("vrrp", to={"own": "2001:db8::11", "peer": "2001:db8::12", "auth": "pair"}),
        "/vrrp/own",
        "VRRP",
        "the first VIP is IPv4",
    ),
    (changed("vrrp", "auth", to="nobody"), "/vrrp/auth", "VRRP", "there is no secret"),
    (changed("vrrp", "auth", to="shop-rsa"), "/vrrp/auth", "VRRP", "is of kind certificate"),
    # names, references, ports
    (changed("pools", 4, to=SHOP["pools"][0]), "/pools/4/name", "pool web", "is taken"),
    (changed("pools", 0, "members", 1, "name", to="w1"), "/pools/0/members/1/name", "pool web, member w1", "is taken"),
    (changed("listeners", 2, "name", to="tls"), "/listeners/2/name", "listener tls", "is taken"),
    (changed("listeners", 2, "default_pool", to="dB"), "/listeners/2/default_pool", "listener db", "there is no pool"),
    (
        changed(*POLICY, "redirect_pool", to="apo"),
        "/listeners/0/l7policies/0/redirect_pool",
        "L7 policy api",
        "no pool",
    ),
    (changed("listeners", 2, "protocol_port", to=443), "/listeners/2/protocol_port", "listener db", "listener 'tls'"),
    (changed("listeners", 2, "default_pool", to="web"), "/listeners/2/default_pool", "listener db", "by cookie"),
    (changed("listeners", 2, "default_pool", to="dns"), "/listeners/2/default_pool", "listener db", "speaks UDP"),
    (changed("listeners", 3, "default_pool", to="db"), "/listeners/3/default_pool", "listener dns", "speaks TCP"),
    (
        changed("listeners", 4, to={"name": "m", "protocol": "PROMETHEUS", "protocol_port": 9, "default_pool": "web"}),
        "/listeners/4/default_pool",
        "listener m",
        "has no pool",
    ),
    # listeners
    (changed("listeners", 2, "connection_limit", to=0), "/listeners/2/connection_limit", "listener db", "got 0"),
    (
        changed("listeners", 0, "insert_headers", to={"X-Evil\n": "true"}),
        "/listeners/0/insert_headers/X-Evil\n",
        "listener plain",
        "cannot be inserted",
    ),
    (
        changed("listeners", 0, "insert_headers", to={"X-SSL-Issuer": "true"}),
        "/listeners/0/insert_headers/X-SSL-Issuer",
        "listener plain",
        "cannot be inserted",
    ),
    (
        changed("listeners", 1, "insert_headers", to={"X-Forwarded-For": "yes\n"}),
        "/listeners/1/insert_headers/X-Forwarded-For",
        "listener tls",
        "got",
    ),
    (changed("listeners", 2, "allowed_cidrs", to=["10.0.0.1/8"]), "/listeners/2/allowed_cidrs/0", "listener db", "got"),
    (
        changed("listeners", 3, "allowed_cidrs", to=["10.0.0.0/8"]),
        "/listeners/3/allowed_cidrs",
        "listener dns",
        "kernel",
    ),
    (changed("listeners", 2, "hsts_max_age", to=1), "/listeners/2/hsts_max_age", "listener db", "does not end TLS"),
    (
        changed("listeners", 2, "client_authentication", to="MANDATORY"),
        "/listeners/2/client_authentication",
        "listener db",
        "does not end TLS",
    ),
    (
        changed("listeners", 1, "sni_container_refs", to=["x"]),
        "/listeners/1/sni_container_refs/0",
        "listener tls",
        "no secret",
    ),
    (
        changed("listeners", 1, "default_tls_container_ref", to="partners"),
        "/listeners/1/default_tls_container_ref",
        "listener tls",
        "is of kind authority",
    ),
    (
        changed("listeners", 1, "client_ca_tls_container_ref", to=None),
        "/listeners/1/client_authentication",
        "listener tls",
        "no CA",
    ),
    (changed("listeners", 1, "hsts_preload", to=True), "/listeners/1/hsts_max_age", "listener tls", "no age"),
    (changed("listeners", 1, "tls_versions", to=[]), "/listeners/1/tls_versions", "listener tls", "got none"),
    (
        changed("listeners", 1, "tls_versions", to=["TLSv1.1", "TLSv1.3"]),
        "/listeners/1/tls_versions",
        "listener tls",
        "got TLSv1.1, TLSv1.3",
    ),
    (changed("listeners", 1, "tls_ciphers", to="NULL-MD5"), "/listeners/1/tls_ciphers", "listener tls", "not known"),
    (changed("listeners", 1, "tls_ciphers", to="TLS_FOO"), "/listeners/1/tls_ciphers", "listener tls", "not known"),
    # policies and rules
    (changed(*POLICY, "redirect_pool", to=None), "/listeners/0/l7policies/0/redirect_pool", "L7 policy api", "nowhere"),
    (
        changed(*POLICY, "redirect_url", to="http://a"),
        "/listeners/0/l7policies/0/redirect_url",
        "L7 policy api",
        "does not use it",
    ),
    (
        changed(*POLICY, "redirect_http_code", to=301),
        "/listeners/0/l7policies/0/redirect_http_code",
        "L7 policy",
        "not use",
    ),
    (
        changed("listeners", 2, "l7policies", to=SHOP["listeners"][0]["l7policies"]),
        "/listeners/2/l7policies",
        "listener db",
        "no requests",
    ),
    (changed(*RULE, "key", to="X"), "/listeners/0/l7policies/0/rules/0/key", "rule number 1", "have none"),
    (
        changed(*RULE, to={"type": "HEADER", "compare_type": "EQUAL_TO", "value": "x"}),
        "/listeners/0/l7policies/0/rules/0/key",
        "rule number 1",
        "have one",
    ),
    (
        changed(*RULE, to={"type": "FILE_TYPE", "compare_type": "CONTAINS", "value": "x"}),
        "/listeners/0/l7policies/0/rules/0/compare_type",
        "rule number 1",
        "cannot be compared",
    ),
    (
        changed(*RULE, to={"type": "PATH", "compare_type": "REGEX", "value": "(a"}),
        "/listeners/0/l7policies/0/rules/0/value",
        "rule number 1",
        "unterminated",
    ),
    (
        changed(*RULE, to={"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "True"}),
        "/listeners/0/l7policies/0/rules/0/type",
        "rule number 1",
        "looks at TLS",
    ),
    # pools
    (
        changed("pools", 4, to={"name": "m", "protocol": "PROMETHEUS", "lb_algorithm": "ROUND_ROBIN"}),
        "/pools/4/protocol",
        "pool m",
        "got PROMETHEUS",
    ),
    (
        changed("pools", 4, to={**SHOP["pools"][2], "name": "m", "session_persistence": {"type": "HTTP_COOKIE"}}),
        "/pools/4/session_persistence/type",
        "pool m, session persistence",
        "no cookies",
    ),
    (
        changed("pools", 0, "session_persistence", to={"type": "APP_COOKIE"}),
        "/pools/0/session_persistence/cookie_name",
        "pool web, session persistence",
        "type is APP_COOKIE",
    ),
    (
        changed("pools", 3, "session_persistence", to={"type": "SOURCE_IP", "persistence_granularity": "0.0.0.255"}),
        "/pools/3/session_persistence/persistence_granularity",
        "pool dns, session persistence",
        "got",
    ),
    (
        changed("pools", 0, "session_persistence", to={"type": "SOURCE_IP", "persistence_timeout": 3}),
        "/pools/0/session_persistence/persistence_timeout",
        "pool web, session persistence",
        "have none",
    ),
    (
        changed("pools", 0, "healthmonitor", "type", to="UDP-CONNECT"),
        "/pools/0/healthmonitor/type",
        "pool web, health monitor",
        "does not check HTTP",
    ),
    (
        changed("pools", 3, "healthmonitor", to={**MONITOR, "type": "PING"}),
        "/pools/3/healthmonitor/type",
        "pool dns, health monitor",
        "does not check UDP",
    ),
    (
        changed("pools", 3, "healthmonitor", to={**MONITOR, "http_method": "HEAD"}),
        "/pools/3/healthmonitor/http_method",
        "pool dns, health monitor",
        "got HEAD",
    ),
    (
        changed("pools", 3, "healthmonitor", to={**MONITOR, "delay": 5000, "timeout": 4295}),
        "/pools/3/healthmonitor/timeout",
        "pool dns, health monitor",
        "got 4295",
    ),
    (changed("pools", 0, "healthmonitor", "timeout", to=6), "/pools/0/healthmonitor/timeout", "pool web", "longer"),
    (
        changed("pools", 0, "healthmonitor", "http_version", to=2.0),
        "/pools/0/healthmonitor/http_version",
        "pool web",
        "got 2.0",
    ),
    (
        changed("pools", 0, "healthmonitor", "domain_name", to="a.b"),
        "/pools/0/healthmonitor/domain_name",
        "pool web",
        "no Host header",
    ),
    (
        changed("pools", 0, "healthmonitor", "expected_codes", to="204-200"),
        "/pools/0/healthmonitor/expected_codes",
        "pool web",
        "got",
    ),
    (
        changed("pools", 0, "healthmonitor", to={**MONITOR, "type": "TCP", "url_path": "/"}),
        "/pools/0/healthmonitor/url_path",
        "pool web",
        "no HTTP request",
    ),
    (changed("pools", 1, "extra", to={"ramp": 5}), "/pools/1/extra/ramp", "pool api", "no check says"),
    (changed("pools", 3, "extra", to={"ramp": 5}), "/pools/3/extra/ramp", "pool dns", "kernel"),
    (changed("pools", 1, "tls_container_ref", to="api"), "/pools/1/tls_container_ref", "pool api", "is off"),
    (changed("pools", 3, "tls_enabled", to=True), "/pools/3/tls_enabled", "pool dns", "no TLS"),
    # members
    (
        changed("pools", 0, "members", 0, "address", to="w1.example.org"),
        "/pools/0/members/0/address",
        "pool web, member w1",
        "got",
    ),
    (
        changed("pools", 0, "members", 0, "address", to="fe80::1%eth0"),
        "/pools/0/members/0/address",
        "pool web, member w1",
        "got",
    ),
    (
        changed("pools", 0, "members", 1, "address", to="192.0.2.11"),
        "/pools/0/members/1/address",
        "pool web, member w2",
        "member 'w1' has this address",
    ),
    (
        changed("pools", 0, "members", 1, "monitor_address", to="0.0.0.0"),
        "/pools/0/members/1/monitor_address",
        "pool web, member w2",
        "no address of a host",
    ),
    (
        changed("pools", 3, "members", 0, "backup", to=True),
        "/pools/3/members/0/backup",
        "pool dns, member n1",
        "reserves",
    ),
    (
        changed("pools", 3, "members", 0, "address", to="2001:db8::53"),
        "/pools/3/members/0/address",
        "pool dns, member n1",
        "no VIP is IPv6",
    ),
]


def test_the_shop_is_good() -> None:
    assert found(SHOP) == ()


@pytest.mark.parametrize(("tree", "pointer", "where", "detail"), TABLE, ids=[row[1] for row in TABLE])
def test_one_thing_wrong(tree: Json, pointer: str, where: str, detail: str) -> None:
    problems = found(tree)
    assert [problem.pointer for problem in problems] == [pointer]
    assert where in problems[0].where
    assert detail in problems[0].detail
    assert problems[0].expected


def test_all_are_found_at_once() -> None:
    tree = changed("pools", 0, "members", 0, "address", to="nowhere")
    tree["listeners"][2]["default_pool"] = "gone"
    tree["vrrp"]["own"] = "10.10.0.100"
    assert [problem.pointer for problem in found(tree)] == [
        "/listeners/2/default_pool",
        "/pools/0/members/0/address",
        "/vrrp/own",
    ]


def test_the_same_port_of_another_protocol_family_is_no_clash() -> None:
    tree = changed("listeners", 3, "protocol_port", to=443)
    tree["listeners"].append({"name": "s", "protocol": "SCTP", "protocol_port": 443})
    assert found(tree) == ()


def test_secrets_are_left_alone_where_none_are_known() -> None:
    reading = read_tree(changed("listeners", 1, "default_tls_container_ref", to="elsewhere"))
    assert isinstance(reading, Reading)
    assert check(reading.document) == ()
    assert len(check(reading.document, {})) == 4


@pytest.mark.parametrize("listener", sorted(POOL_PROTOCOLS))
def test_protocols_are_matched_as_octavia_does(listener: str) -> None:
    allowed = {
        "HTTP": {"HTTP", "PROXY", "PROXYV2"},
        "HTTPS": {"HTTPS", "PROXY", "PROXYV2", "TCP"},
        "PROMETHEUS": set(),
        "SCTP": {"SCTP"},
        "TCP": {"HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP"},
        "TERMINATED_HTTPS": {"HTTP", "PROXY", "PROXYV2"},
        "UDP": {"UDP"},
    }[listener]
    for pool in ("HTTP", "HTTPS", "PROXY", "PROXYV2", "SCTP", "TCP", "UDP"):
        tree = {
            "name": "a",
            "vips": SHOP["vips"],
            "listeners": [{"name": "l", "protocol": listener, "protocol_port": 1, "default_pool": "p"}],
            "pools": [{"name": "p", "protocol": pool, "lb_algorithm": "ROUND_ROBIN"}],
        }
        if listener == "TERMINATED_HTTPS":
            tree["listeners"][0]["default_tls_container_ref"] = "api"
        assert (found(tree) == ()) == (pool in allowed)


@given(documents())
def test_random_good_documents_have_no_problem(tree: Json) -> None:
    assert found(tree) == ()


@pytest.mark.parametrize("protocol", sorted(set(Protocol) - set(POOL_PROTOCOLS)))
@pytest.mark.parametrize("pool", [None, "p"])
def test_protocols_of_pools_alone_are_no_listeners(protocol: str, pool: str | None) -> None:
    tree = {
        "name": "a",
        "vips": SHOP["vips"],
        "listeners": [{"name": "l", "protocol": protocol, "protocol_port": 1, "default_pool": pool}],
        "pools": [{"name": "p", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN"}],
    }
    (problem,) = found(tree)
    assert (problem.pointer, problem.detail) == ("/listeners/0/protocol", f"no listener speaks {protocol}")
