"""Render the samples with the controller code of whatever Octavia release this Python has; it changes no amphora.

    /var/cache/amphora-agent-tests/octavia-19.0.0/bin/python testbed/render_samples.py DIRECTORY

Runs under the Python of an Octavia environment (`octavia_venv.py`), never under the project's own. The objects are
ours, the text is what a controller of that release would upload for them; one release always renders the same.
`samples/` is what 19.0.0 renders; its README says what each file is.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace as Thing
from typing import Any

from octavia.amphorae.backends.agent import agent_jinja_cfg
from octavia.amphorae.drivers.haproxy import rest_api_driver
from octavia.amphorae.drivers.keepalived.jinja import jinja_cfg as vrrp_templates
from octavia.common import config as _config  # noqa: F401  it registers the options
from octavia.common import constants
from octavia.common import utils as octavia_utils
from octavia.common.jinja.haproxy.combined_listeners import jinja_cfg as haproxy_templates
from octavia.common.jinja.logging import logging_jinja_cfg
from octavia.common.jinja.lvs import jinja_cfg as lvs_templates
from octavia.network import data_models as network
from oslo_config import cfg
from oslo_log import log as oslo_log

CONF = cfg.CONF
CERTIFICATES = "/var/lib/octavia/certs"
_NAMES = uuid.UUID("9a4f1f36-6d0e-4d5b-9a53-3c1de2f7a001")
_DETAILS = {
    "active_tuned_profiles": "",
    "cpu_count": 2,
    "memory": {"free": 600000, "buffers": 20000, "cached": 300000},
}
_PINNING = {
    "active_tuned_profiles": "virtual-guest optimize-serial-console amphora",
    "cpu_count": 4,
    "memory": {"free": 8000000, "buffers": 20000, "cached": 300000},
}
_TLS: dict[str, Any] = {
    "tls_versions": ["TLSv1.2", "TLSv1.3"],
    "tls_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:TLS_AES_256_GCM_SHA384",
    "alpn_protocols": ["h2", "http/1.1"],
}
_OWN_CERTIFICATE = {"default-ref": None}
_HEADERS_FROM_TLS = (
    "X-Forwarded-Proto",
    "X-SSL-Client-Verify",
    "X-SSL-Client-Has-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-SHA1",
    "X-SSL-Client-Not-Before",
    "X-SSL-Client-Not-After",
)


def identifier(name: str) -> str:
    """Return the fixed UUID of something."""
    return str(uuid.uuid5(_NAMES, name))


LB, FIRST, SECOND = identifier("lb"), identifier("amp1"), identifier("amp2")


def amphora(number: int, vip: str, role: str) -> Thing:
    """Return the first or second amphora of a load balancer with this VIP."""
    prefix = "2001:db8:10::1" if ":" in vip else "10.10.0.1"
    return Thing(
        id=FIRST if number == 1 else SECOND,
        lb_network_ip=f"192.0.2.1{number}",
        vrrp_ip=f"{prefix}{number}",
        ha_ip="10.10.0.100",
        vrrp_port_id=identifier(f"vp{number}"),
        ha_port_id=identifier("hp"),
        role=role,
        status="ALLOCATED",
        vrrp_interface="eth1",
        vrrp_priority=110 - 10 * number,
        vrrp_id=1,
        api_version="1.0",
    )


def balancer(topology: str = "SINGLE", *, vip: str = "10.10.0.100", more: Sequence[str] = (), **changed: Any) -> Thing:
    """Return a load balancer without listeners; `more` are additional VIPs."""
    roles = ("MASTER", "BACKUP") if topology == "ACTIVE_STANDBY" else ("STANDALONE",)
    group = {"vrrp_group_name": LB.replace("-", ""), "vrrp_auth_type": "PASS", "vrrp_auth_pass": "s3cr3t7"}
    columns: dict[str, Any] = {
        "id": LB,
        "name": "lb",
        "vip": Thing(ip_address=vip, vnic_type="normal"),
        "amphorae": [amphora(number, vip, role) for number, role in enumerate(roles, 1)],
        "topology": topology,
        "pools": [],
        "listeners": [],
        "enabled": True,
        "project_id": "7ab2c3d4e5f64a1b8c9d0e1f2a3b4c5d",
        "additional_vips": [Thing(ip_address=address) for address in more],
        "vrrp_group": Thing(advert_int=1, **group),
    }
    return Thing(**{**columns, **changed})


def member(name: int | str, *, address: str = "", monitor: tuple[str, int] | None = None, **changed: Any) -> Thing:
    """Return a member of weight 1; `monitor` is an address and port of its own to check."""
    columns: dict[str, Any] = {
        "id": identifier(f"member-{name}"),
        "ip_address": address or f"10.20.0.{name}",
        "protocol_port": 8080,
        "weight": 1,
        "subnet_id": identifier("subnet"),
        "enabled": True,
        "operating_status": "NO_MONITOR",
        "backup": False,
        "monitor_address": monitor[0] if monitor else None,
        "monitor_port": monitor[1] if monitor else None,
        "provisioning_status": "ACTIVE",
    }
    return Thing(**{**columns, **changed})


def monitor(kind: str, **changed: Any) -> Thing:
    """Return a health monitor."""
    columns: dict[str, Any] = {
        "id": identifier(f"hm-{kind}"),
        "type": kind,
        "delay": 5,
        "timeout": 3,
        "fall_threshold": 3,
        "rise_threshold": 2,
        "http_method": "GET",
        "url_path": "/healthz",
        "expected_codes": "200",
        "enabled": True,
        "http_version": None,
        "domain_name": None,
        "provisioning_status": "ACTIVE",
    }
    return Thing(**{**columns, **changed})


def pool(name: str = "a", **changed: Any) -> Thing:
    """Return an HTTP pool with two members, ROUND_ROBIN, without monitor and persistence."""
    columns: dict[str, Any] = {
        "id": identifier(f"pool-{name}"),
        "protocol": "HTTP",
        "lb_algorithm": "ROUND_ROBIN",
        "members": [member(11), member(12)],
        "health_monitor": None,
        "session_persistence": None,
        "enabled": True,
        "operating_status": "ONLINE",
        "tls_certificate_id": None,
        "ca_tls_certificate_id": None,
        "crl_container_id": None,
        "tls_enabled": False,
        "tls_ciphers": None,
        "tls_versions": None,
        "alpn_protocols": None,
        "provisioning_status": "ACTIVE",
    }
    return Thing(**{**columns, **changed})


def persistence(kind: str, cookie: str | None = None, timeout: int | None = None, granularity: str = "") -> Thing:
    """Return a session persistence."""
    return Thing(
        type=kind,
        cookie_name=cookie,
        persistence_timeout=timeout,
        persistence_granularity=granularity or None,
    )


def listener(owner: Thing, default: Thing | None, name: str = "a", **changed: Any) -> Thing:
    """Add an HTTP listener on port 80 to a load balancer and return it."""
    columns: dict[str, Any] = {
        "id": identifier(f"listener-{name}"),
        "project_id": owner.project_id,
        "protocol": "HTTP",
        "protocol_port": 80,
        "default_pool": default,
        "connection_limit": -1,
        "tls_certificate_id": None,
        "sni_containers": [],
        "load_balancer": owner,
        "peer_port": 1025,
        "pools": [default] if default else [],
        "l7policies": [],
        "enabled": True,
        "insert_headers": {},
        "timeout_client_data": 50000,
        "timeout_member_connect": 5000,
        "timeout_member_data": 50000,
        "timeout_tcp_inspect": 0,
        "client_ca_tls_certificate_id": None,
        "client_authentication": "NONE",
        "client_crl_container_id": None,
        "provisioning_status": "ACTIVE",
        "tls_ciphers": None,
        "tls_versions": None,
        "alpn_protocols": None,
        "hsts_max_age": None,
        "hsts_include_subdomains": False,
        "hsts_preload": False,
    }
    made = Thing(**{**columns, **changed})
    owner.listeners.append(made)
    return made


def secure(owner: Thing, default: Thing, name: str = "a", **changed: Any) -> Thing:
    """Add a TERMINATED_HTTPS listener on port 443 with its own certificate."""
    fixed: dict[str, Any] = {"protocol": "TERMINATED_HTTPS", "protocol_port": 443, "tls_certificate_id": "default-ref"}
    return listener(owner, default, name, **{**fixed, **_TLS, **changed})


def with_listener(default: Thing | None, *, topology: str = "SINGLE", **changed: Any) -> Thing:
    """Return a load balancer with one listener."""
    owner = balancer(topology)
    listener(owner, default, **changed)
    return owner


def with_secure(default: Thing, **changed: Any) -> Thing:
    """Return a load balancer with one TERMINATED_HTTPS listener."""
    owner = balancer()
    secure(owner, default, **changed)
    return owner


def rule(name: str, kind: str, comparison: str, value: str, *, key: str | None = None, invert: bool = False) -> Thing:
    """Return an L7 rule."""
    columns = {"type": kind, "compare_type": comparison, "key": key, "value": value, "invert": invert}
    return Thing(id=identifier(f"rule-{name}"), enabled=True, provisioning_status="ACTIVE", **columns)


def policy(name: str, action: str, rules: Sequence[Thing], **changed: Any) -> Thing:
    """Return an L7 policy."""
    columns: dict[str, Any] = {
        "id": identifier(f"policy-{name}"),
        "action": action,
        "redirect_pool": None,
        "redirect_url": None,
        "redirect_prefix": None,
        "l7rules": list(rules),
        "enabled": True,
        "redirect_http_code": None,
        "provisioning_status": "ACTIVE",
    }
    return Thing(**{**columns, **changed})


class Samples:
    """Where the samples go, and how each kind is rendered."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, name: str, text: str) -> None:
        """Write one sample."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def save_json(self, name: str, value: object) -> None:
        """Write a request."""
        self.save(f"requests/{name}.json", json.dumps(value, indent=1) + "\n")

    def haproxy(
        self,
        name: str,
        owner: Thing,
        *,
        tls: Mapping[str, Any] | None = None,
        version: str = "2.8",
        details: Mapping[str, Any] = _DETAILS,
        logging: bool = True,
    ) -> None:
        """Render what the first amphora's HAProxy gets."""
        templates = haproxy_templates.JinjaTemplater(
            base_amp_path="/var/lib/octavia", base_crt_dir=CERTIFICATES, connection_logging=logging
        )
        text = templates.build_config(
            host_amphora=owner.amphorae[0],
            listeners=owner.listeners,
            tls_certs=dict(tls or {}),
            haproxy_versions=version.split("."),
            amp_details=details,
        )
        self.save(f"haproxy/{name}.cfg", text)

    def lvs(self, name: str, owner: Thing | None = None, *, default: Thing | None, **changed: Any) -> None:
        """Render what keepalived gets for a UDP listener on port 53, or an SCTP one on port 3868."""
        protocol = changed.pop("protocol", "UDP")
        port = 53 if protocol == "UDP" else 3868
        made = listener(owner or balancer(), default, protocol=protocol, protocol_port=port, **changed)
        self.save(f"lvs/{name}.conf", lvs_templates.LvsJinjaTemplater().build_config(listener=made))

    def vrrp(self, name: str, owner: Thing, which: int, subnet: Thing, *more: tuple[str, Any]) -> None:
        """Render what keepalived of one amphora gets; `more` are addresses and subnets of additional VIPs."""
        data = [{"ip_address": address, "subnet": subnet} for address, subnet in more]
        networks = {"vip_subnet": subnet, "additional_vip_data": data}
        templates = vrrp_templates.KeepalivedJinjaTemplater()
        self.save(f"vrrp/{name}.conf", templates.build_keepalived_config(owner, owner.amphorae[which], networks))


