"""Every kind of haproxy.cfg that an Octavia release renders, as JSON on standard output: name -> text.

Runs under the Python of an octavia virtual environment, never under the project's own. The objects are our own; only
the renderer is Octavia's.
"""

from __future__ import annotations

import itertools
import json
import sys
import uuid
import warnings
from types import SimpleNamespace
from typing import Any

warnings.simplefilter("ignore")

from octavia.common import config as _config  # noqa: E402, F401  registers the options
from octavia.common.jinja.haproxy.combined_listeners import jinja_cfg  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_log import log as oslo_log  # noqa: E402

LB = "25744ac1-3e34-55a2-8441-e585e4cba268"
CERTS = "/var/lib/octavia/certs"
HAPROXY = (("1", "5"), ("1", "8"), ("2", "2"), ("2", "6"), ("3", "0"), ("3", "2"))
KEYS = {"HEADER": "X-Some", "COOKIE": "sess", "SSL_DN_FIELD": "CN"}
VALUES = {"SSL_CONN_HAS_CERT": "True", "SSL_VERIFY_RESULT": "1", "PATH": "/a b\\c", "HOST_NAME": "www.example.org"}
AWKWARD = "v%lue x\"q'$z# -f {"
TEXTS: dict[str, str] = {}


def uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def thing(name: str, defaults: dict[str, Any], changed: dict[str, Any]) -> Any:
    common = {"id": uid(name), "enabled": True, "provisioning_status": "ACTIVE", "operating_status": "ONLINE"}
    return SimpleNamespace(**(common | defaults | changed))


def balancer(*, pair: bool = False, vip: str = "10.10.0.100", more: tuple[str, ...] = ()) -> Any:
    amphorae = [
        SimpleNamespace(
            id=uid(f"amphora{n}"), lb_network_ip=f"192.0.2.1{n}", vrrp_ip=f"10.10.0.1{n}", ha_ip=vip, role="MASTER",
            status="ALLOCATED", vrrp_interface="eth1", vrrp_priority=100, vrrp_id=1, vrrp_port_id=uid("p"),
            ha_port_id=uid("h"), api_version="1.0",
        )
        for n in range(1, 3 if pair else 2)
    ]  # fmt: skip
    return SimpleNamespace(
        id=LB, name="lb", vip=SimpleNamespace(ip_address=vip, vnic_type="normal"), amphorae=amphorae, pools=[],
        listeners=[], topology="ACTIVE_STANDBY" if pair else "SINGLE", enabled=True, project_id=uid("project"),
        additional_vips=[SimpleNamespace(ip_address=address) for address in more],
        vrrp_group=SimpleNamespace(vrrp_group_name="g", vrrp_auth_type="PASS", vrrp_auth_pass=uid("p"), advert_int=1),
    )  # fmt: skip


def member(name: str, **changed: Any) -> Any:
    defaults = {
        "ip_address": "10.20.0.11", "protocol_port": 8080, "weight": 1, "subnet_id": uid("subnet"), "backup": False,
        "monitor_address": None, "monitor_port": None,
    }  # fmt: skip
    return thing(f"member-{name}", defaults, changed)


def monitor(kind: str, **changed: Any) -> Any:
    defaults = {
        "type": kind, "delay": 5, "timeout": 3, "fall_threshold": 3, "rise_threshold": 2, "http_method": "GET",
        "url_path": "/healthz?a=b", "expected_codes": "200", "http_version": None, "domain_name": None,
    }  # fmt: skip
    return thing(f"monitor-{kind}", defaults, changed)


def pool(name: str, **changed: Any) -> Any:
    defaults = {
        "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member("a"), member("b")],
        "health_monitor": None, "session_persistence": None, "tls_certificate_id": None,
        "ca_tls_certificate_id": None, "crl_container_id": None, "tls_enabled": False, "tls_ciphers": None,
        "tls_versions": None, "alpn_protocols": None,
    }  # fmt: skip
    return thing(f"pool-{name}", defaults, changed)


