"""The shipped units, on systemd 257: well-formed, sandboxed within the budget, and HAProxy kept alive by them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.amphora import SAMPLES
from tests.container.debian import VENV
from tests.container.haproxy_instance import Instance
from tests.container.machine import REPOSITORY, Machine

UNITS = sorted(path.name for path in (REPOSITORY / "systemd").glob("*.service"))
EXPOSURE_BUDGET = {
    "amphora-agent.service": 4.0,
    "amphora-config-drive.service": 2.5,
    "amphora-heartbeat.service": 2.5,
    "prometheus-proxy.service": 2.5,
    # HAProxy and keepalived as far as their job allows.
    "amphora-haproxy@.service": 4.9,
    "octavia-keepalived.service": 5.0,
    "octavia-keepalivedlvs@.service": 6.2,
}
# The default limit of systemd is 5 starts in 10 s.
CRASHES = 7


@pytest.fixture
def haproxy(bare: Machine) -> Iterator[Instance]:
    instance = Instance(bare, port=8000)
    instance.write()
    bare.exec(["systemctl", "start", instance.unit])
    yield instance
    bare.exec(["systemctl", "stop", instance.unit])


def test_units_are_well_formed(bare: Machine) -> None:
    names = [name.replace("@.", "@x.") for name in UNITS]
    assert bare.try_exec(["systemd-analyze", "verify", "--man=no", *names]).stdout == ""


@pytest.mark.parametrize(("unit", "budget"), EXPOSURE_BUDGET.items())
def test_exposure_is_within_the_budget(bare: Machine, unit: str, budget: float) -> None:
    report = bare.exec(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", f"/usr/lib/systemd/system/{unit}"]
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
    assert found is not None, report
    assert float(found[1]) <= budget, report


def test_haproxy_runs_in_the_namespace_with_notify(haproxy: Instance) -> None:
    machine = haproxy.machine
    assert haproxy.answer() == "one"
    pid = haproxy.pid()
    assert machine.exec(["cat", f"/proc/{pid}/comm"]) == "haproxy\n"
    assert machine.exec(["cat", f"/var/lib/octavia/{haproxy.name}/{haproxy.name}.pid"]).split()[0] == str(pid)
    namespaces = machine.exec(["stat", "-L", "-c", "%i", f"/proc/{pid}/ns/net", "/run/netns/amphora-haproxy"]).split()
    assert namespaces[0] == namespaces[1]
    assert machine.unit_property(haproxy.unit, "StatusText") == "Ready."


@pytest.mark.hardening("B2")
def test_the_agent_may_end_a_worker_that_hangs(haproxy: Instance) -> None:
    """A worker is another user's, and the agent has the capabilities of its unit alone."""
    machine = haproxy.machine
    [worker] = machine.exec(["pgrep", "--parent", str(haproxy.pid()), "--exact", "haproxy"]).split()
    machine.exec(["kill", "-STOP", worker])
    allowed = machine.unit_property("amphora-agent.service", "CapabilityBoundingSet")
    script = (
        "from amphora_agent.core.process_id import ProcessId; from amphora_agent.host import foreign, procfs; "
        f"foreign.kill(ProcessId({worker}, procfs.process_start_time({worker})))"
    )
    names = ",".join(f"+{name.removeprefix('cap_')}" for name in allowed.split())
    done = machine.try_exec(["setpriv", f"--bounding-set=-all,{names}", f"{VENV}/bin/python", "-c", script])
    assert done.returncode == 0, done.stdout


def test_file_limit_is_raised_as_far_as_root_may(haproxy: Instance) -> None:
    limits = haproxy.machine.exec(["cat", f"/proc/{haproxy.pid()}/limits"])
    found = re.search(r"Max open files\s+(\d+)\s+(\d+)", limits)
    assert found is not None, limits
    hard = int(Path("/proc/self/limits").read_text().split("Max open files")[1].split()[1])
    assert int(found[2]) >= min(hard, 2600000)


def test_reload_keeps_the_master_and_serves_the_new_configuration(haproxy: Instance) -> None:
    before = haproxy.pid()
    dataclasses.replace(haproxy, text="two").write()
    haproxy.machine.exec(["systemctl", "reload", haproxy.unit])
    haproxy.machine.wait_for(lambda: haproxy.answer() == "two", 10, "the new configuration")
    assert haproxy.pid() == before
    assert haproxy.machine.unit_property(haproxy.unit, "ActiveState") == "active"


