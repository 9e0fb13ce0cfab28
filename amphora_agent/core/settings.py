"""The agent's configuration file as a value. Parses text; never reads a file, never writes a default back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import ip_address

from amphora_agent.errors import MalformedData

Section = dict[str, str]

_SUBSTITUTION = re.compile(r"\$\$|\\\$|\$\{([A-Za-z_][\w.]*)\}|\$([A-Za-z_][\w.]*)")
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_OWN = "amphora_agent"
_TLS_VERSIONS = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_DIGITS = 18
_PORT_MAX = 65535
# Source: unix(7), sun_path.
_SOCKET_PATH_MAX = 107
# For one value; each may name further ones, so without a limit a few lines would stand for gigabytes.
_SUBSTITUTIONS_MAX = 100
_SUBSTITUTED_MAX = 64 * 1024


class Topology(StrEnum):
    """How many amphorae serve the load balancer."""

    SINGLE = "SINGLE"
    ACTIVE_STANDBY = "ACTIVE_STANDBY"


class SupervisorKind(StrEnum):
    """Who starts and restarts HAProxy and keepalived."""

    AUTO = "auto"
    SYSTEMD = "systemd"
    DIRECT = "direct"


class FirewallMode(StrEnum):
    """What the configuration firewall does with lines that no controller known to this agent writes."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Oddity:
    """An option whose value cannot be used, for which the default stands. `text` names it and never its value.

    `is_mistyped`: it is no number, or neither true nor false; otherwise a number out of range.
    """

    text: str
    is_mistyped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every option the agent reads; defaults are the contract's.

    Times are seconds, memory is bytes. The second block holds options of ours, all optional. `oddities` are for the
    log, and no part of the settings' value.

    Decision: an amphora that does not start is replaced, or lost. So a harmless option - a time, a limit, a switch -
    with a value that cannot be used counts as its default and is warned about. What decides where the agent listens,
    whom it trusts and where its files are has no such default: a wrong one is refused.

    Decision: the heartbeat key is taken as it stands. The controller writes its resolved key into the file, so a `$` in
    it is a `$`; taken for a reference, a part of the key would be looked up, reported, or lost.
    Source: the option table of the agent configuration file; `etc/amphora-agent.conf` documents each one.
    """

    debug: bool = False
    use_syslog: bool = False
    base_path: str = "/var/lib/octavia"
    base_cert_dir: str = "/var/lib/octavia/certs"
    bind_host: str = "::"
    bind_port: int = 9443
    haproxy_cmd: str = "/usr/sbin/haproxy"
    controller_ip_port_list: tuple[str, ...] = ()
    heartbeat_interval: int = 10
    heartbeat_key: str | None = field(default=None, repr=False)
    agent_server_ca: str = "/etc/octavia/certs/client_ca.pem"
    agent_server_cert: str = "/etc/octavia/certs/server.pem"
    agent_server_network_dir: str = "/etc/octavia/interfaces"
    agent_request_read_timeout: int = 180
    agent_tls_protocol: str = "TLSv1.2"
    amphora_id: str | None = None
    administrative_log_facility: int = 1
    loadbalancer_topology: Topology = Topology.SINGLE

    supervisor: SupervisorKind = SupervisorKind.AUTO
    netns: str = "amphora-haproxy"
    hard_stop_after: int = 14400
    max_old_workers: int = 50
    runtime_changes: bool = True
    reduced_checks: bool = True
    new_members_start_down: bool = False
    configuration_firewall: FirewallMode = FirewallMode.ENFORCE
    configuration_allow: tuple[str, ...] = ()
    api_socket: str | None = "/run/amphora-agent.sock"
    api_socket_group: str | None = None
    latency_histograms: bool = True

    oddities: tuple[Oddity, ...] = field(default=(), compare=False)


def parse_settings(text: str) -> Settings:
    """Return the settings a configuration file holds.

    Raises:
        MalformedData: a line outside the grammar, or a value that cannot be used and has no harmless default.

    Source: oslo.config's file format: keys before any section and lines without `=` or `:` are errors,
    indented lines continue a value, the last duplicate wins, unknown options are ignored.
    """
    reader = _Reader(parse_ini(text))
    default = Settings()
    topology = reader.choice(
        "controller_worker", "loadbalancer_topology", default.loadbalancer_topology, tuple(Topology)
    )
    settings = Settings(
        debug=reader.boolean("DEFAULT", "debug", default=default.debug),
        use_syslog=reader.boolean("DEFAULT", "use_syslog", default=default.use_syslog),
        loadbalancer_topology=Topology(topology),
    )
    for read in (_read_haproxy, _read_heartbeats, _read_own_server, _read_place, _read_changes, _read_firewall):
        settings = read(reader, settings)
    return replace(settings, oddities=tuple(reader.oddities))


def _read_haproxy(reader: _Reader, before: Settings) -> Settings:
    section = "haproxy_amphora"
    return replace(
        before,
        base_path=reader.text(section, "base_path", before.base_path).rstrip("/") or "/",
        base_cert_dir=reader.text(section, "base_cert_dir", before.base_cert_dir).rstrip("/") or "/",
        bind_host=reader.address(section, "bind_host", before.bind_host),
        bind_port=reader.port(section, "bind_port", before.bind_port),
        haproxy_cmd=reader.text(section, "haproxy_cmd", before.haproxy_cmd),
    )


def _read_heartbeats(reader: _Reader, before: Settings) -> Settings:
    section = "health_manager"
    return replace(
        before,
        controller_ip_port_list=reader.texts(section, "controller_ip_port_list"),
        heartbeat_interval=reader.integer(section, "heartbeat_interval", before.heartbeat_interval, 1, 86400),
        heartbeat_key=reader.verbatim(section, "heartbeat_key"),
    )


def _read_own_server(reader: _Reader, before: Settings) -> Settings:
    section, timeout = _OWN, "agent_request_read_timeout"
    return replace(
        before,
        agent_server_ca=reader.text(section, "agent_server_ca", before.agent_server_ca),
        agent_server_cert=reader.text(section, "agent_server_cert", before.agent_server_cert),
        agent_request_read_timeout=reader.integer(section, timeout, before.agent_request_read_timeout, 1, 86400),
        agent_tls_protocol=reader.choice(section, "agent_tls_protocol", before.agent_tls_protocol, _TLS_VERSIONS),
        api_socket=reader.socket_path(section, "api_socket", before.api_socket),
        api_socket_group=reader.optional_text(section, "api_socket_group") or None,
    )


def _read_place(reader: _Reader, before: Settings) -> Settings:
    section, network_dir, facility = _OWN, "agent_server_network_dir", "administrative_log_facility"
    # The controller's own template has it in the other section.
    with_facility = next((each for each in (_OWN, "haproxy_amphora") if reader.has(each, facility)), _OWN)
    return replace(
        before,
        agent_server_network_dir=reader.text(section, network_dir, before.agent_server_network_dir).rstrip("/"),
        amphora_id=reader.optional_text(section, "amphora_id"),
        administrative_log_facility=reader.integer(with_facility, facility, before.administrative_log_facility, 0, 7),
        supervisor=SupervisorKind(reader.choice(section, "supervisor", before.supervisor, tuple(SupervisorKind))),
        netns=reader.text(section, "netns", before.netns),
        latency_histograms=reader.boolean(section, "latency_histograms", default=before.latency_histograms),
    )


def _read_changes(reader: _Reader, before: Settings) -> Settings:
    section, start_down = _OWN, "new_members_start_down"
    return replace(
        before,
        hard_stop_after=reader.integer(section, "hard_stop_after", before.hard_stop_after, 1, 2_000_000),
        max_old_workers=reader.integer(section, "max_old_workers", before.max_old_workers, 1, 1000),
        runtime_changes=reader.boolean(section, "runtime_changes", default=before.runtime_changes),
        reduced_checks=reader.boolean(section, "reduced_checks", default=before.reduced_checks),
        new_members_start_down=reader.boolean(section, start_down, default=before.new_members_start_down),
    )


def _read_firewall(reader: _Reader, before: Settings) -> Settings:
    mode = reader.choice(_OWN, "configuration_firewall", before.configuration_firewall, tuple(FirewallMode))
    allowed = reader.lines(_OWN, "configuration_allow")
    return replace(before, configuration_firewall=FirewallMode(mode), configuration_allow=allowed)


def parse_ini(text: str) -> dict[str, Section]:
    """Return section -> key -> value, values unquoted but not yet substituted.

    Raises:
        MalformedData: names the line number.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] | None = None
    key: str | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped:
            key = None
        elif line[0] in "#;":
            continue
        elif line[0].isspace():
            if section is None or key is None:
                raise MalformedData("cannot read the configuration", f"line {number} continues no value")
            section[key].append(stripped)
        elif line[0] == "[":
            name = stripped[1:-1].strip()
            if not stripped.endswith("]") or not name:
                raise MalformedData("cannot read the configuration", f"line {number} is no section header")
            section, key = sections.setdefault(name, {}), None
        else:
            key, value = _split_option(stripped, number)
            if section is None:
                raise MalformedData("cannot read the configuration", f"line {number} stands before any section")
            section[key] = [value]
    return {name: {k: _unquote("\n".join(v)) for k, v in options.items()} for name, options in sections.items()}


