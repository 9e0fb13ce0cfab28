"""What `show servers state` says, and which of it may outlive a reload. Parses and rewrites text only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.core.addresses import Address
from amphora_agent.core.haproxy.config import Config
from amphora_agent.core.haproxy.server_line import Server, parse_server
from amphora_agent.core.haproxy.words import split_words
from amphora_agent.core.numbers import parse_number

# Source: HAProxy management guide, "show servers state"; columns of format version 1, bits of include/types/server.h.
VERSION_LINE = "1"
_COLUMNS = (
    "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)
_COUNT = len(_COLUMNS.split())
_BACKEND, _NAME, _ADDRESS, _ADMIN, _USED_WEIGHT, _CONFIGURED_WEIGHT = 1, 3, 4, 6, 7, 8
_CHECK_STATE, _PORT, _USES_TLS, _CHECK_PORT, _CHECK_ADDRESS, _AGENT_ADDRESS, _AGENT_PORT = 13, 18, 20, 21, 22, 23, 24
_FORCED_MAINT, _INHERITED_MAINT, _FORCED_DRAIN = 0x01, 0x02, 0x08
_CHECK_IS_CONFIGURED = 0x02
_NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """One server as the running HAProxy has it; `check_address` and `check_port` only where they are set apart."""

    backend: str
    name: str
    address: str
    port: int
    weight: int
    is_maint: bool
    is_drain: bool
    has_check: bool
    uses_tls: bool
    check_address: str | None
    check_port: int | None


def parse_servers_state(text: str) -> tuple[ServerState, ...]:
    """Return the servers in order; lines of another shape are skipped."""
    return tuple(_server_state(fields) for fields in _rows(text))


def listed_servers(text: str) -> dict[str, str]:
    """Return name -> line of one backend's servers, for `parse_servers_state`; quick with 10,000 of them.

    Of a line that is cut off behind the name, nothing else is looked at.
    """
    rows = (line for line in text.split("\n") if "0" <= line[:1] <= "9")
    return {words[3]: row for row in rows if len(words := row.split(" ", 4)) > 3 and words[3]}


def _rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == _COUNT and None not in (parse_number(fields[0]), parse_number(fields[_ADMIN])):
            yield fields


def _server_state(fields: list[str]) -> ServerState:
    admin = _number(fields[_ADMIN])
    return ServerState(
        backend=fields[_BACKEND],
        name=fields[_NAME],
        address=fields[_ADDRESS],
        port=_number(fields[_PORT]),
        weight=_number(fields[_USED_WEIGHT]),
        is_maint=bool(admin & (_FORCED_MAINT | _INHERITED_MAINT)),
        is_drain=bool(admin & _FORCED_DRAIN),
        has_check=bool(_number(fields[_CHECK_STATE]) & _CHECK_IS_CONFIGURED),
        uses_tls=fields[_USES_TLS] == "1",
        check_address=None if fields[_CHECK_ADDRESS] == _NONE else fields[_CHECK_ADDRESS],
        check_port=_number(fields[_CHECK_PORT]) or None,
    )


def _number(text: str) -> int:
    return parse_number(text) or 0


def filter_servers_state(state: str, config: Config) -> str:
    """Return what of `show servers state` the worker about to be started with `config` may believe.

    A member's UP or DOWN is carried over only if it is still the same server, checked the same way. All else must
    come from the file, but HAProxy prefers the state to the file: a port or a check's address that changed, a
    weight that was set at run time and is back to its old value, and MAINT set at run time would all stay for ever;
    so would DOWN where the check was removed, with nothing left to bring it UP.

    Args:
        state: the running worker's answer.
        config: what the next worker will read.

    Returns:
        The contents of the state file; ends in a newline, without which HAProxy takes the file for corrupt.

    Source: each rule tried on HAProxy 2.6.12 and 3.0.11; servers are matched by backend and name, not by number.
    """
    kept = [VERSION_LINE, f"# {_COLUMNS}"]
    servers = _servers(config)
    for fields in _rows(state):
        server = servers.get((fields[_BACKEND], fields[_NAME]))
        if server is not None and _is_still(_server_state(fields), server):
            fields[_ADMIN] = "0"
            fields[_USED_WEIGHT] = fields[_CONFIGURED_WEIGHT] = str(server.weight)
            # HAProxy prints the check's address as the agent's too, and warns when it reads that back.
            fields[_AGENT_ADDRESS], fields[_AGENT_PORT] = _NONE, "0"
            kept.append(" ".join(fields))
    return "\n".join(kept) + "\n"


def _servers(config: Config) -> dict[tuple[str, str], Server]:
    found: dict[tuple[str, str], Server] = {}
    for section in config.sections:
        if section.kind == "backend":
            parsed = (parse_server(split_words(line)) for line in section.lines if "server " in line)
            found.update({(section.name, server.name): server for server in parsed if server is not None})
    return found


def _is_still(state: ServerState, server: Server) -> bool:
    return (
        not (state.is_maint or state.is_drain or server.is_disabled)
        and state.has_check
        and server.has_check
        and state.address == str(server.address)
        and state.port == server.port
        and state.uses_tls == server.uses_tls
        and state.check_port == server.check_port
        and state.check_address == text_of(server.check_address)
    )


def text_of(address: Address | None) -> str | None:
    """Return an address as HAProxy prints it, None for none."""
    return None if address is None else str(address)
