"""The same load balancer rendered by Octavia and by us: the same lines, and the same behaviour of two HAProxies.

The newest Octavia: older ones write what has been mended since, a Host header with its line break spelled out for one.
Both give the objects the same ids, so nothing has to be mapped but what is ours on purpose.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from amphora_agent.core.document.checks import check
from amphora_agent.core.document.model import Document, HealthMonitor, L7Policy, Listener, Pool
from amphora_agent.core.document.place import Place, lvs_listeners
from amphora_agent.core.document.reading import Reading, read_tree
from amphora_agent.core.document.render import Rendered, render
from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.words import unquote
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.keepalived import lvs_config
from amphora_agent.core.paths import Paths, paths_of
from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.socket import query
from testbed import octavia_venv
from testbed.amphora import AGENT_ADDRESS, AMPHORA_ID, LB_ID
from testbed.namespaces import Namespace
from testbed.pki import Pki
from testbed.waiting import wait_for
from testbed.web_server import WebServer
from tests.compat.controller import OctaviaController, Row, entity
from tests.core.document.documents import SECRETS, Json

pytestmark = pytest.mark.parametrize("release", [octavia_venv.NEWEST], indirect=True, scope="session")

VIP = "10.10.0.100"
LB = LoadBalancerId(LB_ID)
DETAILS = {"active_tuned_profiles": "", "cpu_count": 2, "memory": {"free": 600000, "buffers": 20000, "cached": 300000}}
MONITOR = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1, "expected_codes": "200"}
CHECKED = {**MONITOR, "expected_codes": None}
CONNECTED = {**CHECKED, "type": "UDP-CONNECT"}
MEMBERS = [
    {"name": "w1", "address": "10.20.0.11", "protocol_port": 8080},
    {"name": "w2", "address": "10.20.0.12", "protocol_port": 8080, "weight": 5},
]


def tree(listeners: list[Json], pools: list[Json], **more: object) -> Json:
    return {
        "name": "shop",
        "vips": [{"address": VIP, "subnet": "10.10.0.0/24"}],
        "listeners": listeners,
        "pools": [{"lb_algorithm": "ROUND_ROBIN", **pool} for pool in pools],
        **more,
    }


def one(listener: Json, pool: Json) -> Json:
    return tree(
        [{"name": "l", "protocol_port": 80, "default_pool": "p", **listener}],
        [{"name": "p", "members": MEMBERS, **pool}],
    )


def rule(kind: str, how: str, value: str, **more: object) -> Json:
    return {"type": kind, "compare_type": how, "value": value, **more}


POLICIES = [
    {
        "name": "a",
        "action": "REDIRECT_TO_POOL",
        "redirect_pool": "other",
        "rules": [
            rule("PATH", "STARTS_WITH", "/api"),
            rule("HEADER", "CONTAINS", "two words\\x", key="X-Odd", invert=True),
        ],
    },
    {
        "name": "b",
        "action": "REDIRECT_TO_URL",
        "redirect_url": "https://www.example.org/new",
        "redirect_http_code": 301,
        "position": 1,
        "rules": [rule("HOST_NAME", "EQUAL_TO", "old.example.org"), rule("COOKIE", "REGEX", "^a.*|b", key="sess")],
    },
    {"name": "c", "action": "REJECT", "rules": [rule("FILE_TYPE", "EQUAL_TO", "exe"), rule("PATH", "ENDS_WITH", "e")]},
    {"name": "d", "action": "REJECT", "rules": []},
    {"name": "e", "action": "REJECT", "admin_state_up": False, "rules": [rule("PATH", "EQUAL_TO", "/off")]},
    {
        "name": "f",
        "action": "REDIRECT_PREFIX",
        "redirect_prefix": "https://example.org",
        "redirect_http_code": 308,
        "rules": [rule("PATH", "CONTAINS", "prefix"), rule("PATH", "EQUAL_TO", "/off", admin_state_up=False)],
    },
]
TLS: Json = {"protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_tls_container_ref": "shop-rsa"}
SHOP = tree(
    [
        {"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web", "l7policies": POLICIES},
        {
            "name": "tls",
            **TLS,
            "default_pool": "web",
            "sni_container_refs": ["api"],
            "insert_headers": {"X-Forwarded-For": "true", "X-Forwarded-Proto": "true", "X-SSL-Client-CN": "true"},
            "hsts_max_age": 31536000,
            "hsts_preload": True,
            "client_authentication": "OPTIONAL",
            "client_ca_tls_container_ref": "partners",
        },
        {"name": "db", "protocol": "TCP", "protocol_port": 81, "default_pool": "db", "connection_limit": 2000},
        {"name": "empty", "protocol": "HTTP", "protocol_port": 82},
        {"name": "off", "protocol": "HTTP", "protocol_port": 83, "default_pool": "web", "admin_state_up": False},
    ],
    [
        {
            "name": "web",
            "protocol": "HTTP",
            "session_persistence": {"type": "HTTP_COOKIE"},
            "healthmonitor": MONITOR,
            "members": [
                *MEMBERS,
                {"name": "gone", "address": "10.20.0.13", "protocol_port": 8080},
                {"name": "idle", "address": "10.20.0.14", "protocol_port": 8080, "weight": 0},
                {"name": "spare", "address": "10.20.0.11", "protocol_port": 8081, "backup": True},
                {"name": "asleep", "address": "10.20.0.12", "protocol_port": 8081, "admin_state_up": False},
            ],
        },
        {"name": "other", "protocol": "HTTP", "members": [MEMBERS[1]]},
        {"name": "db", "protocol": "TCP", "lb_algorithm": "LEAST_CONNECTIONS", "members": [MEMBERS[0]]},
    ],
)
PROXIED = {"protocol": "PROXYV2", "session_persistence": {"type": "APP_COOKIE", "cookie_name": "JSESSIONID"}}
ENCRYPTED = {
    "protocol": "HTTP",
    "tls_enabled": True,
    "tls_container_ref": "api",
    "ca_tls_container_ref": "partners",
    "crl_container_ref": "revoked",
    "healthmonitor": {**MONITOR, "type": "HTTPS"},
}
HOSTED = {**MONITOR, "http_version": 1.1, "domain_name": "health.example.org", "expected_codes": "200-204,301"}
CASES = {
    "shop": SHOP,
    "source": one({"protocol": "HTTPS"}, {"protocol": "HTTPS", "lb_algorithm": "SOURCE_IP"}),
    "proxy": one({"protocol": "TCP", "timeout_tcp_inspect": 1500}, {"protocol": "PROXY"}),
    "proxied": one({**TLS, "client_authentication": "MANDATORY", "client_ca_tls_container_ref": "partners",
                    "client_crl_container_ref": "revoked"}, PROXIED),
    "encrypted": one({"protocol": "HTTP"}, ENCRYPTED),
    "hosted": one({"protocol": "TCP"}, {"protocol": "HTTP", "healthmonitor": HOSTED}),
    "ping": one({"protocol": "TCP"}, {"protocol": "TCP", "healthmonitor": {**CHECKED, "type": "PING"},
                                      "session_persistence": {"type": "SOURCE_IP"}}),
    "unchecked": one({"protocol": "HTTP"}, {"protocol": "HTTP", "healthmonitor": {**MONITOR, "admin_state_up": False}}),
    "no pool": one({"protocol": "HTTP"}, {"protocol": "HTTP", "admin_state_up": False}),
    "metrics": tree([{"name": "m", "protocol": "PROMETHEUS", "protocol_port": 8088}], []),
    "disabled": {**one({"protocol": "HTTP"}, {"protocol": "HTTP"}), "admin_state_up": False},
    "six": {**one({"protocol": "HTTP"}, {"protocol": "HTTP", "members": [{**MEMBERS[0], "address": "2001:db8::b"}]}),
            "vips": [{"address": "2001:db8:10::100", "subnet": "2001:db8:10::/64"},
                     {"address": VIP, "subnet": "10.10.0.0/24"}]},
}  # fmt: skip
UDP: Json = {"protocol": "UDP", "protocol_port": 53}
LVS_CASES = {
    "plain": one(UDP, {"protocol": "UDP"}),
    "connect": one({**UDP, "connection_limit": 98}, {"protocol": "UDP", "healthmonitor": CONNECTED}),
    "http": one(UDP, {"protocol": "UDP", "healthmonitor": {**MONITOR, "url_path": "/a", "expected_codes": "200,204"}}),
    "tcp": one(UDP, {"protocol": "UDP", "lb_algorithm": "SOURCE_IP", "healthmonitor": {**CHECKED, "type": "TCP"}}),
    "sctp": one({**UDP, "protocol": "SCTP"}, {"protocol": "SCTP", "healthmonitor": {**CHECKED, "type": "SCTP"}}),
    "persistent": one(UDP, {"protocol": "UDP", "session_persistence": {"type": "SOURCE_IP", "persistence_timeout": 33,
                                                                       "persistence_granularity": "255.255.0.0"}}),
    "disabled pool": one(UDP, {"protocol": "UDP", "admin_state_up": False}),
    "disabled": one({**UDP, "admin_state_up": False}, {"protocol": "UDP"}),
    "no pool": tree([{"name": "l", **UDP}], []),
    "members": one(UDP, {"protocol": "UDP", "members": [
        {**MEMBERS[0], "monitor_address": "10.30.0.11", "monitor_port": 9053},
        {**MEMBERS[1], "admin_state_up": False}], "healthmonitor": {**CHECKED, "type": "UDP-CONNECT"}}),
}  # fmt: skip


def document(json_tree: Json) -> Document:
    reading = read_tree(json_tree)
    assert isinstance(reading, Reading), reading
    assert check(reading.document, SECRETS) == ()
    return reading.document


# --- the document as rows of Octavia's database ----------------------------------------------------------------


def rows_of(meant: Document, place: Place) -> Iterator[Row]:
    """Yield the load balancer as its controller has it, with our ids."""
    yield "LoadBalancer", entity(LB_ID, name="lb", topology="SINGLE", enabled=meant.admin_state_up)
    first, *others = meant.vips
    yield "Vip", {"load_balancer_id": LB_ID, "ip_address": first.address}
    for number, vip in enumerate(others):
        subnet = f"00000000-0000-4000-8000-{number:012d}"
        yield "AdditionalVip", {"load_balancer_id": LB_ID, "ip_address": vip.address, "subnet_id": subnet}
    amphora = {"id": AMPHORA_ID, "load_balancer_id": LB_ID, "status": "ALLOCATED", "role": "STANDALONE"}
    yield "Amphora", {**amphora, "lb_network_ip": AGENT_ADDRESS, "vrrp_ip": "10.10.0.11", "ha_ip": VIP}
    for pool in meant.pools:
        yield from _pool_rows(pool, place)
    for listener in meant.listeners:
        yield from _listener_rows(listener, place)


def _named(key: str, **columns: object) -> dict[str, Any]:
    return entity(key, name="x", **columns)


def _tls_columns(owner: Listener | Pool) -> dict[str, object]:
    return {
        "tls_ciphers": owner.tls_ciphers,
        "tls_versions": list(owner.tls_versions),
        "alpn_protocols": list(owner.alpn_protocols),
    }


def _pool_rows(pool: Pool, place: Place) -> Iterator[Row]:
    key = place.identity.pool(pool.name)
    columns: dict[str, object] = {
        "load_balancer_id": LB_ID,
        "protocol": pool.protocol,
        "lb_algorithm": pool.lb_algorithm,
        "enabled": pool.admin_state_up,
        "tls_enabled": pool.tls_enabled,
        "tls_certificate_id": pool.tls_container_ref,
        "ca_tls_certificate_id": pool.ca_tls_container_ref,
        "crl_container_id": pool.crl_container_ref,
    }
    yield "Pool", _named(key, **columns, **_tls_columns(pool))
    for member in pool.members:
        yield (
            "Member",
            _named(
                place.identity.member(pool.name, member.name),
                pool_id=key,
                ip_address=member.address,
                protocol_port=member.protocol_port,
                weight=member.weight,
                backup=member.backup,
                enabled=member.admin_state_up,
                monitor_address=member.monitor_address,
                monitor_port=member.monitor_port,
            ),
        )
    persistence = pool.session_persistence
    if persistence is not None:
        yield (
            "SessionPersistence",
            {
                "pool_id": key,
                "type": persistence.type,
                "cookie_name": persistence.cookie_name,
                "persistence_timeout": persistence.persistence_timeout,
                "persistence_granularity": persistence.persistence_granularity,
            },
        )
    if pool.healthmonitor is not None:
        yield _monitor_row(pool.healthmonitor, pool, place)


def _monitor_row(monitor: HealthMonitor, pool: Pool, place: Place) -> Row:
    is_http = monitor.type in {"HTTP", "HTTPS"}
    return "HealthMonitor", _named(
        place.identity.monitor(pool.name),
        pool_id=place.identity.pool(pool.name),
        type=monitor.type,
        delay=monitor.delay,
        timeout=monitor.timeout,
        fall_threshold=monitor.max_retries_down,
        rise_threshold=monitor.max_retries,
        http_method=(monitor.http_method or "GET") if is_http else None,
        url_path=(monitor.url_path or "/") if is_http else None,
        expected_codes=(monitor.expected_codes or "200") if is_http else None,
        http_version=monitor.http_version,
        domain_name=monitor.domain_name,
        enabled=monitor.admin_state_up,
    )


def _listener_rows(listener: Listener, place: Place) -> Iterator[Row]:
    key = place.identity.listener(listener.name)
    fields: tuple[str, ...] = (
        "protocol",
        "protocol_port",
        "connection_limit",
        "insert_headers",
        "client_authentication",
    )
    fields += ("timeout_client_data", "timeout_member_connect", "timeout_member_data", "timeout_tcp_inspect")
    fields += ("hsts_max_age", "hsts_include_subdomains", "hsts_preload")
    columns: dict[str, object] = {field: getattr(listener, field) for field in fields}
    columns |= {
        "load_balancer_id": LB_ID,
        "enabled": listener.admin_state_up,
        "default_pool_id": place.identity.pool(listener.default_pool) if listener.default_pool else None,
        "tls_certificate_id": listener.default_tls_container_ref,
        "client_ca_tls_certificate_id": listener.client_ca_tls_container_ref,
        "client_crl_container_id": listener.client_crl_container_ref,
    }
    if listener.protocol == "TERMINATED_HTTPS":
        columns |= _tls_columns(listener)
    yield "Listener", _named(key, **columns)
    for position, name in enumerate(listener.sni_container_refs):
        yield "SNI", {"listener_id": key, "tls_container_id": name, "position": position}
    for position, policy in enumerate(sorted(listener.l7policies, key=lambda each: each.position), start=1):
        yield from _policy_rows(policy, position, listener, place)


def _policy_rows(policy: L7Policy, position: int, listener: Listener, place: Place) -> Iterator[Row]:
    key = place.identity.rule(listener.name, policy.name, 1000)
    yield (
        "L7Policy",
        _named(
            key,
            listener_id=place.identity.listener(listener.name),
            action=policy.action,
            redirect_pool_id=place.identity.pool(policy.redirect_pool) if policy.redirect_pool else None,
            redirect_url=policy.redirect_url,
            redirect_prefix=policy.redirect_prefix,
            redirect_http_code=policy.redirect_http_code,
            position=position,
            enabled=policy.admin_state_up,
        ),
    )
    for number, each in enumerate(policy.rules):
        columns = entity(
            place.identity.rule(listener.name, policy.name, number),
            l7policy_id=key,
            type=each.type,
            compare_type=each.compare_type,
            value=each.value,
            invert=each.invert,
            enabled=each.admin_state_up,
        )
        yield "L7Rule", {**columns, "key": each.key}


def tls_files(meant: Document, place: Place) -> dict[str, object]:
    """Return what the driver knows of the files it uploaded."""
    files: dict[str, object] = {}
    for listener in meant.listeners:
        names = (
            listener.default_tls_container_ref,
            *listener.sni_container_refs,
            listener.client_ca_tls_container_ref,
            listener.client_crl_container_ref,
        )
        files |= {name: Path(place.secret_file(name)).name for name in names if name is not None}
    for pool in meant.pools:
        references = {
            "client_cert": pool.tls_container_ref,
            "ca_cert": pool.ca_tls_container_ref,
            "crl": pool.crl_container_ref,
        }
        found = {kind: place.secret_file(name) for kind, name in references.items() if name is not None}
        if found:
            files[place.identity.pool(pool.name)] = found
    return files


# --- both texts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Both:
    """One document, rendered by each."""

    meant: Document
    octavia: OctaviaController
    place: Place

    def insert(self) -> None:
        """Put the load balancer into Octavia's empty database."""
        paths = self.place.paths
        options = {"base_path": str(paths.base), "base_cert_dir": str(paths.certs)}
        self.octavia.call("attach", netns=None, options={"haproxy_amphora": options})
        self.octavia.call("clear")
        self.octavia.call("insert", rows=list(rows_of(self.meant, self.place)))

    def theirs(self) -> str:
        """Return Octavia's text for HAProxy."""
        version = ["2", "6"]
        return str(
            self.octavia.call(
                "render",
                loadbalancer=LB_ID,
                amphora=AMPHORA_ID,
                haproxy_version=version,
                details=DETAILS,
                tls_certs=tls_files(self.meant, self.place),
            )
        )

    def ours(self) -> Rendered:
        """Return what we render."""
        return render(self.meant, self.place, {"pair": "s3cr3t7"})