def render_protocols(samples: Samples) -> None:
    """Listeners and pools of each protocol, and each monitor."""
    samples.haproxy("01-http-basic", with_listener(pool()))
    tcp = pool(protocol="TCP", lb_algorithm="LEAST_CONNECTIONS", health_monitor=monitor("TCP"))
    samples.haproxy("02-tcp-leastconn-tcp-monitor", with_listener(tcp, protocol="TCP", protocol_port=3306))
    through = pool(protocol="HTTPS", lb_algorithm="SOURCE_IP", health_monitor=monitor("HTTPS"))
    samples.haproxy("03-https-passthrough", with_listener(through, protocol="HTTPS", protocol_port=443))

    owner = balancer()
    made = secure(owner, pool(), hsts_max_age=31536000, hsts_include_subdomains=True, hsts_preload=True)
    assert made.id == identifier("listener-a")
    samples.haproxy("04-terminated-https-sni", owner, tls=_OWN_CERTIFICATE)
    names = [identifier(name).replace("-", "") + "c0ffee00" for name in ("c1", "c2", "c3")]
    lines = [f"{CERTIFICATES}/{LB}/{name}.pem\n" for name in names]
    samples.save("haproxy/04-terminated-https-sni.crt-list.txt", "".join(lines))

    http11 = monitor("HTTP", http_version=1.1, domain_name="health.example.org", expected_codes="200-204,301")
    samples.haproxy("05-http-monitor-http11-host", with_listener(pool(health_monitor=http11)))
    samples.haproxy("06-http-monitor-tcp", with_listener(pool(health_monitor=monitor("TCP"))))
    samples.haproxy("07-http-monitor-ping", with_listener(pool(health_monitor=monitor("PING"))))


