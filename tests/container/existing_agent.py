"""Octavia's own agent from PyPI on a container machine, as its image has it; ours waits beside it as a wheel.

    with existing_agent("19.0.0") as machine:        # booted; `amphora-agent.service` is the existing agent
        run_page(machine, "Upgrade one amphora")     # what docs/upgrade.md says to do

Prepared is what the image prepares: links in /usr/local/bin, the agent's unit, the group file of HAProxy and the script
of the masquerading rules. All other units the agent writes by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from testbed import octavia_venv
from testbed.existing_image import MASQUERADE
from tests.container import debian
from tests.container.machine import CONFIG, REPOSITORY, Machine

VENV = "/opt/octavia"
# What a newer Python than this machine's wants beside it.
EXTRA = ("legacy-cgi",)
COMMANDS = (
    "amphora-agent",
    "amphora-health-checker",
    "amphora-interface",
    "haproxy-vrrp-check",
    "prometheus-proxy",
)
UNIT = """[Unit]
Description=Octavia's own amphora agent
After=network.target
[Service]
ExecStart=/usr/local/bin/amphora-agent --config-file /etc/octavia/amphora-agent.conf
ExecStartPost=/bin/sh -c 'echo $MAINPID > /var/run/amphora-agent.pid'
KillMode=mixed
Restart=always
[Install]
WantedBy=multi-user.target
"""
PROXY = """[Unit]
After=network.target
Wants=amphora-agent.service
[Service]
ExecStart=/usr/local/bin/prometheus-proxy
ExecStartPost=/bin/sh -c 'echo $MAINPID > /var/run/prometheus-proxy.pid'
Restart=always
[Install]
WantedBy=multi-user.target
"""
# Stands where rsyslog of the image listens: the agent cannot do without.
SYSLOG = """[Unit]
Before=amphora-agent.service
[Service]
Type=exec
RuntimeDirectory=rsyslog/octavia
ExecStart=/usr/bin/socat -u UNIX-RECV:/run/rsyslog/octavia/log,mode=666 STDOUT
StandardOutput=append:/var/log/syslog
[Install]
WantedBy=multi-user.target
"""
SYSCTLS = "net.ipv4.ip_nonlocal_bind = 1\nnet.ipv6.ip_nonlocal_bind = 1\n"
# A container may not raise the limit of open files as far as a machine of its own.
GROUP = "global\n    group nogroup\n    no strict-limits\n"


@contextlib.contextmanager
def existing_agent(release: str, config: str = CONFIG) -> Iterator[Machine]:
    """Yield a booted machine that a release of Octavia's agent runs."""
    with Machine(config=config, below=(octavia_layer(release),)) as machine:
        _prepare(machine)
        machine.boot()
        machine.wait_for_agent(60)
        yield machine


def _prepare(machine: Machine) -> None:
    """Have the machine start the other agent, and leave of ours the wheel and the dependencies alone."""
    upper = machine.directory / "upper"
    shutil.rmtree(upper / debian.VENV.lstrip("/"))
    shutil.rmtree(upper / "usr/local/bin")
    for unit in (upper / "usr/lib/systemd/system").glob("*.service"):
        unit.unlink()
    shutil.copytree(REPOSITORY / "systemd", upper / "root/systemd")
    (upper / "opt/wheels").rename(upper / "root/wheels")
    (upper / "usr/local/bin").mkdir()
    for command in COMMANDS:
        (upper / "usr/local/bin" / command).symlink_to(f"{VENV}/bin/{command}")
    wanted = upper / "etc/systemd/system/multi-user.target.wants"
    for name, text in (("amphora-agent", UNIT), ("prometheus-proxy", PROXY), ("syslog-socket", SYSLOG)):
        path = f"/usr/lib/systemd/system/{name}.service"
        machine.write(path, text)
        (wanted / f"{name}.service").unlink(missing_ok=True)
        (wanted / f"{name}.service").symlink_to(path)
    machine.write("/usr/local/bin/lvs-masquerade.sh", MASQUERADE, 0o755)
    machine.write("/etc/sysctl.d/80-amphora.conf", SYSCTLS)
    machine.write("/var/lib/octavia/haproxy-default-user-group.conf", GROUP)


def octavia_layer(release: str) -> Path:
    """Return a layer over `debian13_tree()` with a release in /opt/octavia; made on first use, in about a minute.

    Raises:
        CannotBuild: with the end of pip's output.
    """
    base = debian.debian13_tree()
    packages = (f"octavia=={release}", *octavia_venv.RELEASES[release])
    constraints = octavia_venv.constraints()
    stamp = "\n".join((debian.PYTHON, *packages, *EXTRA, constraints.read_text(), *debian.PACKAGES))
    with debian.exclusive(f"octavia-layer-{release}"):
        name = f"octavia-layer-{release}-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
        layer = debian.DIRECTORY / name
        if debian.is_complete(layer, stamp):
            return layer
        debian.remove_old(f"octavia-layer-{release}-*")
        work = debian.prepare(debian.DIRECTORY / f"{name}.work")
        wheels = work / "upper/opt/octavia-wheels"
        wheels.mkdir(parents=True)
        _collect_wheels(wheels, [*packages, *EXTRA], constraints)
        debian.chroot([base], work, ["python3", "-m", "venv", VENV])
        offline = ["--quiet", "--no-index", "--find-links=/opt/octavia-wheels", "--no-compile"]
        debian.chroot([base], work, [f"{VENV}/bin/pip", "install", *offline, *packages, *EXTRA])
        debian.remove(wheels)
        debian.complete(work / "upper", layer, stamp)
        debian.remove(work)
        return layer


def _collect_wheels(wheels: Path, packages: list[str], constraints: Path) -> None:
    """Build or download all wheels here, then fetch the compiled ones anew for the tree's Python."""
    pip = [sys.executable, "-m", "pip"]
    quiet = ["--quiet", "--disable-pip-version-check"]
    debian.check([*pip, "wheel", *quiet, f"--wheel-dir={wheels}", f"--constraint={constraints}", *packages])
    own = f"-cp{sys.version_info.major}{sys.version_info.minor}-cp"
    compiled = [wheel for wheel in wheels.glob("*.whl") if own in wheel.name]
    versions = ["==".join(wheel.name.split("-")[:2]) for wheel in compiled]
    for wheel in compiled:
        wheel.unlink()
    download = [f"--python-version={debian.PYTHON}", "--only-binary=:all:", "--no-deps", f"--dest={wheels}"]
    debian.check([*pip, "download", *quiet, *download, *versions])
