"""What the image has beside the agent: as the contract wants it, closed to others, and within its budgets."""

from __future__ import annotations

import json
import re

import pytest

from tests.image.built_image import built_image
from tests.image.machine import GUEST_DIRECTORY, MANAGEMENT_MAC, TEST_SECONDS, VirtualMachine

pytestmark = pytest.mark.timeout(TEST_SECONDS)

IMAGE_BYTES = 110_000_000
ROOT_SYSCTLS = "/usr/lib/sysctl.d/60-amphora.conf"


def test_the_image_is_small() -> None:
    assert built_image().stat().st_size <= IMAGE_BYTES


def test_every_unit_is_well_and_nothing_else_runs(machine: VirtualMachine) -> None:
    assert machine.exec(["systemctl", "--failed", "--quiet", "--no-legend"]) == ""
    listing = machine.exec(["systemctl", "list-units", "--type=service", "--state=running", "--output=json"])
    ours = re.compile(r"(amphora-|octavia-|prometheus-|command-server).*")
    running = {unit["unit"] for unit in json.loads(listing) if ours.fullmatch(unit["unit"]) is None}
    assert running <= {
        # The cloud's power button.
        "acpid.service",
        "rsyslog.service",
        "systemd-journald.service",
        "systemd-networkd.service",
        "systemd-timesyncd.service",
        "systemd-udevd.service",
    }


def test_systemd_starts_what_the_agent_wants_without_a_d_bus_daemon(machine: VirtualMachine) -> None:
    """A DHCP client, that is: it must outlive the agent."""
    assert machine.begin(["ls", "/run/dbus/system_bus_socket"]).outcome()[0] != 0
    program = (
        "import subprocess, sys; sys.path.insert(0, '/opt/amphora-agent')\n"
        "from amphora_agent.host.supervisor.systemd import outliving\n"
        "subprocess.run([*outliving('a test'), 'cat', '/proc/self/cgroup'], check=True)"
    )
    assert ".scope" in machine.exec(["python3", "-c", program])


def test_nobody_can_log_in(machine: VirtualMachine) -> None:
    shadow = machine.exec(["cat", "/etc/shadow"]).splitlines()
    assert all(line.split(":")[1][:1] in {"!", "*"} for line in shadow)
    assert machine.begin(["ls", "/usr/sbin/sshd"]).outcome()[0] != 0
    listening = machine.exec(["ss", "-Hltn"]).split()
    assert {field.rpartition(":")[2] for field in listening if field.endswith(("9443", "7000", "22"))} == {
        "9443",
        "7000",
    }


def test_secrets_neither_swap_nor_dump(machine: VirtualMachine) -> None:
    assert len(machine.exec(["cat", "/proc/swaps"]).splitlines()) == 1
    pid = machine.exec(["systemctl", "show", "--value", "--property=MainPID", "amphora-agent"]).strip()
    limits = machine.exec(["cat", f"/proc/{pid}/limits"])
    assert re.findall(r"Max core file size +(\S+) +(\S+)", limits) == [("0", "0")]


def test_kernel_settings_hold(machine: VirtualMachine) -> None:
    for line in machine.exec(["cat", ROOT_SYSCTLS]).splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            assert machine.exec(["sysctl", "--values", name.strip()]).strip() == value.strip(), name
    lowat = machine.inside("amphora-haproxy", ["sysctl", "--values", "net.ipv4.tcp_notsent_lowat"])
    assert lowat == "131072\n"


def test_certificates_are_kept_in_encrypted_memory(machine: VirtualMachine) -> None:
    source = machine.exec(["findmnt", "--noheadings", "--output=SOURCE", "/var/lib/octavia/certs"]).strip()
    table = machine.exec(["dmsetup", "table", source.rpartition("/")[2]]).split()
    assert (table[2], table[3]) == ("crypt", "aes-xts-plain64")
    assert machine.exec(["lsblk", "--noheadings", "--inverse", "--output=NAME", source]).count("ram0") == 1
    assert machine.exec(["stat", "--format=%a", "/var/lib/octavia/certs"]) == "700\n"