def told(text: str) -> dict[tuple[str, str], list[list[str]]]:
    """Return section -> lines as words that mean the same, of a HAProxy configuration.

    The servers stand at the end, sorted: Octavia's order of listeners and members is that of a database.
    """
    found = {}
    for section in haproxy_config.parse(text).sections:
        lines = [[unquote(word) for word in words] for words in haproxy_config.section_words(section)]
        servers = sorted(_meaning(words) for words in lines if words[0] == "server")
        found[section.kind, section.name] = [_meaning(words) for words in lines if words[0] != "server"] + servers
    return found


def _meaning(words: list[str]) -> list[str]:
    """Return a line without what is told in another way: the project in the log, the order of codes and options.

    Octavia puts ciphers into alphabetical order; the order they were given in is the order of preference.
    """
    words = [":".join(sorted(word.split(":"))) if "-SHA256:" in word or "_SHA256:" in word else word for word in words]
    if words[0] == "log-format":
        return ["log-format", words[1].partition(" ")[2]]
    if words[:3] == ["http-check", "expect", "rstatus"]:
        return [*words[:3], *sorted(words[3].split("|"))]
    return [*words[:3], *sorted(words[3:])] if words[0] == "server" else words


@pytest.mark.parametrize("name", CASES)
def test_haproxy_is_told_the_same(octavia: OctaviaController, name: str) -> None:
    both = Both(document(CASES[name]), octavia, Place(LB, paths_of(Settings())))
    both.insert()
    ours = both.ours().haproxy
    assert ours is not None
    text = haproxy_config.render(ours)
    assert set(told(text)) == set(told(both.theirs()))
    for section, lines in told(both.theirs()).items():
        assert told(text)[section] == lines


