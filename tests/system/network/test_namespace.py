"""The namespace itself: made, found, entered, counted - and nothing left behind by ten thousand entries."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from amphora_agent.core.network.model import Link
from amphora_agent.core.network.sysctls import REQUIRED_SYSCTLS
from amphora_agent.errors import HostFailure
from amphora_agent.host.network import netlink, netns
from amphora_agent.operations.network import interfaces
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, client
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP

CYCLES = int(os.environ.get("AMPHORA_PLUG_CYCLES", "100"))


def test_a_new_namespace_has_its_settings_and_a_loopback(machine: Machine) -> None:
    netns.ensure(machine.paths.netns)
    for name, value in REQUIRED_SYSCTLS.items():
        found = netns.inside(machine.paths.netns, functools.partial(netns.read_sysctl, name))
        assert found in (value, None), name
    assert netns.inside(machine.paths.netns, lambda: netns.read_sysctl("net/ipv4/ip_forward")) == "1"
    assert netns.read_sysctl("net/ipv4/ip_nonlocal_bind") == "0", "the machine's own namespace is not ours to change"
    assert machine.addresses("lo") == {"127.0.0.1/8", "::1/128"}
    assert netns.exists(machine.paths.netns)


MAKE_AND_READ = """
import sys
from pathlib import Path
from amphora_agent.host.network import netns
path = Path(sys.argv[1])
netns.ensure(path)
names = ("net/ipv4/tcp_fin_timeout", "net/ipv4/tcp_synack_retries", "net/ipv4/ip_forward")
print(*(netns.inside(path, lambda: [netns.read_sysctl(name) for name in names])))
"""


def test_the_machine_s_drop_ins_win_but_not_over_what_the_data_plane_needs(machine: Machine) -> None:
    """In a mount namespace of its own: 20 is read after 10, and forwarding is not for a drop-in to switch off."""
    script = """
        set -e
        mount -t tmpfs tmpfs /etc/sysctl.d
        echo net.ipv4.tcp_fin_timeout=7 >/etc/sysctl.d/10-first.conf
        printf 'net/ipv4/tcp_fin_timeout = 8\nnet.ipv4.ip_forward=0\n' >/etc/sysctl.d/20-second.conf
        exec "$1" -c "$2" "$3"
    """
    argv = ["unshare", "-m", "-n", "sh", "-c", script, "sh", sys.executable, MAKE_AND_READ, str(machine.paths.netns)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["8", "3", "1"], done.stderr


def test_ip_netns_sees_it_and_one_made_by_ip_netns_is_taken_as_it_is(machine: Machine) -> None:
    netns.ensure(machine.paths.netns)
    name = machine.paths.netns.name
    assert name in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    subprocess.run(["ip", "netns", "del", name], check=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    identity = machine.paths.netns.stat().st_ino
    netns.ensure(machine.paths.netns)
    assert machine.paths.netns.stat().st_ino == identity
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert machine.addresses("lo") == {"127.0.0.1/8", "::1/128"}
    assert netns.inside(machine.paths.netns, lambda: netns.read_sysctl("net/ipv4/ip_forward")) == "1"


@pytest.mark.parametrize("content", [b"", b"left over"])
def test_a_file_left_at_the_path_is_mounted_over(machine: Machine, content: bytes) -> None:
    machine.paths.netns.write_bytes(content)
    assert not netns.exists(machine.paths.netns)
    machine.add_nic("ens5", VIP_MAC)
    assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    assert netns.exists(machine.paths.netns)


def test_a_directory_at_the_path_is_an_error_that_says_so(machine: Machine) -> None:
    machine.paths.netns.mkdir()
    try:
        with pytest.raises(HostFailure, match=str(machine.paths.netns)):
            netns.ensure(machine.paths.netns)
    finally:
        machine.paths.netns.rmdir()


def test_eight_at_once_make_one(machine: Machine) -> None:
    barrier = threading.Barrier(8)

    def make() -> int:
        barrier.wait()
        netns.ensure(machine.paths.netns)
        return machine.paths.netns.stat().st_ino

    with ThreadPoolExecutor(8) as pool:
        identities = set(pool.map(lambda _: make(), range(8)))
    assert len(identities) == 1
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    assert mounts.count(f"/{machine.paths.netns.name} nsfs") in (1, 2), "2 where /run is mounted twice"


def test_what_is_called_inside_raises_here_and_leaves_this_thread_where_it_was(machine: Machine) -> None:
    netns.ensure(machine.paths.netns)
    here = Path("/proc/thread-self/ns/net").stat().st_ino

    def fail() -> None:
        assert netns.is_current(machine.paths.netns)
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        netns.inside(machine.paths.netns, fail)
    assert Path("/proc/thread-self/ns/net").stat().st_ino == here
    with pytest.raises(HostFailure):
        netns.inside(machine.paths.netns.with_name("no-such-namespace"), fail)


def test_counters_are_those_of_the_namespace(machine: Machine) -> None:
    assert netlink.link_counters(machine.paths.netns) == {}
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.50/24", "dev", peer)
    assert client(machine).post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    machine.inside_run("ping", "-c", "3", "-i", "0.01", "-s", "1000", "10.20.0.50")
    counters = netlink.link_counters(machine.paths.netns)
    assert set(counters) == {"eth2"}
    (link,) = machine.inside_json("-s", "link", "show", "eth2")
    assert counters["eth2"].received >= 3000
    assert counters["eth2"].sent <= link["stats64"]["tx"]["bytes"]


def test_the_kernel_s_words_reach_the_caller(machine: Machine) -> None:
    netns.ensure(machine.paths.netns)
    nothing = Link(index=99999, name="gone", mac="", mtu=0, is_up=False)
    with netlink.connect() as kernel:
        with pytest.raises(HostFailure) as caught:
            kernel.move(nothing, machine.paths.netns, "eth5")
        assert "ENODEV" in caught.value.detail
        with pytest.raises(HostFailure, match="cannot find the interface eth77"):
            kernel.link_named("eth77")


def test_plugs_and_reads_leave_nothing_behind(machine: Machine) -> None:
    """File descriptors, threads, child processes and memory stay flat; AMPHORA_PLUG_CYCLES sets the length."""
    machine.add_nic("ens5", VIP_MAC)
    machine.add_nic("ens6", MEMBER_MAC)
    agent, process = client(machine), psutil.Process()
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202

    def cycle() -> None:
        assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
        assert agent.get("/1.0/interface/10.9.0.9").status_code == 200
        assert set(netlink.link_counters(machine.paths.netns)) == {"eth1", "eth2"}

    for _ in range(CYCLES // 2):
        cycle()
    settled = process.num_fds(), len(process.children()), process.memory_info().rss
    for _ in range(CYCLES - CYCLES // 2):
        cycle()
    print(f"{CYCLES} cycles: RSS {settled[2] >> 10} -> {process.memory_info().rss >> 10} kB")  # noqa: T201 - for the log
    advertising = 2 * 20  # sockets of the rounds that are under way in the background
    assert process.num_fds() <= settled[0] + advertising
    assert len(process.children()) == settled[1]
    assert process.memory_info().rss < settled[2] + 4 * 2**20


def test_a_connection_that_waits_at_a_listener_that_closes_goes_to_the_one_beside_it(machine: Machine) -> None:
    """So one HAProxy takes over from another: both listen for a moment."""
    netns.ensure(machine.paths.netns)

    def resets() -> int:
        going, staying = (_listener() for _ in range(2))
        with staying, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(going.getsockname())) for _ in range(100)]
            going.close()
            return sum(_is_reset(client) for client in clients)

    assert netns.inside(machine.paths.netns, resets) == 0


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", 8099))
    listener.listen(200)
    return listener


def _is_reset(client: socket.socket) -> bool:
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


def test_a_process_without_plugs_does_not_pay_for_pyroute2() -> None:
    code = "import sys, amphora_agent.api.app; sys.exit('pyroute2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_have_the_contract_s_modes(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    with machine.amphora.changing() as change:
        interfaces.write_loopback(change)
    assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    for file in (machine.paths.interface("eth1"), machine.paths.interface("lo"), machine.paths.plugged_interfaces):
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