def test_the_journal_is_in_memory_and_bounded(machine: VirtualMachine) -> None:
    assert machine.begin(["ls", "/var/log/journal"]).outcome()[0] != 0
    machine.exec(["sh", "-c", "head -c 12000000 /dev/urandom | base64 -w 500 | systemd-cat -t flood"], timeout=120)
    machine.exec(["journalctl", "--sync"])
    kib = int(machine.exec(["du", "-sk", "/run/log/journal"]).split()[0])
    assert kib <= 12 * 1024


def send_log(machine: VirtualMachine, tag: str, facility: int, count: int, length: int) -> None:
    """Have messages sent to the socket that HAProxy logs to."""
    text = f"<{facility * 8 + 6}>Nov 26 00:00:00 {tag}: "
    program = (
        "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.connect('/run/rsyslog/octavia/log')\n"
        f"for n in range({count}): s.send(b'{text}%d ' % n + b'x'*{length})"
    )
    machine.exec(["python3", "-c", program], timeout=240)


def test_logs_go_where_the_controller_wants_them_and_are_kept(machine: VirtualMachine) -> None:
    machine.logs.settimeout(90)
    send_log(machine, "haproxy[1]", 16, 1, 10)
    while b"haproxy[1]: 0 xxxxxxxxxx" not in machine.logs.recv(65536):
        continue
    machine.wait_for(
        lambda: "haproxy[1]: 0 xxxxxxxxxx" in machine.exec(["cat", "/var/log/haproxy.log"]), 90, "the line in the file"
    )


def test_log_files_are_rotated_by_size(machine: VirtualMachine) -> None:
    machine.exec(["sh", "-c", "head -c 16777200 /dev/zero | tr '\\0' x >>/var/log/syslog"])
    send_log(machine, "other", 3, 50, 1000)
    machine.wait_for(lambda: machine.begin(["ls", "/var/log/syslog.1"]).outcome()[0] == 0, 90, "the rotated file")
    send_log(machine, "other", 3, 50, 1000)
    machine.wait_for(lambda: "other: 49" in machine.exec(["cat", "/var/log/syslog"]), 90, "the new file")


def test_networkd_leaves_other_nics_alone(machine: VirtualMachine) -> None:
    machine.exec(["ip", "link", "add", "spare", "type", "dummy"])
    try:
        machine.wait_for(lambda: "pending" not in states(machine).values(), 90, "networkd to look at the new NIC")
        managed = [name for name, state in states(machine).items() if state != "unmanaged"]
        macs = [machine.exec(["cat", f"/sys/class/net/{name}/address"]).strip() for name in managed]
        assert macs == [MANAGEMENT_MAC]
    finally:
        machine.exec(["ip", "link", "delete", "spare"])


def states(machine: VirtualMachine) -> dict[str, str]:
    """Return the name of each NIC in the root namespace -> what it is to networkd, in networkd's own files."""
    names = machine.exec(["sh", "-c", "cd /sys/class/net && for nic in *; do echo $nic $(cat $nic/ifindex); done"])
    found = {}
    for line in names.splitlines():
        name, index = line.split()
        code, text = machine.begin(["cat", f"/run/systemd/netif/links/{index}"]).outcome()
        lines = text.splitlines() if code == 0 else []
        found[name] = next((line.partition("=")[2] for line in lines if line.startswith("ADMIN_STATE=")), "pending")
    return found


def test_the_watchdog_is_fed(machine: VirtualMachine) -> None:
    assert machine.exec(["cat", "/sys/class/watchdog/watchdog0/state"]) == "active\n"
    assert machine.exec(["systemctl", "show", "--value", "--property=RuntimeWatchdogUSec"]) == "3min\n"


def test_a_ping_monitor_has_its_program(machine: VirtualMachine) -> None:
    for address, code in (("127.0.0.1", 0), ("::1", 0), ("192.0.2.99", 1)):
        command = ["env", f"HAPROXY_SERVER_ADDR={address}", "/var/lib/octavia/ping-wrapper.sh"]
        assert (machine.begin(command).outcome()[0] != 0) == (code != 0), address


def test_nothing_of_the_builder_is_left(machine: VirtualMachine) -> None:
    for path in ("/etc/apt/sources.list.d", "/var/lib/apt/lists", "/root/.cache", "/var/cache/apt"):
        code, names = machine.begin(["ls", path]).outcome()
        assert code != 0 or names == "", (path, names)
    assert machine.exec(["ls", GUEST_DIRECTORY]) != ""