@pytest.mark.parametrize("name", LVS_CASES)
def test_keepalived_is_told_the_same(octavia: OctaviaController, name: str) -> None:
    both = Both(document(LVS_CASES[name]), octavia, Place(LB, paths_of(Settings())))
    both.insert()
    (listener,) = lvs_listeners(both.meant)
    key = both.place.identity.listener(listener.name)
    ours = both.ours().lvs[key]
    theirs = str(octavia.call("render_lvs", listener=key))
    assert [line.split() for line in ours.split("\n") if line.strip()] == [
        line.split() for line in theirs.split("\n") if line.strip()
    ]
    assert lvs_config.parse(ours) == lvs_config.parse(theirs)


# --- both at work ----------------------------------------------------------------------------------------------

REQUESTS: list[tuple[int, str, dict[str, str]]] = [
    (80, "/", {}),
    (80, "/", {"Host": "old.example.org", "Cookie": "sess=abc"}),
    (80, "/", {"Host": "old.example.org", "Cookie": "sess=xyz"}),
    (80, "/api/x", {}),
    (80, "/api/x", {"X-Odd": "say two words\\x now"}),
    (80, "/a.exe", {}),
    (80, "/some/prefix?x=1", {}),
    (80, "/off", {}),
    (81, "/", {}),
    (82, "/", {}),
    (83, "/", {}),
    (443, "/", {}),
    (443, "/api/x", {"Host": "api.example.org"}),
]
STAT_COLUMNS = ("status", "weight", "act", "bck", "type", "mode", "algo", "cookie", "check_status", "slim")
STATE_COLUMNS = (
    "srv_addr",
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
    "srv_iweight",
    "srv_check_status",
    "bk_f_forced_id",
    "srv_port",
    "srv_use_ssl",
    "srv_check_port",
    "srv_check_addr",
)