def render_persistence(samples: Samples) -> None:
    """Session persistence of each kind."""
    by_source = pool(protocol="TCP", session_persistence=persistence("SOURCE_IP"))
    owner = with_listener(by_source, topology="ACTIVE_STANDBY", protocol="TCP", protocol_port=22)
    samples.haproxy("08-persistence-source-ip-peers", owner)
    owner = with_listener(pool(session_persistence=persistence("HTTP_COOKIE")))
    samples.haproxy("09-persistence-http-cookie", owner)
    by_cookie = pool(session_persistence=persistence("APP_COOKIE", "JSESSIONID"))
    samples.haproxy("10-persistence-app-cookie-peers", with_listener(by_cookie, topology="ACTIVE_STANDBY"))


def render_policies(samples: Samples) -> None:
    """L7 policies of each action, one of them without rules and one disabled."""
    first, second = pool("a"), pool("b", members=[member(21)])
    owner = balancer()
    made = listener(owner, first, pools=[first, second])
    header = rule("2", "HEADER", "CONTAINS", "two words\\x", key="X-Some", invert=True)
    cookie = rule("3", "COOKIE", "REGEX", "^a.*|b$", key="sess")
    address = {"redirect_url": "https://www.example.org/new", "redirect_http_code": 301}
    prefix = {"redirect_prefix": "https://example.org", "redirect_http_code": 308}
    file_type = rule("5", "FILE_TYPE", "EQUAL_TO", "exe")
    made.l7policies = [
        policy("pool", "REDIRECT_TO_POOL", [rule("1", "PATH", "STARTS_WITH", "/api")], redirect_pool=second),
        policy("url", "REDIRECT_TO_URL", [header, cookie], **address),
        policy("prefix", "REDIRECT_PREFIX", [rule("4", "HOST_NAME", "EQUAL_TO", "old.example.org")], **prefix),
        policy("reject", "REJECT", [file_type, rule("6", "HOST_NAME", "ENDS_WITH", ".example.com")]),
        policy("norules", "REJECT", []),
        policy("off", "REJECT", [rule("7", "PATH", "EQUAL_TO", "/off")], enabled=False),
    ]
    samples.haproxy("11-l7-policies", owner)


