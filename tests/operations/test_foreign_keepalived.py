"""A keepalived that something else started is replaced, or ended, and never left with the VIP."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.core.ids import ListenerId
from amphora_agent.host.procfs import process_start_time, read_pid
from amphora_agent.operations.actions import Action
from amphora_agent.operations.keepalived import lvs_listeners, vrrp
from testbed.operations import Workbench
from testbed.waiting import wait_for

pytestmark = pytest.mark.skipif(shutil.which("keepalived", path="/usr/sbin") is None, reason="needs keepalived")

LISTENER = ListenerId("7f699c35-164b-5869-a43d-47618ff89fe2")
VIP = "10.10.0.200"
# As two ways of starting it write the command line: with the pid file, and with the configuration alone. The checkers'
# pid file is the test's own, too: keepalived does not start while that of another test says that one runs.
BY_AN_OLDER_AGENT = (
    "ip netns exec {netns} keepalived -D -d -f {config} -p {pid} -r {other_pid}.vrrp -c {other_pid}.checkers"
)
BY_AN_OPERATOR = (
    "ip netns exec {netns} keepalived --use-file={config} --pid={other_pid} --vrrp_pid={other_pid}.vrrp"
    " --checkers_pid={other_pid}.checkers"
)


@pytest.fixture
def standby(bench: Workbench) -> Iterator[Workbench]:
    """An amphora with a VRRP configuration that makes it the master."""
    bench.netns.ip("link add vip0 type veth peer name vip1")
    for name in ("vip0", "vip1"):
        bench.netns.ip(f"link set {name} up")
    bench.netns.ip("address add 10.10.0.11/24 dev vip0")
    config = (
        "vrrp_instance one {\n    interface vip0\n    state MASTER\n    virtual_router_id 1\n    priority 100\n"
        f"    advert_int 1\n    virtual_ipaddress {{\n        {VIP}\n    }}\n}}\n"
    )
    with bench.changing() as change:
        vrrp.upload(change, config.encode())
    yield bench
    with bench.changing() as change:
        vrrp.perform(change, Action.STOP)


def start_by_hand(bench: Workbench, form: str, config: Path, pid_file: Path) -> int:
    """Start a keepalived that goes into the background; return its process id."""
    other_pid = bench.directory / "other.pid"
    command = form.format(netns=bench.netns.name, config=config, pid=pid_file, other_pid=other_pid)
    assert subprocess.run(command.split(), check=False, timeout=20, stdin=subprocess.DEVNULL).returncode == 0
    written = pid_file if "{pid}" in form else other_pid
    wait_for(lambda: read_pid(written) is not None, "keepalived writes its pid file", seconds=60)
    pid = read_pid(written)
    assert pid is not None
    return pid


def has_vip(bench: Workbench) -> bool:
    return VIP in bench.netns.run(["ip", "address", "show", "dev", "vip0"])


def act(bench: Workbench, action: Action) -> Action:
    with bench.changing() as change:
        return vrrp.perform(change, action)


@pytest.mark.hardening("B3")
@pytest.mark.parametrize("form", [BY_AN_OLDER_AGENT, BY_AN_OPERATOR])
@pytest.mark.parametrize("action", [Action.START, Action.RELOAD])
def test_a_start_or_reload_replaces_it(standby: Workbench, form: str, action: Action) -> None:
    files = standby.paths.vrrp
    foreign = start_by_hand(standby, form, files.config, files.pid)
    wait_for(lambda: has_vip(standby), "the other keepalived takes the VIP", seconds=60)
    assert act(standby, action) is Action.START
    assert process_start_time(foreign) is None
    assert vrrp.is_alive(standby.amphora)
    wait_for(lambda: has_vip(standby), "ours takes it", seconds=60)
    assert act(standby, action) is Action.RELOAD, "from now on it is ours"


@pytest.mark.hardening("B3")
@pytest.mark.parametrize("form", [BY_AN_OLDER_AGENT, BY_AN_OPERATOR])
def test_a_stop_ends_it(standby: Workbench, form: str) -> None:
    files = standby.paths.vrrp
    foreign = start_by_hand(standby, form, files.config, files.pid)
    wait_for(lambda: has_vip(standby), "the other keepalived takes the VIP", seconds=60)
    assert act(standby, Action.STOP) is Action.STOP
    assert process_start_time(foreign) is None
    assert not has_vip(standby)


def test_one_that_hangs_is_killed(standby: Workbench) -> None:
    files = standby.paths.vrrp
    foreign = start_by_hand(standby, BY_AN_OLDER_AGENT, files.config, files.pid)
    wait_for(lambda: has_vip(standby), "the other keepalived takes the VIP", seconds=60)
    os.kill(foreign, signal.SIGSTOP)
    act(standby, Action.STOP)
    assert process_start_time(foreign) is None
    assert not has_vip(standby)


@pytest.mark.hardening("B3")
def test_an_lvs_listener_s_is_replaced_and_ended_with_it(bench: Workbench) -> None:
    files = bench.paths.lvs(LISTENER)
    text = bench.sample("lvs/10-udp-no-pool.conf").replace("amphora-haproxy", bench.netns.name).encode()
    with bench.changing() as change:
        lvs_listeners.upload(change, LISTENER, text)
    foreign = start_by_hand(bench, BY_AN_OPERATOR, files.config, files.pid)
    with bench.changing() as change:
        lvs_listeners.perform(change, LISTENER, Action.RELOAD)
    assert process_start_time(foreign) is None
    own = read_pid(files.pid)
    with bench.changing() as change:
        lvs_listeners.perform(change, LISTENER, Action.RELOAD)
    assert read_pid(files.pid) == own
    foreign = start_by_hand(bench, BY_AN_OPERATOR, files.config, files.pid)
    with bench.changing() as change:
        lvs_listeners.delete(change, LISTENER)
    assert process_start_time(foreign) is None
    assert own is not None
    assert process_start_time(own) is None