def _split_option(line: str, number: int) -> tuple[str, str]:
    end = next((place for place, letter in enumerate(line) if letter in "=:"), 0)
    key = line[:end].rstrip()
    if not key:
        raise MalformedData("cannot read the configuration", f"line {number} is neither a section nor an option")
    return key, line[end + 1 :].lstrip()


def _unquote(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


@dataclass(frozen=True, slots=True)
class _Reader:
    """Typed look-ups in parsed sections; each raises MalformedData naming the option, never its value.

    Numbers and switches that cannot be used are noted in `oddities` instead.
    """

    sections: Mapping[str, Section]
    oddities: list[Oddity] = field(default_factory=list)

    def has(self, section: str, option: str) -> bool:
        return option in self.sections.get(section, {})

    def verbatim(self, section: str, option: str) -> str | None:
        return self.sections.get(section, {}).get(option)

    def optional_text(self, section: str, option: str) -> str | None:
        raw = self.sections.get(section, {}).get(option)
        return None if raw is None else self._substitute(raw, section, option, iter(range(_SUBSTITUTIONS_MAX)))

    def text(self, section: str, option: str, default: str) -> str:
        value = self.optional_text(section, option)
        return default if value is None or value == "" else value

    def texts(self, section: str, option: str) -> tuple[str, ...]:
        value = self.optional_text(section, option) or ""
        return tuple(part.strip() for part in value.split(",") if part.strip())

    def lines(self, section: str, option: str) -> tuple[str, ...]:
        """Return the lines of a value as they stand; a `$` or quote in them means itself."""
        value = self.sections.get(section, {}).get(option) or ""
        return tuple(line.strip() for line in value.split("\n") if line.strip())

    def boolean(self, section: str, option: str, *, default: bool) -> bool:
        value = self.optional_text(section, option)
        if value is None or value == "":
            return default
        if value.lower() not in _BOOLEANS:
            self._note(section, option, "true or false", is_mistyped=True)
        return _BOOLEANS.get(value.lower(), default)

    def integer(self, section: str, option: str, default: int, low: int, high: int) -> int:
        value = self.optional_text(section, option)
        if value is None or value == "":
            return default
        number = _integer(value)
        if number is None or not low <= number <= high:
            self._note(section, option, f"an integer from {low} to {high}", is_mistyped=number is None)
            return default
        return number

    def port(self, section: str, option: str, default: int) -> int:
        value = self.optional_text(section, option)
        number = default if value is None or value == "" else _integer(value)
        if number is None or not 0 <= number <= _PORT_MAX:
            raise _wrong(section, option, f"an integer from 0 to {_PORT_MAX}")
        return number

    def socket_path(self, section: str, option: str, default: str | None) -> str | None:
        """Return where a UNIX socket is; None when the value is empty."""
        value = self.optional_text(section, option)
        if value is None:
            return default
        if value and not (value.startswith("/") and len(value.encode()) <= _SOCKET_PATH_MAX and "\0" not in value):
            raise _wrong(section, option, f"empty, or an absolute path of at most {_SOCKET_PATH_MAX} bytes")
        return value or None

    def choice(self, section: str, option: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(section, option, default)
        if value not in choices:
            raise _wrong(section, option, " or ".join(choices))
        return value

    def address(self, section: str, option: str, default: str) -> str:
        value = self.text(section, option, default)
        try:
            return str(ip_address(value))
        except ValueError:
            raise _wrong(section, option, "an IP address") from None

    def _substitute(self, raw: str, section: str, option: str, allowance: Iterator[int]) -> str:
        """Return the value with what it refers to in place; each reference takes one of the allowance."""

        def replace(match: re.Match[str]) -> str:
            if match[0] in ("$$", "\\$"):
                return "$"
            name = match[1] or match[2]
            place, _, last = name.rpartition(".")
            for candidate in (place,) if place else (section, "DEFAULT"):
                found = self.sections.get(candidate, {}).get(last)
                if found is not None:
                    if next(allowance, None) is None or len(found) > _SUBSTITUTED_MAX:
                        raise _wrong(section, option, "free of circular, long or very many references")
                    return self._substitute(found, candidate, last, allowance)
            raise _wrong(section, option, "free of references to undefined options")

        return _SUBSTITUTION.sub(replace, raw)

    def _note(self, section: str, option: str, wanted: str, *, is_mistyped: bool) -> None:
        self.oddities.append(Oddity(f"[{section}] {option} must be {wanted}", is_mistyped))


def _integer(text: str) -> int | None:
    """Return a whole number, None for anything else; one of very many digits is out of every range."""
    return int(text[:_DIGITS]) if _INTEGER.fullmatch(text) else None


def _wrong(section: str, option: str, wanted: str) -> MalformedData:
    return MalformedData("cannot read the configuration", f"[{section}] {option} must be {wanted}")
