"""How `prometheus-proxy` is started. Builds a value; starts nothing."""

from __future__ import annotations

from amphora_agent.core.paths import Paths
from amphora_agent.core.units import Unit

UNIT = "prometheus-proxy.service"


def proxy_unit(paths: Paths, python: str) -> Unit:
    """Return the proxy's unit.

    Args:
        paths: its log and namespace.
        python: the interpreter that has the agent, for the direct supervisor.
    """
    argv = (python, "-m", "amphora_agent.cmd.prometheus_proxy", "--here", f"--records={paths.metrics}")
    return Unit(name=UNIT, argv=argv, netns=paths.netns, log=paths.metrics_proxy_log)