def test_a_broken_configuration_at_reload_keeps_the_old_worker(haproxy: Instance) -> None:
    machine = haproxy.machine
    machine.write(f"/var/lib/octavia/{haproxy.name}/haproxy.cfg", "nonsense\n", 0o600)
    machine.exec(["systemctl", "reload", haproxy.unit])
    machine.wait_for(lambda: "nonsense" in machine.journal("--unit", haproxy.unit), 10, "HAProxy's complaint")
    assert haproxy.answer() == "one"


def test_a_killed_master_comes_back(haproxy: Instance) -> None:
    machine, before = haproxy.machine, haproxy.pid()
    machine.exec(["kill", "-KILL", str(before)])
    machine.wait_for(lambda: haproxy.pid() not in (0, before) and haproxy.answer() == "one", 10, "a new master")


def test_a_crash_loop_never_ends_in_failed(haproxy: Instance) -> None:
    machine = haproxy.machine
    machine.write(f"/var/lib/octavia/{haproxy.name}/haproxy.cfg", "nonsense\n", 0o600)
    machine.exec(["kill", "-KILL", str(haproxy.pid())])

    def has_crashed_enough() -> bool:
        assert machine.unit_property(haproxy.unit, "ActiveState") != "failed"
        return int(machine.unit_property(haproxy.unit, "NRestarts")) >= CRASHES

    machine.wait_for(has_crashed_enough, 60, f"{CRASHES} crashes")
    haproxy.write()
    machine.wait_for(lambda: haproxy.answer() == "one", 10, "the repaired load balancer")


def test_pid_files_that_a_power_cut_left_keep_no_udp_listener_down(bare: Machine) -> None:
    """They name a process that runs. This keepalived would not mind; older ones need them gone."""
    listener = "7f699c35-164b-5869-a43d-47618ff89fe2"
    unit, base = f"octavia-keepalivedlvs@{listener}.service", f"/var/lib/octavia/lvs/octavia-keepalivedlvs-{listener}"
    bare.write(f"{base}.conf", (SAMPLES / "lvs/10-udp-no-pool.conf").read_text())
    for suffix in (".pid", ".vrrp.pid", ".check.pid"):
        bare.write(f"{base}{suffix}", "1\n")
    bare.exec(["systemctl", "start", unit])
    bare.wait_for(
        lambda: bare.try_exec(["cat", f"{base}.pid"]).stdout.strip() == str(bare.main_pid(unit)), 10, "its pid file"
    )
    assert bare.unit_property(unit, "NRestarts") == "0"
    assert "status=0" in bare.unit_property(unit, "ExecStartPre"), "the sandbox lets them be removed"
    bare.exec(["systemctl", "stop", unit])


def test_restarting_the_namespace_unit_leaves_haproxy_alone(haproxy: Instance) -> None:
    before = haproxy.pid()
    haproxy.machine.exec(["systemctl", "restart", "amphora-netns.service"])
    assert haproxy.pid() == before
    assert haproxy.answer() == "one"


def test_a_large_maxconn_does_not_keep_haproxy_down(bare: Machine) -> None:
    instance = Instance(bare, port=8010, maxconn=50000)
    instance.write()
    config = bare.disk / f"var/lib/octavia/{instance.name}/haproxy.cfg"
    config.write_text(config.read_text().replace("global\n", "global\n    no strict-limits\n"))
    bare.exec(["systemctl", "start", instance.unit])
    assert instance.answer() == "one"
    bare.exec(["systemctl", "stop", instance.unit])


def test_the_namespace_made_by_its_unit_is_seen_by_all(bare: Machine) -> None:
    bare.try_exec(["systemctl", "stop", "amphora-netns.service"])
    bare.try_exec(["ip", "netns", "delete", "amphora-haproxy"])
    bare.exec(["systemctl", "start", "amphora-netns.service"])
    assert "amphora-haproxy" in bare.exec(["ip", "netns"])
    assert bare.exec(["ip", "netns", "exec", "amphora-haproxy", "cat", "/proc/sys/net/ipv4/ip_nonlocal_bind"]) == "1\n"
    assert "inet 127.0.0.1/8" in bare.exec(["ip", "-n", "amphora-haproxy", "address", "show", "lo"])