def listen(where: Any, name: str, default: Any = None, **changed: Any) -> Any:
    defaults = {
        "project_id": uid("project"), "protocol": "HTTP", "protocol_port": 80, "default_pool": default,
        "connection_limit": -1, "tls_certificate_id": None, "sni_containers": [], "load_balancer": where,
        "peer_port": 1025, "pools": [default] if default else [], "l7policies": [], "insert_headers": {},
        "timeout_client_data": 50000, "timeout_member_connect": 5000, "timeout_member_data": 50000,
        "timeout_tcp_inspect": 0, "client_ca_tls_certificate_id": None, "client_authentication": "NONE",
        "client_crl_container_id": None, "tls_ciphers": None, "tls_versions": None, "alpn_protocols": None,
        "hsts_max_age": None, "hsts_include_subdomains": False, "hsts_preload": False, "allowed_cidrs": [],
    }  # fmt: skip
    made = thing(f"listener-{name}", defaults, changed)
    where.listeners.append(made)
    return made


def render(name: str, where: Any, certificates: dict[str, Any] | None = None, *, logging: bool = True) -> None:
    for version in HAPROXY:
        templater = jinja_cfg.JinjaTemplater(
            base_amp_path="/var/lib/octavia", base_crt_dir=CERTS, connection_logging=logging
        )
        # With CPUs pinned, old releases write a PING monitor's line behind another one; HAProxy rejects that.
        profile = "amphora" if version[0] == "3" and not name.startswith("PING") else ""
        details: dict[str, Any] = {"active_tuned_profiles": profile, "cpu_count": 4}
        details["memory"] = {"free": 600000, "buffers": 20000, "cached": 300000}
        TEXTS[f"{name}-{'.'.join(version)}"] = templater.build_config(
            host_amphora=where.amphorae[0], listeners=where.listeners, tls_certs=certificates or {},
            haproxy_versions=list(version), amp_details=details,
        )  # fmt: skip


def monitors_and_persistence() -> None:
    kinds = ("HTTP", "HTTPS", "TCP", "PING", "TLS-HELLO", "")
    protocols = ("HTTP", "HTTPS", "TCP", "PROXY", "PROXYV2")
    kept = (None, ("SOURCE_IP", None), ("HTTP_COOKIE", None), ("APP_COOKIE", "J_S-x"))
    methods = itertools.cycle([("GET", None, None), ("OPTIONS", 1.0, None), ("HEAD", 1.1, "h.example.org")])
    algorithms = itertools.cycle(["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"])
    for kind, protocol, persistence in itertools.product(kinds, protocols, kept):
        method, version, domain = next(methods)
        check = monitor(
            kind, http_method=method, http_version=version, domain_name=domain, expected_codes="200-203,301"
        )
        sticky = None
        if persistence is not None and (protocol == "HTTP" or persistence[0] == "SOURCE_IP"):
            sticky = SimpleNamespace(
                type=persistence[0], cookie_name=persistence[1], persistence_timeout=None, persistence_granularity=None
            )
        where = balancer(pair=persistence is not None)
        backend = pool(
            "a", protocol=protocol, lb_algorithm=next(algorithms), health_monitor=check if kind else None,
            session_persistence=sticky,
        )  # fmt: skip
        listen(
            where, "a", backend, protocol=protocol if protocol in ("HTTP", "HTTPS", "TCP") else "TCP",
            timeout_tcp_inspect=1000, connection_limit=10,
        )  # fmt: skip
        render(f"{kind}-{protocol}-{persistence and persistence[0]}", where, logging=bool(kind))