def render_members(samples: Samples) -> None:
    """Members in each state, and the PROXY protocol to them."""
    members = [
        member(11, weight=10, monitor=("10.30.0.11", 9000)),
        member(12, backup=True),
        member(13, enabled=False),
        member(14, weight=0),
    ]
    checked = pool(health_monitor=monitor("HTTP"), members=members)
    samples.haproxy("12-backup-disabled-members", with_listener(checked))
    samples.haproxy("13-proxy-v1", with_listener(pool(protocol="PROXY"), protocol="TCP", protocol_port=25))
    samples.haproxy("14-proxy-v2-tls", with_secure(pool(protocol="PROXYV2")), tls=_OWN_CERTIFICATE)


def render_listeners(samples: Samples) -> None:
    """What is set at listeners, and several of them."""
    owner = with_listener(pool())
    listener(owner, None, "prom", protocol="PROMETHEUS", protocol_port=8088)
    samples.haproxy("15-prometheus", owner)
    owner = with_listener(pool(), connection_limit=2000)
    listener(owner, pool("b"), "b", protocol_port=81, connection_limit=5)
    listener(owner, pool("c"), "c", protocol_port=82)
    samples.haproxy("16-connection-limits", owner)
    forwarded = dict.fromkeys(("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"), "true")
    owner = with_listener(pool(), insert_headers=forwarded)
    secure(owner, pool("b"), "tls", insert_headers=dict.fromkeys(_HEADERS_FROM_TLS, "true"))
    samples.haproxy("18-insert-headers", owner, tls=_OWN_CERTIFICATE)
    owner = balancer(more=("10.11.0.100", "2001:db8:10::100"))
    listener(owner, pool(members=[member(11), member("v6", address="2001:db8:20::11")]))
    samples.haproxy("19-dual-stack-additional-vips", owner)


