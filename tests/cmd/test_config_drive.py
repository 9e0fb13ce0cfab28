"""amphora-config-drive as the boot runs it: a process of its own; drive and machine are directories."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "testbed/samples"
NETWORK = {
    "links": [{"id": "tap0", "type": "ovs", "ethernet_mac_address": "fa:16:3e:00:00:01", "mtu": 1450}],
    "networks": [{"id": "n0", "link": "tap0", "type": "ipv4_dhcp"}],
}


@dataclass(frozen=True)
class Rig:
    """A drive and a machine."""

    drive: Path
    root: Path

    def lay(self, name: str, content: bytes | str) -> None:
        """Put a file on the drive, below `openstack`."""
        path = self.drive / "openstack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def metadata(self, **more: object) -> None:
        """Put meta_data.json on the drive."""
        self.lay("latest/meta_data.json", json.dumps({"uuid": "first", "hostname": "amphora-1.cloud", **more}))

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the reader on the machine."""
        command = [sys.executable, "-m", "amphora_agent.cmd.config_drive", f"--root={self.root}", *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def configure(self) -> tuple[int, str]:
        """Run it on the drive; return its exit code and what it said."""
        done = self.run(f"--drive={self.drive}")
        return done.returncode, done.stderr

    def read(self, path: str) -> str:
        """Return a file of the machine."""
        return (self.root / path.lstrip("/")).read_text()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path / "drive", tmp_path / "root")
    for name in ("etc", "proc/sys/kernel"):
        (rig.root / name).mkdir(parents=True)
    rig.metadata()
    rig.lay("latest/network_data.json", json.dumps(NETWORK))
    rig.lay("latest/user_data", (SAMPLES / "user-data/02-personality.yaml").read_bytes())
    return rig


def deliver(rig: Rig, **files: str) -> None:
    """Lay files as personality; underscores of the names stand for slashes."""
    references = []
    for number, (name, content) in enumerate(files.items()):
        rig.lay(f"content/{number:04}", content)
        references.append({"path": "/" + name.replace("_", "/"), "content_path": f"/content/{number:04}"})
    rig.metadata(files=references)


def test_a_personality_becomes_files_that_only_root_reads(rig: Rig) -> None:
    deliver(rig, etc_octavia_conf="[DEFAULT]\n", etc_octavia_certs_server="key")
    assert rig.configure()[0] == 0
    assert rig.read("/etc/octavia/conf") == "[DEFAULT]\n"
    assert rig.read("/etc/octavia/certs/server") == "key"
    assert stat.S_IMODE((rig.root / "etc/octavia/certs/server").stat().st_mode) == 0o600


def test_the_controllers_other_way_gives_the_same_files(rig: Rig) -> None:
    rig.lay("latest/user_data", (SAMPLES / "user-data/01-files-in-user-data.yaml").read_bytes())
    assert rig.configure()[0] == 0
    assert rig.read("/etc/rsyslog.d/10-rsyslog.conf").strip() == (SAMPLES / "agent/10-rsyslog.conf").read_text().strip()
    assert "[amphora_agent]\n" in rig.read("/etc/octavia/amphora-agent.conf")


def test_network_host_name_and_time_zone(rig: Rig) -> None:
    assert rig.configure()[0] == 0
    assert "MACAddress=fa:16:3e:00:00:01\n" in rig.read("/run/systemd/network/10-management-0.network")
    assert rig.read("/etc/hostname") == "amphora-1\n"
    assert rig.read("/proc/sys/kernel/hostname") == "amphora-1"
    assert "amphora-1" in rig.read("/etc/hosts")
    assert rig.read("/etc/resolv.conf") == ""
    assert (rig.root / "etc/localtime").readlink() == Path("/usr/share/zoneinfo/UTC")


def test_what_was_done_is_not_done_again_at_the_next_boot(rig: Rig) -> None:
    deliver(rig, etc_server="first certificate")
    rig.configure()
    (rig.root / "etc/server").write_text("renewed by the controller")
    (rig.root / "run/systemd/network/10-management-0.network").unlink()
    assert rig.configure()[0] == 0
    assert rig.read("/etc/server") == "renewed by the controller"
    assert (rig.root / "run/systemd/network/10-management-0.network").exists()


def test_another_instance_is_configured_anew(rig: Rig) -> None:
    deliver(rig, etc_server="first")
    rig.configure()
    rig.lay("content/0000", "second")
    rig.metadata(uuid="second", files=[{"path": "/etc/server", "content_path": "/content/0000"}])
    rig.configure()
    assert rig.read("/etc/server") == "second"


def test_a_file_that_could_not_be_written_is_written_at_the_next_boot_and_the_others_at_this_one(rig: Rig) -> None:
    deliver(rig, etc_blocked_file="a", etc_good="b")
    (rig.root / "etc/blocked").write_text("in the way")
    code, words = rig.configure()
    assert code == 1
    assert "/etc/blocked/file: cannot create" in words
    assert rig.read("/etc/good") == "b"
    (rig.root / "etc/blocked").unlink()
    (rig.root / "etc/good").write_text("changed")
    assert rig.configure()[0] == 0
    assert rig.read("/etc/blocked/file") == "a"
    assert rig.read("/etc/good") == "changed"


