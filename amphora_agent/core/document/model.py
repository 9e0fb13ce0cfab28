"""The document of API 2.0: a whole load balancer in the words of Octavia's own API. Values only; checks no reference.

Decision: msgspec is let into this room of `core`, and into no other. The document is read by the API, by `amphoractl
validate` and by operations that load a stored revision, so its types cannot live at one edge; frozen dataclasses,
which msgspec can fill too, would accept a misspelt field in silence and give OpenAPI no bounds. It costs the processes
that read documents 1 MB; the heartbeat and the checks never import it, which import-linter watches.

Addresses stay text here, for msgspec's union takes one custom type; `checks` proves them and `render` parses them.

Source: Octavia API reference v2, "Creating a fully populated load balancer"; the bounds are Octavia's, and HAProxy's
where they are narrower.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

# `$` alone would let a trailing line feed through; this reads the same in Python and in OpenAPI's ECMA 262.
_END = r"(?!\n)$"
# Timers of HAProxy are signed 32-bit milliseconds.
LONGEST_MS = 2_147_483_647
LONGEST_SECONDS = 86_400
DEFAULT_CIPHERS = (
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)

Name: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=rf"^(?!\.\.?$)[^\x00-\x1f\x7f/]+{_END}",
        description="a name: no control characters, no slash, neither '.' nor '..'",
    ),
]
SecretName: TypeAlias = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=rf"^[A-Za-z0-9_][A-Za-z0-9_.-]*{_END}",
        description="the name of an uploaded secret: letters, digits, '_', '.', '-'",
    ),
]
Description: TypeAlias = Annotated[str, Meta(max_length=255)]
AddressText: TypeAlias = Annotated[str, Meta(max_length=45, description="an IPv4 or IPv6 address")]
SubnetText: TypeAlias = Annotated[str, Meta(max_length=49, description="a subnet in CIDR notation")]
Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
Milliseconds: TypeAlias = Annotated[int, Meta(ge=1, le=LONGEST_MS)]
Seconds: TypeAlias = Annotated[int, Meta(ge=1, le=LONGEST_SECONDS)]
Text: TypeAlias = Annotated[str, Meta(max_length=255)]
Line: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=rf"^[^\x00-\x1f\x7f]+{_END}")]
# What an HTTP header or cookie is called, as far as HAProxy can be asked for it.
Token: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=255, pattern=rf"^[A-Za-z0-9!#$%&*+.^_|~-]+{_END}", description="an HTTP token")
]
UrlPath: TypeAlias = Annotated[
    str,
    Meta(
        max_length=255,
        pattern=rf"^/([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{{2}})*{_END}",
        description="a path that begins with '/', percent-encoded",
    ),
]
Url: TypeAlias = Annotated[
    str,
    Meta(
        max_length=255,
        pattern=rf"^https?://([A-Za-z0-9._~!$&'()*+,;=:@/?#\[\]-]|%[0-9A-Fa-f]{{2}})+{_END}",
        description="an http or https URL, percent-encoded",
    ),
]
HostName: TypeAlias = Annotated[
    str,
    Meta(
        max_length=253,
        pattern=rf"^(?!-)[A-Za-z0-9-]{{1,63}}(\.[A-Za-z0-9-]{{1,63}})*\.?{_END}",
        description="a DNS name",
    ),
]
Codes: TypeAlias = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=rf"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?(,[1-5][0-9][0-9](-[1-5][0-9][0-9])?)*{_END}",
        description="HTTP status codes: '200', '200,204' or '200-204'",
    ),
]
Ciphers: TypeAlias = Annotated[
    str, Meta(max_length=2048, pattern=rf"^[A-Za-z0-9_:-]+{_END}", description="OpenSSL cipher names joined by ':'")
]


class Protocol(StrEnum):
    """What is spoken. PROXY and PROXYV2 are pools' alone, TERMINATED_HTTPS and PROMETHEUS listeners'."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"
    PROMETHEUS = "PROMETHEUS"
    PROXY = "PROXY"
    PROXYV2 = "PROXYV2"
    SCTP = "SCTP"
    TCP = "TCP"
    TERMINATED_HTTPS = "TERMINATED_HTTPS"
    UDP = "UDP"


class Algorithm(StrEnum):
    """How a pool chooses its member."""

    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_CONNECTIONS = "LEAST_CONNECTIONS"
    SOURCE_IP = "SOURCE_IP"


class PersistenceType(StrEnum):
    """What keeps a client at its member."""

    SOURCE_IP = "SOURCE_IP"
    HTTP_COOKIE = "HTTP_COOKIE"
    APP_COOKIE = "APP_COOKIE"