def render_certificates(samples: Samples) -> None:
    """Client certificates at a listener, and TLS to members."""
    client = {
        "client_ca_tls_certificate_id": "ca-ref",
        "client_crl_container_id": "crl-ref",
        "client_authentication": "MANDATORY",
    }
    files: dict[str, Any] = {**_OWN_CERTIFICATE, "ca-ref": "aaaa" * 10 + ".pem", "crl-ref": "bbbb" * 10 + ".pem"}
    samples.haproxy("20-client-auth-ca-crl", with_secure(pool(), **client), tls=files)
    references = {"tls_certificate_id": "x", "ca_tls_certificate_id": "y", "crl_container_id": "z"}
    encrypted = pool(tls_enabled=True, health_monitor=monitor("HTTPS"), **references, **_TLS)
    names = {"client_cert": "cccc", "ca_cert": "dddd", "crl": "eeee"}
    own = {kind: f"{CERTIFICATES}/{LB}/{name * 10}.pem" for kind, name in names.items()}
    samples.haproxy("21-backend-reencryption", with_secure(encrypted), tls={**_OWN_CERTIFICATE, encrypted.id: own})


def render_large(samples: Samples) -> None:
    """One listener with 50 pools of 20 members and 49 L7 policies."""
    pools = [
        pool(
            f"big{number:02}",
            health_monitor=monitor("HTTP"),
            members=[member(f"{number}-{i}", address=f"10.40.{number}.{i + 1}") for i in range(20)],
        )
        for number in range(50)
    ]
    owner = balancer("ACTIVE_STANDBY")
    made = listener(owner, pools[0], pools=pools)
    for number, target in enumerate(pools[1:], 1):
        name = f"big{number:02}"
        found = rule(name, "PATH", "STARTS_WITH", f"/svc{number:02}")
        made.l7policies.append(policy(name, "REDIRECT_TO_POOL", [found], redirect_pool=target))
    samples.haproxy("22-large-50x20", owner)