def policies() -> None:
    kinds = ("HOST_NAME", "PATH", "FILE_TYPE", "HEADER", "COOKIE", "SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT")
    actions = ("REDIRECT_TO_POOL", "REDIRECT_TO_URL", "REDIRECT_PREFIX", "REJECT")
    comparisons = ("REGEX", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "EQUAL_TO")
    for kind in (*kinds, "SSL_DN_FIELD"):
        where, first, second = balancer(), pool("a"), pool("b")
        listener = listen(where, "a", first, pools=[first, second], **TLS, **CLIENT_AUTHENTICATION)
        for action, comparison, invert in itertools.product(actions, comparisons, (False, True)):
            name = f"{action}{comparison}{invert}"
            rule = {"type": kind, "compare_type": comparison, "key": KEYS.get(kind), "invert": invert}
            rules = [thing(name, rule | {"value": VALUES.get(kind, AWKWARD)}, {})]
            values = {
                "action": action, "l7rules": rules, "redirect_pool": second if action.endswith("POOL") else None,
                "redirect_url": "https://w.example.org/a?b=%5B&c=d" if action.endswith("URL") else None,
                "redirect_prefix": "https://p.example.org" if action.endswith("PREFIX") else None,
                "redirect_http_code": 302 if invert and action.startswith("REDIRECT_") else None,
            }  # fmt: skip
            listener.l7policies.append(thing(f"policy-{name}", values, {}))
        render(f"policies-{kind}", where, {"d": None, "ca": "a" * 40 + ".pem"})


TLS = {
    "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "tls_certificate_id": "d",
    "alpn_protocols": ["h2", "http/1.1"],
    "tls_versions": ["TLSv1.2", "TLSv1.3"],
    "tls_ciphers": "ECDHE-RSA-AES256-GCM-SHA384:!aNULL:@SECLEVEL=1:TLS_AES_256_GCM_SHA384",
}  # fmt: skip
CLIENT_AUTHENTICATION = {"client_authentication": "OPTIONAL", "client_ca_tls_certificate_id": "ca"}


def tls() -> None:
    folder = f"{CERTS}/{LB}/"
    headers: tuple[str, ...] = (
        "X-Forwarded-For",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
        "X-SSL-Client-Verify",
        "X-SSL-Client-DN",
    )
    headers += ("X-SSL-Client-Has-Cert", "X-SSL-Client-CN", "X-SSL-Issuer", "X-SSL-Client-SHA1")
    headers += ("X-SSL-Client-Not-Before", "X-SSL-Client-Not-After")
    for number, kind in enumerate(("HTTPS", "TLS-HELLO", "HTTP", "TCP")):
        backend = pool(
            "a", health_monitor=monitor(kind), tls_enabled=True, tls_certificate_id="x", ca_tls_certificate_id="y",
            crl_container_id="z", **{name: TLS[name] for name in ("tls_versions", "tls_ciphers", "alpn_protocols")},
        )  # fmt: skip
        where = balancer(more=("10.11.0.100", "2001:db8:10::100"))
        listen(
            where, "a", backend, **TLS, **CLIENT_AUTHENTICATION, client_crl_container_id="crl",
            hsts_max_age=(0, 1, None, 31536000)[number], hsts_include_subdomains=bool(number % 2),
            hsts_preload=number > 2,
            insert_headers=dict.fromkeys(headers, "true"),
        )  # fmt: skip
        files = {"client_cert": f"{folder}c.pem", "ca_cert": f"{folder}dd.pem", "crl": f"{folder}e.pem"}
        render(f"tls-{kind}", where, {"d": None, "ca": "a" * 40 + ".pem", "crl": "b" * 40 + ".pem", backend.id: files})


def others() -> None:
    where = balancer(vip="2001:db8::9")
    listen(where, "a", protocol="PROMETHEUS", protocol_port=8088)
    render("exporter", where)
    where = balancer()
    members = [
        member("a", backup=True, weight=256, monitor_port=9), member("b", monitor_address="2001:db8::1"),
        member("c", enabled=False), member("d", ip_address="2001:db8::7", weight=0),
    ]  # fmt: skip
    listen(where, "a", pool("a", members=members, health_monitor=monitor("HTTP")))
    listen(where, "b", pool("b", enabled=False), protocol_port=81)
    listen(where, "c", protocol_port=82)
    render("members", where)


if __name__ == "__main__":
    oslo_log.register_options(cfg.CONF)
    cfg.CONF([], project="octavia", default_config_files=[], default_config_dirs=[])
    for step in (monitors_and_persistence, policies, tls, others):
        step()
    json.dump(TEXTS, sys.stdout)
