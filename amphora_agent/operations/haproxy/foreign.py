"""HAProxy of this load balancer that another agent started: replaced at our first change, ended with the load balancer.

Decision: our HAProxy is started beside it - both may listen on the same ports - and only when ours serves is the other
one asked to end. It serves the connections it has to their end, `hard_stop_after` seconds at most, and those that wait
at its ports go to ours (the namespace's `tcp_migrate_req`), so nobody's request fails; and one that cannot be replaced,
since our start fails, serves on. It costs a daemon-reload: its unit would start it again otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from amphora_agent.core.haproxy.endpoints import Endpoint
from amphora_agent.host import ports
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.haproxy import processes
from amphora_agent.operations.amphora import Change
from amphora_agent.operations.haproxy.instance import Instance

LOG = logging.getLogger(__name__)

CLOSING_SECONDS = 5.0
POLL_INTERVAL = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What ours replaces: their masters, where ours will listen, and what listened there before."""

    pids: tuple[int, ...]
    served: Collection[Endpoint]
    sockets: frozenset[str]


def masters(change: Change, instance: Instance) -> tuple[int, ...]:
    """Return each HAProxy with this load balancer's configuration, in its namespace, that is not our supervisor's."""
    ours = change.supervisor.main_pid(instance.unit)
    found = processes.find(instance.paths.config, change.paths.netns)
    return tuple(pid for pid in found if pid != ours)


def find(change: Change, instance: Instance, served: Collection[Endpoint]) -> Others:
    """Return those that run and the sockets that listen where ours is going to; called before ours is started.

    Raises:
        HostFailure: the namespace cannot be looked into.
    """
    pids = masters(change, instance)
    sockets = ports.listening(change.paths.netns, served) if pids else frozenset()
    return Others(pids=pids, served=served, sockets=sockets)


def retire(change: Change, instance: Instance, others: Others) -> None:
    """Have them take no new connection and end with their last one; return when no port is theirs any more.

    Raises:
        HostFailure: one cannot be told.
    """
    for pid in masters(change, instance) if others.pids else ():
        change.supervisor.retire_foreign(pid, change.started.hard_stop_after)
        LOG.warning("replaced a haproxy that another agent had started lb=%s pid=%d", instance.lb_id, pid)
    for _ in Deadline.after(CLOSING_SECONDS).attempts(POLL_INTERVAL):
        if not others.sockets or not others.sockets & ports.listening(change.paths.netns, others.served):
            return
    LOG.warning("a haproxy that was replaced still takes connections lb=%s", instance.lb_id)


def end(change: Change, instance: Instance) -> None:
    """End them.

    Raises:
        HostFailure: one still runs.
    """
    for pid in masters(change, instance):
        change.supervisor.end_foreign(pid)
        LOG.warning("ended a haproxy that another agent had started lb=%s pid=%d", instance.lb_id, pid)