def render_variants(samples: Samples) -> None:
    """What is disabled, absent, of another family, or for another HAProxy or machine."""
    owner = with_listener(pool())
    listener(owner, pool("b"), "b", protocol_port=81, enabled=False)
    samples.haproxy("23-one-listener-disabled", owner)
    owner = balancer(enabled=False)
    listener(owner, pool())
    samples.haproxy("24-loadbalancer-disabled", owner)
    samples.haproxy("25-pool-disabled", with_listener(pool(enabled=False)))
    samples.haproxy("26-cpu-pinning-ssl-cache", with_secure(pool()), tls=_OWN_CERTIFICATE, details=_PINNING)
    owner = balancer(vip="2001:db8:10::100")
    listener(owner, pool(members=[member("v6", address="2001:db8:20::11")]))
    samples.haproxy("27-ipv6-vip", owner)
    samples.haproxy("28-no-connection-logging", with_listener(pool()), logging=False)
    samples.haproxy("29-old-haproxy-1.5", with_listener(pool(health_monitor=monitor("PING"))), version="1.5")
    # A UDP listener of the same load balancer is not in this file.
    samples.haproxy("30-mixed-with-udp", with_listener(pool()))
    samples.haproxy("31-listener-without-pool", with_listener(None))


def render_firewall(samples: Samples) -> None:
    """The rules of an SR-IOV VIP; allowed CIDRs are in no HAProxy configuration."""
    allowed = (
        ("HTTP", "192.0.2.0/24", 80),
        ("HTTP", "2001:db8:77::/48", 80),
        ("TERMINATED_HTTPS", None, 443),
        ("UDP", "0.0.0.0/0", 53),
        ("SCTP", "198.51.100.0/24", 3868),
        ("PROMETHEUS", None, 8088),
    )
    rows = [{"protocol": protocol, "cidr": cidr, "port": port} for protocol, cidr, port in allowed]
    rules = [octavia_utils.map_protocol_to_nftable_protocol(row) for row in rows]
    samples.save_json("17-allowed-cidrs-rules-single", rules)
    peer = {"protocol": constants.VRRP, "cidr": "10.10.0.12/32", "port": 112}
    samples.save_json("17-allowed-cidrs-rules-active-standby", [*rules, peer])


def render_lvs(samples: Samples) -> None:
    """UDP listeners."""

    def udp(**changed: Any) -> Thing:
        return pool(**{"protocol": "UDP", **changed})

    samples.lvs("01-udp-no-monitor", default=udp())
    samples.lvs("02-udp-connect-monitor", default=udp(health_monitor=monitor("UDP-CONNECT")))
    codes = monitor("HTTP", expected_codes="200,204")
    samples.lvs("03-udp-http-monitor", default=udp(health_monitor=codes))
    samples.lvs("04-udp-tcp-monitor", default=udp(health_monitor=monitor("TCP")))
    for_33_seconds = persistence("SOURCE_IP", timeout=33, granularity="255.255.0.0")
    samples.lvs("05-udp-persistence", default=udp(session_persistence=for_33_seconds))
    samples.lvs("06-udp-persistence-defaults", default=udp(session_persistence=persistence("SOURCE_IP")))
    states = [member(11, monitor=("10.30.0.11", 9053)), member(12, enabled=False), member(13, weight=0)]
    checked = udp(health_monitor=monitor("UDP-CONNECT"), members=states)
    samples.lvs("07-udp-member-states", default=checked, connection_limit=98)
    disabled = [member(11, enabled=False), member(12, enabled=False)]
    samples.lvs("08-udp-all-members-disabled", default=udp(members=disabled))
    samples.lvs("09-udp-pool-without-members", default=udp(members=[]))
    samples.lvs("10-udp-no-pool", default=None)
    samples.lvs("11-udp-listener-disabled", default=udp(), enabled=False)
    samples.lvs("12-udp-pool-disabled", default=udp(enabled=False))
    samples.lvs("17-udp-source-ip-algorithm", default=udp(lb_algorithm="SOURCE_IP"))
    samples.lvs("18-udp-loadbalancer-disabled", balancer(enabled=False), default=udp())


