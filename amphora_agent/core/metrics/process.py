"""How `prometheus-proxy` is started. Builds a value; starts nothing."""

from __future__ import annotations

from pathlib import Path

from amphora_agent.core.paths import Paths
from amphora_agent.core.units import Unit

UNIT = "prometheus-proxy.service"
PROGRAM = Path("metrics/prometheus_proxy.py")


def proxy_unit(paths: Paths, python: str, package: Path) -> Unit:
    """Return the proxy's unit.

    Args:
        paths: its log and namespace.
        python: the interpreter, for the direct supervisor, which needs nothing that is installed.
        package: directory of the agent's package.
    """
    argv = (python, "-I", "-S", str(package / PROGRAM), f"--records={paths.metrics}")
    return Unit(name=UNIT, argv=argv, netns=paths.netns, log=paths.metrics_proxy_log)
