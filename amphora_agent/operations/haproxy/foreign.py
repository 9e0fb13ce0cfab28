"""HAProxy of this load balancer that another agent started: replaced at our first change, ended with the load balancer.

Decision: our HAProxy is started beside it - both may listen on the same ports - and only when ours serves is the other
one ended, so no connection attempt fails, and one that cannot be replaced (our start fails) serves on. It costs the
connections that the other one still has: its unit would start it again if it were left to end by itself.
"""

from __future__ import annotations

import logging

from amphora_agent.host.haproxy import processes
from amphora_agent.operations.amphora import Change
from amphora_agent.operations.haproxy.instance import Instance

LOG = logging.getLogger(__name__)


def masters(change: Change, instance: Instance) -> tuple[int, ...]:
    """Return each HAProxy with this load balancer's configuration, in its namespace, that is not our supervisor's."""
    ours = change.supervisor.main_pid(instance.unit)
    found = processes.find(instance.paths.config, change.paths.netns)
    return tuple(pid for pid in found if pid != ours)


def end(change: Change, instance: Instance) -> None:
    """End them.

    Raises:
        HostFailure: one still runs.
    """
    for pid in masters(change, instance):
        change.supervisor.end_foreign(pid)
        LOG.warning("ended a haproxy that another agent had started lb=%s pid=%d", instance.lb_id, pid)