def render_lvs_families(samples: Samples) -> None:
    """IPv6, both families, and SCTP."""
    v6 = member("v6", address="2001:db8:20::11")
    both = [member(11), v6, member(12), member("v6off", address="2001:db8:20::12", enabled=False)]
    owner = balancer(more=("2001:db8:10::100", "10.11.0.100"))
    mixed = pool(protocol="UDP", health_monitor=monitor("UDP-CONNECT"), members=both)
    samples.lvs("13-udp-dual-stack", owner, default=mixed)
    by_source = pool(protocol="UDP", members=[v6], session_persistence=persistence("SOURCE_IP"))
    samples.lvs("14-udp-ipv6", balancer(vip="2001:db8:10::100"), default=by_source)
    checked = pool(protocol="SCTP", health_monitor=monitor("SCTP"))
    samples.lvs("15-sctp-monitor", default=checked, protocol="SCTP")
    least = pool(protocol="SCTP", lb_algorithm="LEAST_CONNECTIONS")
    samples.lvs("16-sctp-no-monitor", default=least, protocol="SCTP")


def render_vrrp(samples: Samples) -> None:
    """keepalived of both amphorae, for each family."""
    route = {"destination": "203.0.113.0/24", "nexthop": "10.10.0.7"}
    v4: Any = {"cidr": "10.10.0.0/24", "gateway_ip": "10.10.0.1", "host_routes": [route]}
    other: Any = {"cidr": "10.11.0.0/24", "gateway_ip": None, "host_routes": []}
    v6: Any = {"cidr": "2001:db8:10::/64", "gateway_ip": "2001:db8:10::1", "host_routes": []}
    samples.vrrp("01-ipv4-master", balancer("ACTIVE_STANDBY"), 0, v4)
    samples.vrrp("02-ipv4-backup", balancer("ACTIVE_STANDBY"), 1, v4)
    samples.vrrp("03-ipv6-master", balancer("ACTIVE_STANDBY", vip="2001:db8:10::100"), 0, v6)
    more = ("2001:db8:10::100", "10.11.0.100")
    owner = balancer("ACTIVE_STANDBY", more=more)
    samples.vrrp("04-dual-stack-additional-vips", owner, 0, v4, (more[0], v6), (more[1], other))


class Recorder:
    """Takes the place of the REST client and keeps the bodies it is handed."""

    def __init__(self) -> None:
        self.body: object = None

    def plug_vip(self, _amphora: object, _vip: str, body: object) -> None:
        """Keep a body of POST plug/vip."""
        self.body = body

    def plug_network(self, _amphora: object, body: object) -> None:
        """Keep a body of POST plug/network."""
        self.body = body


