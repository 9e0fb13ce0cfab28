"""A UDP or SCTP listener as keepalived's configuration, ids in the controller's comments. Pure.

Source: keepalived.conf(5), "Virtual server(s)"; `core/keepalived/lvs_config` reads what this writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.core.addresses import Address, parse_address
from amphora_agent.core.document.model import Algorithm, Document, HealthMonitor, Listener, Member, MonitorType, Pool
from amphora_agent.core.document.place import Place, addresses
from amphora_agent.core.document.values import status_codes
from amphora_agent.core.document.words import text_of

_ALGORITHMS = {Algorithm.ROUND_ROBIN: "wrr", Algorithm.LEAST_CONNECTIONS: "lc", Algorithm.SOURCE_IP: "sh"}
_DEFAULT_TIMEOUT = 360
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class LvsListener:
    """One listener that the kernel balances."""

    place: Place
    document: Document
    listener: Listener

    def text(self) -> str:
        """Return the whole file."""
        return "".join(f"{line}\n" for line in self._lines())

    @property
    def pool(self) -> Pool | None:
        """The default pool, disabled or not."""
        return next((pool for pool in self.document.pools if pool.name == self.listener.default_pool), None)

    @property
    def monitor(self) -> HealthMonitor | None:
        """The pool's monitor while it is enabled."""
        monitor = self.pool.healthmonitor if self.pool is not None else None
        return monitor if monitor is not None and monitor.admin_state_up else None

    def _lines(self) -> Iterator[str]:
        listener_id = self.place.identity.listener(self.listener.name)
        yield f"# Configuration for Loadbalancer {self.place.loadbalancer_id}"
        if self.listener.admin_state_up:
            yield f"# Configuration for Listener {listener_id}"
        else:
            yield f"# Listener {listener_id} is disabled"
        yield ""
        yield f"net_namespace {text_of(self.place.paths.netns.name)}"
        pool = self.pool
        if not self.listener.admin_state_up or not self.document.admin_state_up or pool is None:
            return
        for version in (4, 6):
            vips = [address for address in addresses(self.document) if address.version == version]
            if vips:
                yield ""
                yield from self._group_lines(f"ipv{version}-group", vips)
                yield ""
                yield from self._virtual_lines(f"ipv{version}-group", version, pool)

    def _group_lines(self, group: str, vips: list[Address]) -> Iterator[str]:
        yield f"virtual_server_group {group} {{"
        for address in vips:
            yield f"{_INDENT}{address} {self.listener.protocol_port}"
        yield "}"

    def _virtual_lines(self, group: str, version: int, pool: Pool) -> Iterator[str]:
        yield f"virtual_server group {group} {{"
        yield f"{_INDENT}lb_algo {_ALGORITHMS[pool.lb_algorithm]}"
        yield f"{_INDENT}lb_kind NAT"
        yield f"{_INDENT}protocol {self.listener.protocol}"
        if pool.admin_state_up:
            yield from self._timing_lines(version, pool)
        yield ""
        pool_id = self.place.identity.pool(pool.name)
        if pool.admin_state_up:
            yield f"{_INDENT}# Configuration for Pool {pool_id}"
            if self.monitor is not None:
                yield f"{_INDENT}# Configuration for HealthMonitor {self.place.identity.monitor(pool.name)}"
            for member in pool.members:
                address = parse_address(member.address)
                if address is not None and address.version == version:
                    yield from self._member_lines(pool, member, address)
        else:
            yield f"{_INDENT}# Pool {pool_id} is disabled"
        yield "}"

    def _timing_lines(self, version: int, pool: Pool) -> Iterator[str]:
        monitor, persistence = self.monitor, pool.session_persistence
        if monitor is not None:
            yield f"{_INDENT}delay_loop {monitor.delay}"
            yield f"{_INDENT}delay_before_retry {monitor.delay}"
            yield f"{_INDENT}retry {monitor.max_retries_down}"
        if persistence is not None:
            yield f"{_INDENT}persistence_timeout {persistence.persistence_timeout or _DEFAULT_TIMEOUT}"
            yield f"{_INDENT}persistence_granularity {_granularity(version, persistence.persistence_granularity)}"

    def _member_lines(self, pool: Pool, member: Member, address: Address) -> Iterator[str]:
        member_id = self.place.identity.member(pool.name, member.name)
        if not member.admin_state_up:
            yield f"{_INDENT}# Member {member_id} is disabled"
            yield ""
            return
        yield f"{_INDENT}# Configuration for Member {member_id}"
        yield f"{_INDENT}real_server {address} {member.protocol_port} {{"
        yield f"{_INDENT * 2}weight {member.weight}"
        if self.listener.connection_limit > 0:
            yield f"{_INDENT * 2}uthreshold {self.listener.connection_limit}"
        if self.monitor is not None:
            yield from self._check_lines(self.monitor, member, address)
        yield f"{_INDENT}}}"
        yield ""

    def _check_lines(self, monitor: HealthMonitor, member: Member, address: Address) -> Iterator[str]:
        target = parse_address(member.monitor_address or "") or address
        port = member.monitor_port or member.protocol_port
        outer, inner = _INDENT * 2, _INDENT * 3
        if monitor.type in {MonitorType.UDP_CONNECT, MonitorType.SCTP}:
            yield f"{outer}MISC_CHECK {{"
            if monitor.type is MonitorType.SCTP:
                command = f"amphora-health-checker sctp -t {monitor.timeout} {target} {port}"
            else:
                command = f"{text_of(str(self.place.paths.udp_check))} {target} {port}"
            yield f'{inner}misc_path "{command}"'
            yield f"{inner}misc_timeout {monitor.timeout + (monitor.type is MonitorType.SCTP)}"
        else:
            yield f"{outer}{'HTTP_GET' if monitor.type is MonitorType.HTTP else 'TCP_CHECK'} {{"
            if monitor.type is MonitorType.HTTP:
                yield from _url_lines(monitor, inner)
            yield f"{inner}connect_ip {target}"
            yield f"{inner}connect_port {port}"
            yield f"{inner}connect_timeout {monitor.timeout}"
        yield f"{outer}}}"


def _url_lines(monitor: HealthMonitor, indent: str) -> Iterator[str]:
    """Yield what to ask for; the path's characters are none of keepalived's own, see `_quoted`."""
    for code in status_codes(monitor.expected_codes or "200"):
        yield f"{indent}url {{"
        yield f"{indent}  path {_quoted(monitor.url_path or '/')}"
        yield f"{indent}  status_code {code}"
        yield f"{indent}}}"


def _quoted(path: str) -> str:
    """Return a URL's path so that keepalived takes it literally.

    `!` and `#` begin comments and `$` a definition, so they are percent-encoded, which means the same in a URL.
    """
    for character in "!#$'()~":
        path = path.replace(character, f"%{ord(character):02X}")
    return path


def _granularity(version: int, wanted: str | None) -> str:
    """Return the mask of addresses that count as one client, as keepalived wants it for this IP version."""
    if version == 4:
        return wanted if wanted is not None and "." in wanted else "255.255.255.255"
    return wanted if wanted is not None and wanted.isdigit() else "128"
