"""Give servers of a controller's load balancer no new clients, at run time, until they are made ready again.

Decision: the controller's configuration is not ours to change, so this is HAProxy's own administrative state. A worker
that starts does not know it and is told again when it serves; between the two lie some milliseconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.config import Config
from amphora_agent.core.haproxy.runtime import command
from amphora_agent.core.haproxy.server_line import parse_server
from amphora_agent.core.haproxy.words import split_words
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.records import drained as drained_record
from amphora_agent.core.records.drained import DrainedServer
from amphora_agent.errors import AgentError, HostFailure, NotFound
from amphora_agent.host import files
from amphora_agent.host.haproxy.socket import query
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy.instance import stored_config

LOG = logging.getLogger(__name__)

COMMAND_TIMEOUT = 3.0


def drained(amphora: Amphora, lb_id: LoadBalancerId) -> tuple[DrainedServer, ...]:
    """Return the servers that are drained."""
    return _read(amphora.paths.loadbalancer(lb_id))


def drain(change: Change, lb_id: LoadBalancerId, pool: str, member: str, by: str) -> None:
    """Give a member no new clients behind any listener; a second time changes nothing.

    Raises:
        NotFound: there is no such load balancer, pool or member.
        HostFailure: HAProxy does not run, or refuses.
    """
    own = change.paths.loadbalancer(lb_id)
    _tell(own, _backends(_config(change, lb_id), pool, member), member, "drain")
    others = tuple(each for each in _read(own) if (each.pool, each.member) != (pool, member))
    files.write_atomic(own.drained, drained_record.encode((*others, DrainedServer(pool, member, by, time.time()))))
    LOG.info("drained a member lb=%s pool=%s member=%s", lb_id, pool, member)


def make_ready(change: Change, lb_id: LoadBalancerId, pool: str, member: str) -> None:
    """Give a member new clients again.

    Raises:
        NotFound: there is no such load balancer, pool or member.
        HostFailure: HAProxy does not run, or refuses.
    """
    own = change.paths.loadbalancer(lb_id)
    _tell(own, _backends(_config(change, lb_id), pool, member), member, "ready")
    _write(own, tuple(each for each in _read(own) if (each.pool, each.member) != (pool, member)))
    LOG.info("made a member ready lb=%s pool=%s member=%s", lb_id, pool, member)


def reassert(own: LoadBalancerPaths, config: Config) -> None:
    """Tell what now runs who is drained, and forget servers it does not have; failures are logged."""
    if not files.exists(own.drained):
        return
    kept = []
    for server in _read(own):
        try:
            _tell(own, _backends(config, server.pool, server.member), server.member, "drain")
            kept.append(server)
        except NotFound:
            LOG.info("forgot a drained member that is gone lb=%s member=%s", own.lb_id, server.member)
        except AgentError as error:
            kept.append(server)
            LOG.error("cannot drain a member again lb=%s member=%s: %s", own.lb_id, server.member, error.detail)
    _write(own, tuple(kept))


def _config(amphora: Amphora, lb_id: LoadBalancerId) -> Config:
    return haproxy_config.parse(stored_config(amphora, lb_id).decode("utf-8", "replace"))


def _backends(config: Config, pool: str, member: str) -> tuple[str, ...]:
    """Return the backends of a pool, one behind each listener, that have a member.

    Raises:
        NotFound: none has.
    """
    found = tuple(_backends_with(config, pool, member))
    if not found:
        raise NotFound("There is no such member", f"no member {member!r} in pool {pool!r}")
    return found


def _backends_with(config: Config, pool: str, member: str) -> Iterator[str]:
    for section in config.sections:
        if section.kind == "backend" and section.name.partition(":")[0] == pool:
            servers = (parse_server(split_words(line)) for line in section.lines if member in line)
            if any(server is not None and server.name == member for server in servers):
                yield section.name


def _tell(own: LoadBalancerPaths, backends: tuple[str, ...], member: str, state: str) -> None:
    for backend in backends:
        wanted = command("set", "server", f"{backend}/{member}", "state", state)
        answer = query(own.admin_socket, wanted.text, COMMAND_TIMEOUT).decode("utf-8", "replace")
        if not wanted.accepts(answer):
            raise HostFailure("cannot change HAProxy at run time", f"{wanted.text}: {answer.strip()[:300]}")


def _read(own: LoadBalancerPaths) -> tuple[DrainedServer, ...]:
    return drained_record.decode(files.read_optional(own.drained)) or ()


def _write(own: LoadBalancerPaths, servers: tuple[DrainedServer, ...]) -> None:
    if servers:
        files.write_atomic(own.drained, drained_record.encode(servers))
    else:
        files.remove(own.drained)