@dataclass(frozen=True, slots=True)
class Bench:
    """A namespace with VIP and members on its loopback, and a folder for one HAProxy after the other."""

    namespace: Namespace
    paths: Paths
    pki: Pki

    @contextlib.contextmanager
    def haproxy(self, text: str, local_peer: str) -> Iterator[None]:
        """Run HAProxy with this configuration until the block ends."""
        config, ours = self.paths.base / "haproxy.cfg", self.paths.base / "agent.cfg"
        config.write_text(text)
        ours.write_text(f"global\n    group nogroup\n    stats socket {self.socket} mode 600 level admin\n")
        argv = ["nsenter", f"--net={self.namespace.path}", "haproxy", "-db", "-f", str(config), "-f", str(ours)]
        with (self.paths.base / "haproxy.log").open("w") as log:
            process = subprocess.Popen([*argv, "-L", local_peer], stdout=log, stderr=log)
        try:
            wait_for(lambda: process.poll() is not None or self._answers(), "HAProxy answers")
            assert process.poll() is None, (self.paths.base / "haproxy.log").read_text()
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)
            self.socket.unlink(missing_ok=True)

    @property
    def socket(self) -> Path:
        """Our own socket of level admin."""
        return self.paths.base / "admin.sock"

    def _answers(self) -> bool:
        with contextlib.suppress(HostFailure):
            return bool(self.ask("show info"))
        return False

    def ask(self, command: str) -> str:
        """Return HAProxy's answer."""
        return query(self.socket, command, 5.0).decode()

    def rows(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Return proxy and server -> what `show stat` says that time does not change."""
        header, *lines = self.ask("show stat").removeprefix("# ").strip().split("\n")
        found = [dict(zip(header.split(","), line.split(","), strict=False)) for line in lines]
        return {(row["pxname"], row["svname"]): tuple(row[column] for column in STAT_COLUMNS) for row in found}

    def states(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Return backend and server -> what `show servers state` says that time does not change."""
        header, *lines = self.ask("show servers state").strip().split("\n")[1:]
        found = [dict(zip(header.removeprefix("# ").split(), line.split(), strict=False)) for line in lines]
        return {(row["be_name"], row["srv_name"]): tuple(row[column] for column in STATE_COLUMNS) for row in found}

    def is_settled(self) -> bool:
        """Tell whether every check had its say and found the one member that is gone."""
        verdicts = [
            row[8] for (_, server), row in self.rows().items() if server not in {"FRONTEND", "BACKEND"} and row[8]
        ]
        return bool(verdicts) and not any("INI" in word or "*" in word for word in verdicts) and "L4CON" in verdicts

    def answers(self, port: int, path: str, headers: dict[str, str]) -> set[tuple[object, ...]]:
        """Return what twelve requests of one kind are answered: status, place, cookie's name, HSTS, who."""
        return {self._answer(port, path, headers) for _ in range(12)}

    def _answer(self, port: int, path: str, headers: dict[str, str]) -> tuple[object, ...]:
        try:
            connection = self.namespace.connect(VIP, port, timeout=5.0)
        except OSError as error:
            return (type(error).__name__,)
        with contextlib.closing(connection):
            stream: socket.socket = connection
            certificate = b""
            if port == 443:
                context = ssl.create_default_context(cadata=self.pki.ca.decode())
                context.check_hostname = False
                tls = context.wrap_socket(connection, server_hostname=headers.get("Host", "shop.example.org"))
                stream, certificate = tls, tls.getpeercert(binary_form=True) or b""
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
            lines += [] if "Host" in headers else ["Host: shop.example.org"]
            stream.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            reply = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
        head, _, body = reply.partition("\r\n\r\n")
        status, *fields = head.split("\r\n")
        shown = dict(field.lower().partition(": ")[::2] for field in fields)
        cookie = shown.get("set-cookie", "").partition("=")[0]
        return (status, shown.get("location"), cookie, shown.get("strict-transport-security"), body, certificate)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """The namespace, with what the shop needs in it."""
    base = Path(tempfile.mkdtemp(prefix="doc", dir="/tmp"))
    namespace = Namespace.create("doc")
    try:
        namespace.ip(
            *(f"address add {address}/32 dev lo" for address in (VIP, "10.20.0.11", "10.20.0.12", "10.20.0.13"))
        )
        namespace.ip("address add 10.20.0.14/32 dev lo")
        paths = replace(paths_of(Settings()), base=base, certs=base / "certs")
        paths.loadbalancer(LB).certs.mkdir(parents=True)
        base.chmod(0o755)
        yield Bench(namespace, paths, Pki.mint("shop"))
    finally:
        namespace.close()
        shutil.rmtree(base)


def test_both_behave_the_same(octavia: OctaviaController, bench: Bench) -> None:
    # Fewer descriptors than the default of 50,000 connections a listener wants.
    shop = {**SHOP, "listeners": [{"connection_limit": 1000, **listener} for listener in SHOP["listeners"]]}
    both = Both(document(shop), octavia, Place(LB, bench.paths))
    both.insert()
    rendered = both.ours()
    assert rendered.haproxy is not None
    contents = {
        "shop-rsa": bench.pki.issue("shop.example.org"),
        "api": bench.pki.issue("api.example.org"),
        "partners": bench.pki.ca,
    }
    for path, name in rendered.secret_files.items():
        Path(path).write_bytes(contents[name])
    for path, text in rendered.crt_lists.items():
        Path(path).write_text(text)
    seen = []
    with contextlib.ExitStack() as stack:
        for number, port in ((11, 8080), (12, 8080), (14, 8080), (11, 8081), (12, 8081)):
            stack.enter_context(WebServer(bench.namespace, f"10.20.0.{number}", port, f"web {number} {port}"))
        for text in (both.theirs(), haproxy_config.render(rendered.haproxy)):
            with bench.haproxy(text, rendered.local_peer):
                wait_for(bench.is_settled, "every member is checked")
                facts: dict[object, object] = {"stat": bench.rows(), "state": bench.states()}
                facts["certificates"] = bench.ask("show ssl cert")
                facts |= {json.dumps(request): bench.answers(*request) for request in REQUESTS}
                seen.append(facts)
    theirs, ours = seen
    assert len(bench_servers(theirs["stat"])) == 14
    assert theirs.keys() == ours.keys()
    for fact, value in theirs.items():
        assert ours[fact] == value, fact


def bench_servers(rows: object) -> list[tuple[str, str]]:
    """Return the servers of a `show stat` table."""
    assert isinstance(rows, dict)
    return [key for key in rows if key[1] not in {"FRONTEND", "BACKEND"}]