def render_requests(samples: Samples) -> None:
    """Bodies of the plug calls, as the driver makes them."""
    recorder = Recorder()
    driver = rest_api_driver.HaproxyAmphoraLoadBalancerDriver.__new__(rest_api_driver.HaproxyAmphoraLoadBalancerDriver)
    driver.clients = {"1.0": recorder}
    host = Thing(id=FIRST, status="ALLOCATED", api_version="1.0", vrrp_ip="10.10.0.11", ha_ip="10.10.0.100")
    host.vrrp_port_id = identifier("vp1")
    host.to_dict = lambda: {"vrrp_ip": host.vrrp_ip}
    wire = network.Network(id=identifier("net"), mtu=1450)
    route = network.HostRoute(destination="203.0.113.0/24", nexthop="10.10.0.7")
    v4 = subnet("s4", "10.10.0.0/24", "10.10.0.1", route)
    v6 = subnet("s6", "2001:db8:10::/64", "2001:db8:10::1")
    members = subnet("m4", "10.20.0.0/24", "10.20.0.1")

    vip_port = port("vp1", "fa:16:3e:00:00:01", wire, ("10.10.0.11", v4))
    more = [Thing(ip_address="2001:db8:10::100", subnet=v6)]
    calls: tuple[tuple[str, str, list[Thing]], ...] = (
        ("plug-vip", "normal", []),
        ("plug-vip-dual-stack", "normal", more),
        ("plug-vip-sriov", "direct", []),
    )
    for name, kind, additional in calls:
        owner = Thing(vip=Thing(ip_address="10.10.0.100", vnic_type=kind))
        driver.post_vip_plug(host, owner, None, vip_port, v4, additional)
        samples.save_json(name, {"path": "plug/vip/10.10.0.100", "body": recorder.body})
    driver.post_network_plug(host, port("mp", "fa:16:3e:00:00:02", wire, ("10.20.0.5", members)), {})
    samples.save_json("plug-network", {"path": "plug/network", "body": recorder.body})
    shared = port("vp1", "fa:16:3e:00:00:01", wire, ("10.10.0.11", v4), ("10.20.0.6", members))
    driver.post_network_plug(host, shared, {"vip_subnet": v4.to_dict(recurse=True)})
    samples.save_json("plug-network-replug-vrrp-port", {"path": "plug/network", "body": recorder.body})


def subnet(name: str, cidr: str, gateway: str, *routes: Any) -> Any:
    """Return a subnet of the network model."""
    return network.Subnet(id=identifier(name), cidr=cidr, gateway_ip=gateway, host_routes=list(routes))


def port(name: str, mac: str, wire: Any, *addresses: tuple[str, Any]) -> Any:
    """Return a port of the network model with fixed IPs."""
    fixed = [network.FixedIP(subnet_id=own.id, ip_address=address, subnet=own) for address, own in addresses]
    return network.Port(id=identifier(name), mac_address=mac, network=wire, fixed_ips=fixed, vnic_type="normal")


def render_agent(samples: Samples) -> None:
    """The agent's own configuration and that of rsyslog."""
    CONF.set_override("controller_ip_port_list", ["192.0.2.1:5555", "[2001:db8::1]:5555"], "health_manager")
    CONF.set_override("heartbeat_key", "insecure", "health_manager")
    for topology in ("SINGLE", "ACTIVE_STANDBY"):
        text = agent_jinja_cfg.AgentJinjaTemplater().build_agent_config(FIRST, topology)
        samples.save(f"agent/amphora-agent-{topology.lower()}.conf", text)
    CONF.set_override("admin_log_targets", ["192.0.2.50:10514", "192.0.2.51:10514"], "amphora_agent")
    CONF.set_override("tenant_log_targets", ["192.0.2.52:20514"], "amphora_agent")
    samples.save("agent/10-rsyslog.conf", logging_jinja_cfg.LoggingJinjaTemplater().build_logging_config())


STEPS = (
    render_protocols,
    render_persistence,
    render_policies,
    render_members,
    render_listeners,
    render_certificates,
    render_large,
    render_variants,
    render_firewall,
    render_lvs,
    render_lvs_families,
    render_vrrp,
    render_requests,
    render_agent,
)


def main() -> None:
    """Render every sample below the directory named on the command line."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # the renderer sends expected codes through a set
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606
    oslo_log.register_options(CONF)
    CONF([], project="octavia", default_config_files=[], default_config_dirs=[])
    samples = Samples(Path(sys.argv[1]))
    for step in STEPS:
        step(samples)


if __name__ == "__main__":
    main()
