"""Keep `prometheus-proxy` running while a configuration has a PROMETHEUS listener. Never fails what was asked for.

Decision: a file says that the proxy is wanted, and in which namespace, so a change of a load balancer without such a
listener asks nothing of the supervisor. It is written before the proxy is started and removed after it is stopped: what
was interrupted is done again at the next change, or at the agent's start.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from amphora_agent.core.haproxy.config import serves_metrics
from amphora_agent.core.metrics.process import proxy_unit
from amphora_agent.errors import HostFailure
from amphora_agent.host import files
from amphora_agent.host.network import netns
from amphora_agent.operations import inventory, metrics_record
from amphora_agent.operations.amphora import Change

LOG = logging.getLogger(__name__)
_PACKAGE = Path(__file__).parents[1]


def follow(change: Change) -> None:
    """Start or stop the proxy, as the stored configurations want it; a failure is logged."""
    paths = change.paths
    wanted = any(
        serves_metrics(files.read_optional(paths.loadbalancer(lb_id).config) or b"")
        for lb_id in inventory.loadbalancer_ids(paths)
    )
    try:
        if wanted:
            _start(change)
            metrics_record.write(change)
        elif files.exists(paths.metrics_proxy):
            _stop(change)
    except HostFailure as error:
        LOG.error("cannot look after prometheus-proxy: %s: %s", error, error.detail)


def _start(change: Change) -> None:
    unit = proxy_unit(change.paths, sys.executable, _PACKAGE)
    paths, place = change.paths, netns.identity(change.paths.netns).encode()
    started_in = files.read_optional(paths.metrics_proxy)
    if started_in is not None and change.supervisor.main_pid(unit) is not None:
        if started_in == place:
            return
        change.supervisor.stop(unit)  # the namespace was lost and made anew, and HAProxy is in the new one
    files.write_atomic(paths.metrics_proxy, place)
    change.supervisor.enable(unit)
    change.supervisor.start(unit)
    LOG.info("started prometheus-proxy")


def _stop(change: Change) -> None:
    unit = proxy_unit(change.paths, sys.executable, _PACKAGE)
    change.supervisor.stop(unit)
    change.supervisor.disable(unit)
    files.remove(change.paths.metrics_proxy)
    LOG.info("stopped prometheus-proxy")
