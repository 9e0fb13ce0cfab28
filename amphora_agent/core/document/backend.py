"""A pool behind a listener as HAProxy's `backend`, and its members as `server` lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.core.addresses import parse_address
from amphora_agent.core.document.model import (
    Algorithm,
    Alpn,
    HealthMonitor,
    Listener,
    Member,
    MonitorType,
    PersistenceType,
    Pool,
    Protocol,
    TlsVersion,
)
from amphora_agent.core.document.place import HTTP_PROTOCOLS, Place, connection_limit
from amphora_agent.core.document.values import canonical_address, split_ciphers, status_codes
from amphora_agent.core.document.words import Data, Word, line, plain, together
from amphora_agent.core.haproxy.config import Section

_ALGORITHMS = {
    Algorithm.ROUND_ROBIN: "roundrobin",
    Algorithm.LEAST_CONNECTIONS: "leastconn",
    Algorithm.SOURCE_IP: "source",
}
_NO_VERSION = {
    TlsVersion.SSLV3: "no-sslv3",
    TlsVersion.TLSV1: "no-tlsv10",
    TlsVersion.TLSV1_1: "no-tlsv11",
    TlsVersion.TLSV1_2: "no-tlsv12",
    TlsVersion.TLSV1_3: "no-tlsv13",
}
_BELOW_DEFAULT = frozenset({TlsVersion.TLSV1, TlsVersion.TLSV1_1})
_BOUNDS = {
    TlsVersion.TLSV1: "TLSv1.0",
    TlsVersion.TLSV1_1: "TLSv1.1",
    TlsVersion.TLSV1_2: "TLSv1.2",
    TlsVersion.TLSV1_3: "TLSv1.3",
}
_HEADER_LINES: dict[str, tuple[Word, ...]] = {
    "X-SSL-Client-Verify": ("%[ssl_c_verify]",),
    "X-SSL-Client-Has-Cert": ("%[ssl_c_used]",),
    "X-SSL-Client-DN": ("%{+Q}[ssl_c_s_dn]",),
    "X-SSL-Client-CN": ("%{+Q}[ssl_c_s_dn(cn)]",),
    "X-SSL-Issuer": ("%{+Q}[ssl_c_i_dn]",),
    "X-SSL-Client-SHA1": ("%{+Q}[ssl_c_sha1,hex]",),
    "X-SSL-Client-Not-Before": ("%{+Q}[ssl_c_notbefore]",),
    "X-SSL-Client-Not-After": ("%{+Q}[ssl_c_notafter]",),
}


@dataclass(frozen=True, slots=True)
class Backend:
    """One pool behind one listener; `peers` names the section that shares its stick table, if there is one."""

    place: Place
    listener: Listener
    pool: Pool
    peers: str | None

    def section(self) -> Section:
        """Return the whole backend."""
        name = self.place.identity.backend(self.pool.name, self.listener.name)
        return Section("backend", name, tuple(self._lines()))

    @property
    def monitor(self) -> HealthMonitor | None:
        """The pool's monitor while it is enabled."""
        monitor = self.pool.healthmonitor
        return monitor if monitor is not None and monitor.admin_state_up else None

    @property
    def is_http(self) -> bool:
        """Whether HAProxy reads requests here; a pool of the PROXY protocols speaks what its listener does."""
        if self.pool.protocol in {Protocol.PROXY, Protocol.PROXYV2}:
            return self.listener.protocol in HTTP_PROTOCOLS
        return self.pool.protocol is Protocol.HTTP

    def _lines(self) -> Iterator[str]:
        yield line("mode", "http" if self.is_http else "tcp")
        if self.is_http:
            yield line("http-reuse", "safe")
        yield line("balance", _ALGORITHMS[self.pool.lb_algorithm])
        yield from self._persistence_lines()
        yield from self._monitor_lines()
        yield from self._header_lines()
        yield line("fullconn", connection_limit(self.listener))
        yield line("option", "allbackups")
        yield line("timeout", "connect", self.listener.timeout_member_connect)
        yield line("timeout", "server", self.listener.timeout_member_data)
        checked, common = together(self._check_options()), together(self._common_options())
        for member in self.pool.members:
            yield self._server_line(member, checked, common)

    def _persistence_lines(self) -> Iterator[str]:
        persistence = self.pool.session_persistence
        if persistence is None:
            return
        shared: tuple[Word, ...] = ("peers", self.peers) if self.peers else ()
        if persistence.type is PersistenceType.HTTP_COOKIE:
            yield line("cookie", "SRV", "insert", "indirect", "nocache")
        elif persistence.type is PersistenceType.SOURCE_IP:
            yield line("stick-table", "type", "ipv6", "size", "10k", *shared)
            yield line("stick", "on", "src")
        elif persistence.cookie_name is not None:
            yield line("stick-table", "type", "string", "len", 64, "size", "10k", *shared)
            yield line("stick", "store-response", Data(f"res.cook({persistence.cookie_name})"))
            yield line("stick", "match", Data(f"req.cook({persistence.cookie_name})"))

    def _monitor_lines(self) -> Iterator[str]:
        monitor = self.monitor
        if monitor is None:
            return
        yield line("load-server-state-from-file", "global")
        yield line("timeout", "check", f"{monitor.timeout}s")
        if monitor.type is MonitorType.PING:
            yield line("option", "external-check")
            yield line("external-check", "command", Data(str(self.place.paths.base / "ping-wrapper.sh")))
        if monitor.type not in {MonitorType.HTTP, MonitorType.HTTPS}:
            return
        version: tuple[Word, ...] = (f"HTTP/{monitor.http_version}",) if monitor.http_version else ()
        yield line("option", "httpchk", monitor.http_method or "GET", Data(monitor.url_path or "/"), *version)
        if monitor.domain_name is not None:
            yield line("http-check", "send", "hdr", "Host", Data(monitor.domain_name))
        codes = "|".join(str(code) for code in status_codes(monitor.expected_codes or "200"))
        yield line("http-check", "expect", "rstatus", codes)

    def _header_lines(self) -> Iterator[str]:
        wanted = {header for header, value in self.listener.insert_headers.items() if value.lower() == "true"}
        if "X-Forwarded-For" in wanted:
            yield line("option", "forwardfor")
        if "X-Forwarded-Port" in wanted:
            yield line("http-request", "set-header", "X-Forwarded-Port", "%[dst_port]")
        if "X-Forwarded-Proto" in wanted:
            scheme = "https" if self.listener.protocol is Protocol.TERMINATED_HTTPS else "http"
            yield line("http-request", "set-header", "X-Forwarded-Proto", scheme)
        for header, value in _HEADER_LINES.items():
            if header in wanted:
                yield line("http-request", "set-header", header, *value)

    def _server_line(self, member: Member, checked: tuple[Word, ...], common: tuple[Word, ...]) -> str:
        server = self.place.identity.member(self.pool.name, member.name)
        place = f"{canonical_address(member.address)}:{member.protocol_port}"
        words: list[Word] = [plain(f"server {server} {place} weight {member.weight}"), *checked]
        if checked:
            words += _check_place(member)
        persistence = self.pool.session_persistence
        if persistence is not None and persistence.type is PersistenceType.HTTP_COOKIE:
            words += ["cookie", server]
        if member.backup:
            words.append("backup")
        words += common
        if not member.admin_state_up:
            words.append("disabled")
        return line(*words)

    def _check_options(self) -> Iterator[Word]:
        """Yield how all servers of the pool are checked."""
        monitor = self.monitor
        if monitor is None:
            return
        yield "check"
        if monitor.type in {MonitorType.HTTPS, MonitorType.TLS_HELLO}:
            yield from ("check-ssl", "verify", "none")
        if self.pool.tls_enabled and self.pool.alpn_protocols:
            yield from ("check-alpn", _joined(self.pool.alpn_protocols))
        yield from ("inter", f"{monitor.delay}s", "fall", monitor.max_retries_down, "rise", monitor.max_retries)

    def _common_options(self) -> Iterator[Word]:
        """Yield what all servers of the pool have at the end of their lines."""
        if self.pool.protocol is Protocol.PROXY:
            yield "send-proxy"
        elif self.pool.protocol is Protocol.PROXYV2:
            ends_tls = self.listener.protocol is Protocol.TERMINATED_HTTPS
            yield "send-proxy-v2-ssl-cn" if ends_tls else "send-proxy-v2"
        yield from self._tls_options()
        if self.pool.extra.ramp is not None:
            yield from ("slowstart", f"{self.pool.extra.ramp}s")
        if self.pool.extra.outlier_errors is not None:
            layer = "layer7" if self.is_http else "layer4"
            yield from ("observe", layer, "error-limit", self.pool.extra.outlier_errors, "on-error", "mark-down")

    def _tls_options(self) -> Iterator[Word]:
        pool = self.pool
        if not pool.tls_enabled:
            return
        yield "ssl"
        if pool.tls_container_ref is not None:
            yield from ("crt", Data(self.place.secret_file(pool.tls_container_ref)))
        if pool.ca_tls_container_ref is not None:
            yield from ("ca-file", Data(self.place.secret_file(pool.ca_tls_container_ref)))
        if pool.crl_container_ref is not None:
            yield from ("crl-file", Data(self.place.secret_file(pool.crl_container_ref)))
        yield from ("verify", "required" if pool.ca_tls_container_ref is not None else "none")
        yield from ("sni", "ssl_fc_sni")
        yield from tls_words(pool)


