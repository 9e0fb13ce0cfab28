"""An agent without a free file descriptor goes on once there are some again: nothing that watches has ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.namespaces import unique

# Starts all watchers with no descriptor to spare, waits until each had to do without, and says which still live.
SCRIPT = """
import json, logging, os, resource, sys, threading
from pathlib import Path
import pyroute2
from amphora_agent.core.paths import paths_of
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.supervisor.direct import DirectSupervisor
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.operations.network import interfaces
from amphora_agent.operations import startup
from amphora_agent.operations.amphora import Amphora

settings_file = SettingsFile(Path(sys.argv[1]))
paths = paths_of(settings_file.current())
supervisor = DirectSupervisor(paths.agent / "units")
amphora = Amphora(
    settings_file=settings_file, started=settings_file.current(), paths=paths, supervisor=supervisor
)
startup.prepare(amphora)
(paths.agent / "units").mkdir()
said = []
class Sink(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger().addHandler(Sink())

spare = os.open("/dev/null", os.O_RDONLY)
os.close(spare)
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
startup.restore(amphora, supervisor.look_after)
wanted = {"units", "nics"}
for _ in Deadline.after(10).attempts(0.02):
    if wanted <= {name for name, state in amphora.watchers.states().items() if state.failures}:
        break
failed = sorted(name for name, state in amphora.watchers.states().items() if state.failures)
alive = [thread.name for thread in threading.enumerate()]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print(json.dumps({"failed": failed, "alive": alive}), flush=True)
print(*said, sep="\\n", file=sys.stderr, flush=True)
os._exit(0)
"""


@pytest.mark.hardening("C13")
def test_watchers_survive_the_lack_of_descriptors(tmp_path: Path) -> None:
    config = tmp_path / "amphora-agent.conf"
    config.write_text(
        f"""[haproxy_amphora]
base_path = {tmp_path}/octavia
base_cert_dir = {tmp_path}/octavia/certs
[amphora_agent]
agent_server_network_dir = {tmp_path}/interfaces
agent_server_cert = {tmp_path}/server.pem
agent_server_ca = {tmp_path}/client_ca.pem
netns = {unique("no")}
[controller_worker]
loadbalancer_topology = ACTIVE_STANDBY
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(config)], capture_output=True, text=True, timeout=60, check=True
    )
    report = json.loads(done.stdout)
    assert {"units", "nics"} <= set(report["failed"]), done.stderr
    assert {"mastership", "removed servers", "units", "nics", "advertise"} <= set(report["alive"]), done.stderr
    assert "Too many open files" in done.stderr