class MonitorType(StrEnum):
    """How members are checked."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"
    PING = "PING"
    TCP = "TCP"
    TLS_HELLO = "TLS-HELLO"
    UDP_CONNECT = "UDP-CONNECT"
    SCTP = "SCTP"


class HttpMethod(StrEnum):
    """The request of an HTTP check."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    TRACE = "TRACE"
    OPTIONS = "OPTIONS"
    CONNECT = "CONNECT"
    PATCH = "PATCH"


class TlsVersion(StrEnum):
    """Versions of TLS, oldest first."""

    SSLV3 = "SSLv3"
    TLSV1 = "TLSv1"
    TLSV1_1 = "TLSv1.1"
    TLSV1_2 = "TLSv1.2"
    TLSV1_3 = "TLSv1.3"


class Alpn(StrEnum):
    """Protocols agreed upon in the TLS handshake."""

    H2 = "h2"
    HTTP_1_1 = "http/1.1"
    HTTP_1_0 = "http/1.0"


class ClientAuthentication(StrEnum):
    """Whether a TLS listener asks for certificates."""

    NONE = "NONE"
    OPTIONAL = "OPTIONAL"
    MANDATORY = "MANDATORY"


class PolicyAction(StrEnum):
    """What an L7 policy does with a request."""

    REDIRECT_PREFIX = "REDIRECT_PREFIX"
    REDIRECT_TO_POOL = "REDIRECT_TO_POOL"
    REDIRECT_TO_URL = "REDIRECT_TO_URL"
    REJECT = "REJECT"


class RuleType(StrEnum):
    """What part of a request an L7 rule looks at."""

    COOKIE = "COOKIE"
    FILE_TYPE = "FILE_TYPE"
    HEADER = "HEADER"
    HOST_NAME = "HOST_NAME"
    PATH = "PATH"
    SSL_CONN_HAS_CERT = "SSL_CONN_HAS_CERT"
    SSL_DN_FIELD = "SSL_DN_FIELD"
    SSL_VERIFY_RESULT = "SSL_VERIFY_RESULT"


class Comparison(StrEnum):
    """How an L7 rule compares."""

    CONTAINS = "CONTAINS"
    ENDS_WITH = "ENDS_WITH"
    EQUAL_TO = "EQUAL_TO"
    REGEX = "REGEX"
    STARTS_WITH = "STARTS_WITH"


