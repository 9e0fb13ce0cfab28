"""A listener as HAProxy's `frontend`, its L7 policies with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.core.document.backend import tls_words
from amphora_agent.core.document.model import (
    ClientAuthentication,
    Comparison,
    Document,
    L7Policy,
    L7Rule,
    Listener,
    PolicyAction,
    Protocol,
    RuleType,
)
from amphora_agent.core.document.place import (
    HTTP_PROTOCOLS,
    Place,
    active_policies,
    addresses,
    connection_limit,
    served_pool,
)
from amphora_agent.core.document.values import Network, parse_network
from amphora_agent.core.document.words import Data, Word, line
from amphora_agent.core.haproxy.config import Section

# HAProxy takes 64 words on a line.
_NETWORKS_PER_LINE = 32
_DEFAULT_REDIRECT = 302
_METHODS = {
    Comparison.CONTAINS: "sub",
    Comparison.ENDS_WITH: "end",
    Comparison.EQUAL_TO: "str",
    Comparison.REGEX: "reg",
    Comparison.STARTS_WITH: "beg",
}
_SAMPLES: dict[RuleType, tuple[Word, ...]] = {
    RuleType.FILE_TYPE: ("path_end",),
    RuleType.HOST_NAME: ("req.hdr(host)", "-i"),
    RuleType.PATH: ("path",),
}
_KEYED_SAMPLES = {
    RuleType.COOKIE: "req.cook",
    RuleType.HEADER: "req.hdr",
    RuleType.SSL_DN_FIELD: "ssl_c_s_dn",
}
EXPORTER_FRONTEND = Section(
    "frontend",
    "prometheus-exporter-internal-endpoint",
    (
        line("bind", "127.0.0.1:9101"),
        line("mode", "http"),
        line("no", "log"),
        line("http-request", "use-service", "prometheus-exporter", "if", "{", "path", "/metrics", "}"),
        line("http-request", "reject"),
        line("timeout", "http-request", "5s"),
        line("timeout", "client", "5s"),
    ),
)
EXPORTER_BACKEND = Section(
    "backend",
    "prometheus-exporter-internal",
    (
        line("mode", "http"),
        line("no", "log"),
        line("balance", "first"),
        line("timeout", "connect", "5s"),
        line("timeout", "server", "5s"),
        line("server", "prometheus-internal", "127.0.0.1:9102"),
    ),
)


@dataclass(frozen=True, slots=True)
class Frontend:
    """One enabled listener of HAProxy's."""

    place: Place
    document: Document
    listener: Listener

    def section(self) -> Section:
        """Return the whole frontend."""
        return Section("frontend", self.place.identity.listener(self.listener.name), tuple(self._lines()))

    def _lines(self) -> Iterator[str]:
        listener = self.listener
        yield line("maxconn", connection_limit(listener))
        if listener.protocol is Protocol.TERMINATED_HTTPS:
            yield line("redirect", "scheme", "https", "if", "!{", "ssl_fc", "}")
            yield from self._hsts_lines()
        for address in addresses(self.document):
            yield line("bind", f"{address}:{listener.protocol_port}", *self._tls_options())
        is_http = listener.protocol in HTTP_PROTOCOLS
        yield line("mode", "http" if is_http or listener.protocol is Protocol.PROMETHEUS else "tcp")
        yield from self._cidr_lines()
        for policy in active_policies(self.document, listener):
            yield from self._policy_lines(policy)
        if listener.protocol is not Protocol.PROMETHEUS and served_pool(self.document, listener.default_pool):
            yield line("default_backend", self._backend(listener.default_pool or ""))
        yield line("timeout", "client", listener.timeout_client_data)
        if listener.timeout_tcp_inspect:
            yield line("tcp-request", "inspect-delay", listener.timeout_tcp_inspect)
        if listener.protocol is Protocol.PROMETHEUS:
            yield line("default_backend", EXPORTER_BACKEND.name)
        yield line("log-format", self._log_format(is_http=is_http))

    def _backend(self, pool: str) -> str:
        return self.place.identity.backend(pool, self.listener.name)

    def _log_format(self, *, is_http: bool) -> Data:
        """Return the controller's fields; the first one is the project, of which there is none here."""
        request = "%{+Q}r %ST" if is_http else "- -"
        return Data(
            f"- {self.place.loadbalancer_id} %f %ci %cp %t {request} %B %U %[ssl_c_verify]"
            " %{+Q}[ssl_c_s_dn] %b %s %Tt %tsc"
        )

    def _hsts_lines(self) -> Iterator[str]:
        listener = self.listener
        if listener.hsts_max_age is None:
            return
        parts = [f"max-age={listener.hsts_max_age};"]
        parts += ["includeSubDomains;"] if listener.hsts_include_subdomains else []
        parts += ["preload;"] if listener.hsts_preload else []
        yield line("http-response", "set-header", "Strict-Transport-Security", Data(" ".join(parts)))

    def _tls_options(self) -> Iterator[Word]:
        listener = self.listener
        if listener.protocol is not Protocol.TERMINATED_HTTPS:
            return
        yield from ("ssl", "crt-list", Data(self.place.crt_list_file(listener.name)))
        if listener.client_authentication is not ClientAuthentication.NONE and listener.client_ca_tls_container_ref:
            yield from ("ca-file", Data(self.place.secret_file(listener.client_ca_tls_container_ref)))
            is_optional = listener.client_authentication is ClientAuthentication.OPTIONAL
            yield from ("verify", "optional" if is_optional else "required")
            if listener.client_crl_container_ref is not None:
                yield from ("crl-file", Data(self.place.secret_file(listener.client_crl_container_ref)))
        yield from tls_words(listener)

    def _cidr_lines(self) -> Iterator[str]:
        found = (parse_network(text) for text in self.listener.allowed_cidrs)
        networks: list[Network] = [network for network in found if network is not None]
        acl = self.place.identity.allowed(self.listener.name)
        for start in range(0, len(networks), _NETWORKS_PER_LINE):
            yield line("acl", acl, "src", *networks[start : start + _NETWORKS_PER_LINE])
        if networks:
            yield line("tcp-request", "connection", "reject", "if", f"!{acl}")

    def _policy_lines(self, policy: L7Policy) -> Iterator[str]:
        conditions: list[Word] = []
        for position, rule in enumerate(policy.rules):
            if rule.admin_state_up:
                acl = self.place.identity.rule(self.listener.name, policy.name, position)
                yield line("acl", acl, *_rule_words(rule))
                conditions.append(f"!{acl}" if rule.invert else acl)
        yield line(*self._action_words(policy), "if", *conditions)

    def _action_words(self, policy: L7Policy) -> tuple[Word, ...]:
        code = policy.redirect_http_code or _DEFAULT_REDIRECT
        match policy.action:
            case PolicyAction.REDIRECT_TO_POOL:
                return ("use_backend", self._backend(policy.redirect_pool or ""))
            case PolicyAction.REDIRECT_TO_URL:
                return ("redirect", "code", code, "location", Data(policy.redirect_url or ""))
            case PolicyAction.REDIRECT_PREFIX:
                return ("redirect", "code", code, "prefix", Data(policy.redirect_prefix or ""))
            case PolicyAction.REJECT:
                return ("http-request", "deny")


def _rule_words(rule: L7Rule) -> tuple[Word, ...]:
    """Return the condition of a rule."""
    if rule.type is RuleType.SSL_CONN_HAS_CERT:
        return ("ssl_c_used",)
    if rule.type is RuleType.SSL_VERIFY_RESULT:
        return ("ssl_c_verify", "eq", int(rule.value))
    words: list[Word] = list(_SAMPLES.get(rule.type, ()))
    if not words:
        words = [Data(f"{_KEYED_SAMPLES[rule.type]}({rule.key})")]
    if rule.type is not RuleType.FILE_TYPE or rule.compare_type is not Comparison.EQUAL_TO:
        words += ["-m", _METHODS[rule.compare_type]]
    if rule.value.startswith("-"):
        words.append("--")  # a pattern that looks like a flag would be taken for one
    return (*words, Data(rule.value))