def test_a_content_that_is_missing_costs_no_other_file(rig: Rig) -> None:
    deliver(rig, etc_a="a", etc_b="b")
    (rig.drive / "openstack/content/0000").unlink()
    code, words = rig.configure()
    assert (code, rig.read("/etc/b")) == (1, "b")
    assert "/etc/a: cannot read /content/0000" in words


@pytest.mark.parametrize(
    "user_data", [b"\x1f\x8b\x08zip", b"Content-Type: multipart/mixed\n", b"#cloud-config\na: [\n"]
)
def test_user_data_that_cannot_be_read_costs_no_file_of_the_personality(rig: Rig, user_data: bytes) -> None:
    deliver(rig, etc_a="a")
    rig.lay("latest/user_data", user_data)
    code, words = rig.configure()
    assert (code, rig.read("/etc/a")) == (1, "a")
    assert "user data: cannot read the user data" in words


@pytest.mark.parametrize("name", ["meta_data.json", "network_data.json"])
def test_a_broken_document_costs_nothing_that_another_one_says(rig: Rig, name: str) -> None:
    rig.lay("latest/user_data", "#cloud-config\nwrite_files:\n- {path: /etc/a, content: a}\n")
    rig.lay(f"latest/{name}", "{")
    code, words = rig.configure()
    assert (code, rig.read("/etc/a")) == (1, "a")
    assert f"cannot read {name}" in words


def test_a_path_given_twice_has_the_user_datas_content(rig: Rig) -> None:
    deliver(rig, etc_a="personality")
    rig.lay("latest/user_data", "#cloud-config\nwrite_files:\n- {path: /etc/a, content: user data}\n")
    rig.configure()
    assert rig.read("/etc/a") == "user data"


def test_appending_twice_after_a_power_cut_is_appending_once(rig: Rig) -> None:
    (rig.root / "etc/a").write_text("one\n")
    rig.lay("latest/user_data", '#cloud-config\nwrite_files:\n- {path: /etc/a, content: "two\\n", append: true}\n')
    rig.configure()
    (rig.root / "var/lib/amphora-config-drive/progress.json").unlink()
    rig.configure()
    assert rig.read("/etc/a") == "one\ntwo\n"


def test_commands_are_left_for_later_once(rig: Rig) -> None:
    rig.lay("latest/user_data", "#cloud-config\nruncmd:\n- echo hello\n")
    rig.configure()
    commands = rig.root / "var/lib/amphora-config-drive/commands"
    assert subprocess.run([commands], capture_output=True, text=True, check=True).stdout == "hello\n"
    commands.unlink()
    rig.configure()
    assert not commands.exists()


def test_keys_are_taken_only_where_somebody_listens(rig: Rig) -> None:
    key = "ssh-ed25519 AAAA operator"
    rig.metadata(public_keys={"a": key})
    rig.configure()
    assert not (rig.root / "root").exists()
    (rig.root / "usr/sbin").mkdir(parents=True)
    (rig.root / "usr/sbin/sshd").touch()
    rig.metadata(uuid="second", public_keys={"a": key})
    rig.configure()
    assert rig.read("/root/.ssh/authorized_keys") == f"{key}\n"


def test_nics_of_the_load_balancer_are_left_alone(rig: Rig) -> None:
    (rig.root / "var/lib/octavia").mkdir(parents=True)
    (rig.root / "var/lib/octavia/plugged_interfaces").write_text("FA:16:3E:00:00:01 eth1\n")
    assert rig.configure()[0] == 0
    assert list((rig.root / "run/systemd/network").iterdir()) == []


def test_without_a_drive_the_network_is_that_of_the_last_one(rig: Rig) -> None:
    rig.configure()
    (rig.root / "run/systemd/network/10-management-0.network").unlink()
    done = rig.run(f"--devices={rig.root / 'nothing'}")
    assert done.returncode == 3
    assert "no config drive" in done.stderr
    assert "MACAddress=fa:16:3e:00:00:01\n" in rig.read("/run/systemd/network/10-management-0.network")


def test_a_drive_that_comes_late_is_missed_aloud_and_taken(rig: Rig) -> None:
    devices = rig.root / "devices"
    devices.mkdir()
    command = [sys.executable, "-m", "amphora_agent.cmd.config_drive", f"--root={rig.root}", f"--devices={devices}"]
    with subprocess.Popen([*command, "--complain-after=0"], stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stderr is not None
        assert "no config drive: no disk or CD-ROM" in reader.stderr.readline()
        (devices / "CONFIG-2").write_bytes(b"no file system")
        assert "no config drive: cannot mount" in reader.communicate(timeout=60)[1]
    assert reader.returncode == 3


def test_a_drive_that_cannot_be_mounted_is_said_with_mounts_own_words(rig: Rig) -> None:
    rig.configure()
    devices = rig.root / "devices"
    devices.mkdir()
    (devices / "CONFIG-2").write_bytes(b"no file system")
    done = rig.run(f"--devices={devices}")
    assert done.returncode == 3
    assert "no config drive: cannot mount" in done.stderr


def test_no_secret_of_the_drive_is_in_the_log(rig: Rig) -> None:
    deliver(rig, etc_server="SECRET-KEY")
    rig.lay("latest/user_data", "#cloud-config\nwrite_files:\n- {path: /etc/a, content: SECRET, encoding: b64}\nx: [")
    assert "SECRET" not in rig.configure()[1]