class _Object(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all objects of the document have in common: an unknown field is an error, a default is not written."""


class HostRoute(_Object, frozen=True):
    """A route to somewhere else by way of a subnet."""

    destination: SubnetText
    nexthop: AddressText


class Vip(_Object, frozen=True):
    """An address clients connect to. Gateway and routes are the subnet's, for a pair's keepalived."""

    address: AddressText
    subnet: SubnetText
    gateway_ip: AddressText | None = None
    host_routes: tuple[HostRoute, ...] = ()


class L7Rule(_Object, frozen=True):
    """One condition of a policy; all of them must hold."""

    type: RuleType
    compare_type: Comparison
    value: Line
    key: Token | None = None
    invert: bool = False
    admin_state_up: bool = True


class L7Policy(_Object, frozen=True):
    """What happens to requests that meet all rules. `position` orders; equal ones keep the document's order."""

    name: Name
    action: PolicyAction
    description: Description = ""
    admin_state_up: bool = True
    position: Annotated[int, Meta(ge=1, le=2_147_483_647)] = 2_147_483_647
    redirect_pool: Name | None = None
    redirect_url: Url | None = None
    redirect_prefix: Url | None = None
    redirect_http_code: int | None = None
    rules: Annotated[tuple[L7Rule, ...], Meta(max_length=50)] = ()


class Listener(_Object, frozen=True):
    """A port of every VIP."""

    name: Name
    protocol: Protocol
    protocol_port: Port
    description: Description = ""
    admin_state_up: bool = True
    default_pool: Name | None = None
    connection_limit: Annotated[int, Meta(ge=-1, le=1_000_000)] = -1
    allowed_cidrs: Annotated[tuple[SubnetText, ...], Meta(max_length=1000)] = ()
    insert_headers: dict[str, str] = {}
    l7policies: Annotated[tuple[L7Policy, ...], Meta(max_length=1000)] = ()
    timeout_client_data: Milliseconds = 50_000
    timeout_member_connect: Milliseconds = 5_000
    timeout_member_data: Milliseconds = 50_000
    timeout_tcp_inspect: Annotated[int, Meta(ge=0, le=LONGEST_MS)] = 0
    default_tls_container_ref: SecretName | None = None
    sni_container_refs: Annotated[tuple[SecretName, ...], Meta(max_length=1000)] = ()
    tls_versions: tuple[TlsVersion, ...] = (TlsVersion.TLSV1_2, TlsVersion.TLSV1_3)
    tls_ciphers: Ciphers | None = DEFAULT_CIPHERS
    alpn_protocols: tuple[Alpn, ...] = (Alpn.H2, Alpn.HTTP_1_1, Alpn.HTTP_1_0)
    client_authentication: ClientAuthentication = ClientAuthentication.NONE
    client_ca_tls_container_ref: SecretName | None = None
    client_crl_container_ref: SecretName | None = None
    hsts_max_age: Annotated[int, Meta(ge=0, le=LONGEST_MS)] | None = None
    hsts_include_subdomains: bool = False
    hsts_preload: bool = False


class SessionPersistence(_Object, frozen=True):
    """What keeps clients at their member; timeout in seconds and granularity are of UDP and SCTP pools alone."""

    type: PersistenceType
    cookie_name: Token | None = None
    persistence_timeout: Annotated[int, Meta(ge=1, le=2_678_400)] | None = None
    persistence_granularity: Annotated[str, Meta(max_length=45)] | None = None


class HealthMonitor(_Object, frozen=True):
    """The checks of a pool's members; `delay` and `timeout` in seconds."""

    type: MonitorType
    delay: Seconds
    timeout: Seconds
    max_retries: Annotated[int, Meta(ge=1, le=10)]
    name: Description = ""
    max_retries_down: Annotated[int, Meta(ge=1, le=10)] = 3
    http_method: HttpMethod | None = None
    url_path: UrlPath | None = None
    expected_codes: Codes | None = None
    http_version: float | None = None
    domain_name: HostName | None = None
    admin_state_up: bool = True


class Member(_Object, frozen=True):
    """One server of a pool."""

    name: Name
    address: AddressText
    protocol_port: Port
    weight: Annotated[int, Meta(ge=0, le=256)] = 1
    backup: bool = False
    admin_state_up: bool = True
    monitor_address: AddressText | None = None
    monitor_port: Port | None = None


class Extra(_Object, frozen=True):
    """What Octavia has no words for.

    `ramp`: seconds until a member that came up has its full share. `outlier_errors`: after so many bad answers in a
    row a member counts as down, until its check says otherwise.
    """

    ramp: Seconds | None = None
    outlier_errors: Annotated[int, Meta(ge=1, le=100_000)] | None = None


Members: TypeAlias = Annotated[tuple[Member, ...], Meta(max_length=10_000)]


class Pool(_Object, frozen=True):
    """Members that share the work; nothing but a listener or a policy that names it makes it serve."""

    name: Name
    protocol: Protocol
    lb_algorithm: Algorithm
    description: Description = ""
    admin_state_up: bool = True
    session_persistence: SessionPersistence | None = None
    healthmonitor: HealthMonitor | None = None
    members: Members = ()
    tls_enabled: bool = False
    tls_container_ref: SecretName | None = None
    ca_tls_container_ref: SecretName | None = None
    crl_container_ref: SecretName | None = None
    tls_versions: tuple[TlsVersion, ...] = (TlsVersion.TLSV1_2, TlsVersion.TLSV1_3)
    tls_ciphers: Ciphers | None = DEFAULT_CIPHERS
    alpn_protocols: tuple[Alpn, ...] = (Alpn.H2, Alpn.HTTP_1_1, Alpn.HTTP_1_0)
    extra: Extra = Extra()


class Vrrp(_Object, frozen=True):
    """The pair: this amphora's address, its peer's, and what keepalived needs. `auth` names a secret, a password."""

    own: AddressText
    peer: AddressText
    auth: SecretName
    id: Annotated[int, Meta(ge=1, le=255)] = 1
    priority: Annotated[int, Meta(ge=1, le=254)] = 100
    interface: Annotated[str, Meta(max_length=15, pattern=rf"^[A-Za-z0-9_][A-Za-z0-9_.-]*{_END}")] = "eth1"
    advert_int: Annotated[int, Meta(ge=1, le=40)] = 1


class Document(_Object, frozen=True):
    """A load balancer, whole; without `vrrp` its amphora stands alone."""

    name: Name
    vips: Annotated[tuple[Vip, ...], Meta(min_length=1, max_length=64)]
    description: Description = ""
    admin_state_up: bool = True
    listeners: Annotated[tuple[Listener, ...], Meta(max_length=1000)] = ()
    pools: Annotated[tuple[Pool, ...], Meta(max_length=1000)] = ()
    vrrp: Vrrp | None = None