def _check_place(member: Member) -> Iterator[Word]:
    """Yield where a member is checked, if that is not where it serves."""
    if member.monitor_address is not None:
        address = parse_address(member.monitor_address)
        # Here, unlike in front of a port, HAProxy takes what follows an IPv6 address's last colon for a port.
        yield from ("addr", f"[{address}]" if member.monitor_address.count(":") else f"{address}")
    if member.monitor_port is not None:
        yield from ("port", member.monitor_port)


def tls_words(owner: Listener | Pool) -> Iterator[Word]:
    """Yield ciphers, versions and ALPN, which `bind` and `server` spell alike."""
    ciphers, suites = split_ciphers(owner.tls_ciphers or "")
    if ciphers:
        yield from ("ciphers", ":".join(ciphers))
    if suites:
        yield from ("ciphersuites", ":".join(suites))
    yield from _version_words(owner)
    if owner.alpn_protocols:
        yield from ("alpn", _joined(owner.alpn_protocols))


def _version_words(owner: Listener | Pool) -> Iterator[Word]:
    """Yield what limits the versions, as the controller writes it.

    A `bind` line that only forbids versions begins with TLS 1.2 whatever it leaves; asked for an older one, it has to
    be told the bounds. Source: HAProxy configuration manual 2.6, bind option "ssl-min-ver".
    """
    wanted = [version for version in TlsVersion if version in owner.tls_versions]
    if isinstance(owner, Listener) and wanted[0] in _BELOW_DEFAULT:
        yield from ("ssl-min-ver", _BOUNDS[wanted[0]], "ssl-max-ver", _BOUNDS[wanted[-1]])
    else:
        yield from (word for version, word in _NO_VERSION.items() if version not in wanted)


def _joined(protocols: tuple[Alpn, ...]) -> str:
    return ",".join(dict.fromkeys(protocols))
