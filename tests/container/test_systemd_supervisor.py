"""`SystemdSupervisor` against a real systemd: each call idempotent, each failure with systemd's own words."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.container.debian import VENV
from tests.container.haproxy_instance import Instance
from tests.container.machine import Machine

_SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from amphora_agent.core.units import Unit
from amphora_agent.errors import HostFailure
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.supervisor import systemd
unit = Unit(name={unit!r}, argv=(), netns=Path("/run/netns/amphora-haproxy"), log=Path("/dev/null"),
            reload_signal=signal.SIGUSR2)
class Supervisor(systemd.SystemdSupervisor):
    def crash(self, unit):
        pid = self.main_pid(unit)
        os.kill(pid, signal.SIGKILL)
        for _ in Deadline.after(30).attempts(0.05):
            if self.main_pid(unit) not in (None, pid):
                return
supervisor = Supervisor()
replies = []
for name in {calls!r}:
    try:
        replies.append(getattr(supervisor, name)(unit))
    except HostFailure as error:
        replies.append(f"{{error}}: {{error.detail}}")
json.dump(replies, sys.stdout)
"""


def call(instance: Instance, *names: str) -> list[object]:
    """Call methods of the port one after the other; a HostFailure is returned as its text.

    One more, `crash`, kills the main process and waits for the next one.
    """
    replies = json.loads(instance.machine.python(_SCRIPT.format(unit=instance.unit, calls=names)))
    assert isinstance(replies, list)
    return replies


@pytest.fixture
def haproxy(bare: Machine) -> Iterator[Instance]:
    instance = Instance(bare, port=8000)
    instance.write()
    yield instance
    bare.exec(["systemctl", "stop", instance.unit])


def test_start_reload_stop_twice_each(haproxy: Instance) -> None:
    assert call(haproxy, "start", "start", "reload", "reload", "stop", "stop") == [None] * 6
    assert haproxy.pid() == 0


def test_main_pid_is_that_of_haproxy_while_there_is_one(haproxy: Instance) -> None:
    before, started, running = call(haproxy, "main_pid", "start", "main_pid")
    assert (before, started) == (None, None)
    assert running == haproxy.pid() != 0
    assert haproxy.answer() == "one"


def test_main_pid_is_never_that_of_a_process_before(haproxy: Instance) -> None:
    _, first, _, second, _, stopped = call(haproxy, "start", "main_pid", "crash", "main_pid", "stop", "main_pid")
    assert first
    assert second
    assert first != second
    assert stopped is None


def test_reload_of_what_does_not_run_says_so(haproxy: Instance) -> None:
    (reply,) = call(haproxy, "reload")
    assert isinstance(reply, str)
    assert reply.startswith(f"cannot reload {haproxy.unit}: ")
    assert "is not active, cannot reload" in reply


def test_a_start_that_fails_says_why_and_a_later_one_works_at_once(haproxy: Instance) -> None:
    haproxy.machine.write(f"/var/lib/octavia/{haproxy.name}/haproxy.cfg", "nonsense\n", 0o600)
    failure, words = call(haproxy, "start", "log_tail")
    assert isinstance(failure, str)
    assert failure.startswith(f"cannot start {haproxy.unit}: ")
    assert isinstance(words, str)
    assert "unknown keyword 'nonsense'" in words
    haproxy.write()
    assert call(haproxy, "start") == [None]
    assert haproxy.answer() == "one"


def test_enable_survives_a_reboot_and_disable_forgets(haproxy: Instance) -> None:
    machine = haproxy.machine
    assert call(haproxy, "enable", "enable", "start") == [None] * 3
    machine.reboot()
    assert haproxy.answer() == "one"
    assert machine.exec(["systemctl", "is-system-running"]) == "running\n"
    assert call(haproxy, "stop", "disable", "disable") == [None] * 3
    machine.reboot()
    assert haproxy.pid() == 0


def test_a_stopped_master_is_ended_in_time(haproxy: Instance) -> None:
    call(haproxy, "start")
    haproxy.machine.exec(["kill", "-STOP", str(haproxy.pid())])
    assert call(haproxy, "stop") == [None]
    assert haproxy.pid() == 0


def test_unknown_units_are_no_trouble(bare: Machine) -> None:
    assert call(Instance(bare, port=8020), "stop", "disable", "main_pid", "log_tail") == [None, None, None, ""]


def test_make_namespace_is_seen_by_all_even_from_a_sandbox(bare: Machine) -> None:
    bare.try_exec(["ip", "netns", "delete", "lost"])
    bare.write("/run/netns/lost", "")
    script = (
        "import pathlib, amphora_agent.host.supervisor.systemd as s; s.make_namespace(pathlib.Path('/run/netns/lost'))"
    )
    sandboxed = ["systemd-run", "--quiet", "--wait", "--pipe", "--property=PrivateTmp=yes"]
    bare.exec([*sandboxed, f"{VENV}/bin/python", "-c", script])
    assert "lost" in bare.exec(["ip", "netns", "exec", "lost", "ip", "netns", "identify"])


_FOREIGN = """[Unit]
Description=HAProxy as another agent has it
[Service]
ExecStart=/bin/sleep 1000
Restart=always
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.hardening("B3")
def test_a_process_of_another_agent_ends_with_its_unit(bare: Machine) -> None:
    bare.write("/etc/systemd/system/haproxy-foreign.service", _FOREIGN)
    bare.exec(["systemctl", "daemon-reload"])
    bare.exec(["systemctl", "enable", "--now", "--quiet", "haproxy-foreign.service"])
    pid = bare.main_pid("haproxy-foreign.service")
    script = f"from amphora_agent.host.supervisor.systemd import *; SystemdSupervisor().end_foreign({pid})"
    bare.python(script)
    assert bare.main_pid("haproxy-foreign.service") == 0
    assert "haproxy-foreign" not in bare.exec(["ls", "/etc/systemd/system/multi-user.target.wants"])
    assert bare.unit_property("haproxy-foreign.service", "ActiveState") == "inactive"
