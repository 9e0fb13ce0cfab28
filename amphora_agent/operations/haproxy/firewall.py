"""The configuration firewall at the door: judges an upload before HAProxy sees it, and keeps what it refuses."""

from __future__ import annotations

import logging

from amphora_agent.core.haproxy.firewall import Allowance, Finding, parse_allowance, review
from amphora_agent.core.haproxy.grammar import Address, Belongings
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.network.interface_file import parse_interface
from amphora_agent.core.network.model import Interface, InterfaceType
from amphora_agent.core.settings import Settings
from amphora_agent.errors import AgentError, InvalidRequest
from amphora_agent.host import files
from amphora_agent.operations import metrics_record
from amphora_agent.operations.amphora import Amphora, Change

LOG = logging.getLogger(__name__)

IMAGE_PING_WRAPPER = "/var/lib/octavia/ping-wrapper.sh"
MAX_SHOWN = 5


def admit(change: Change, lb_id: LoadBalancerId, text: str) -> None:
    """Let a configuration pass, with a warning for what is merely unfamiliar.

    What is refused is kept as `haproxy.cfg.new-failed`, as HAProxy's own refusals are.

    Raises:
        InvalidRequest: the detail names the line, the word and the option that allows lines.
    """
    settings = change.settings_file.current()
    found = review(
        change.texts.look_at(text).parsed.lines,
        settings.configuration_firewall,
        belongings(change, lb_id),
        _allowances(settings),
        change.acceptances.members.get(lb_id),
    )
    if found.warned:
        LOG.warning("unfamiliar lines in a configuration lb=%s count=%d: %s", lb_id, *_said(found.warned))
    if not found.refused:
        change.acceptances.members[lb_id] = found.members
        return
    LOG.warning("refused a configuration lb=%s count=%d: %s", lb_id, *_said(found.refused))
    change.changes.refused += 1
    metrics_record.write(change)
    paths = change.paths.loadbalancer(lb_id)
    files.make_directory(paths.directory)
    files.write_volatile(paths.config.with_name("haproxy.cfg.new-failed"), text.encode())
    lines = "\n".join(str(finding) for finding in found.refused[:MAX_SHOWN])
    advice = "[amphora_agent] configuration_allow lets a line pass, configuration_firewall = off all of them"
    raise InvalidRequest("Invalid request", f"the configuration firewall refuses\n{lines}\n({advice})")


def belongings(amphora: Amphora, lb_id: LoadBalancerId) -> Belongings:
    """Return what this load balancer's configuration may name."""
    paths = amphora.paths.loadbalancer(lb_id)
    return Belongings(
        stats_socket=str(paths.stats_socket),
        servers_state=str(paths.servers_state),
        certificates=str(paths.certs),
        ping_wrappers=frozenset({str(amphora.paths.ping_wrapper), IMAGE_PING_WRAPPER}),
        elsewhere=_elsewhere(amphora),
    )


def _elsewhere(amphora: Amphora) -> frozenset[Address]:
    """Return the addresses of interfaces that are for members only."""
    members = (interface for interface in _interfaces(amphora) if interface.type is InterfaceType.BACKEND)
    return frozenset(address.address.ip for interface in members for address in interface.static_addresses)


def _interfaces(amphora: Amphora) -> list[Interface]:
    found = []
    for path in files.matching(amphora.paths.interfaces, "*.json"):
        try:
            found.append(parse_interface(files.read_optional(path) or b""))
        except AgentError as error:
            LOG.warning("passed over an interface file for the firewall file=%s: %s", path, error.detail)
    return found


def _allowances(settings: Settings) -> list[Allowance]:
    found = []
    for line in settings.configuration_allow:
        allowance = parse_allowance(line)
        if allowance is None:
            LOG.warning("passed over a line of configuration_allow that says too little: %s", line)
        else:
            found.append(allowance)
    return found


def _said(findings: tuple[Finding, ...]) -> tuple[int, str]:
    return len(findings), "; ".join(str(finding) for finding in findings[:MAX_SHOWN])
