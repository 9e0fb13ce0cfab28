"""The drive by which a cloud tells a new amphora who it is, with the controller's files in either of its two ways.

They are personality files of the metadata, or in the user data. The drive is ISO 9660 or vfat, as Nova makes it.
"""

from __future__ import annotations

import base64
import html
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LABEL = "config-2"
_VFAT_KIB = 65536
_HEAD = "#cloud-config\n# vim: syntax=yaml\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDrive:
    """What is on the drive.

    Attributes:
        instance: the instance's id; another one is another instance.
        nic: the management NIC's MAC.
        networks: the `networks` of network_data.json, their link being `management`.
        files: path -> content, as the controller delivers them.
        is_user_data: it delivers them in the user data, HTML-escaped, and not as personality.
        kit: path -> content and mode of what the tests want on the machine, beside the controller's files.
        commands: of the tests, after the controller's own.
    """

    instance: str
    nic: str
    networks: tuple[Mapping[str, object], ...]
    files: Mapping[str, str]
    is_user_data: bool = False
    kit: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def write(self, directory: Path) -> None:
        """Write the tree of the drive."""
        latest, content = directory / "openstack/latest", directory / "openstack/content"
        latest.mkdir(parents=True)
        content.mkdir()
        metadata: dict[str, object] = {
            "uuid": self.instance,
            "name": "amphora-test",
            "hostname": "amphora-test.example",
        }
        if not self.is_user_data:
            for number, text in enumerate(self.files.values()):
                (content / f"{number:04d}").write_text(text)
            places = [
                {"path": path, "content_path": f"/content/{number:04d}"} for number, path in enumerate(self.files)
            ]
            metadata["files"] = places
        (latest / "meta_data.json").write_text(json.dumps(metadata))
        (latest / "network_data.json").write_text(json.dumps(self._network_data()))
        (latest / "user_data").write_text(self.user_data())

    def user_data(self) -> str:
        """Return the user data: laid out like the controller's, the tests' own files behind its own."""
        escaped = self.files if self.is_user_data else {}
        entries = [_controller_file(path, text) for path, text in escaped.items()]
        entries += [_kit_file(path, data, mode) for path, (data, mode) in self.kit.items()]
        commands = ["systemctl restart rsyslog", *(["service amphora-agent restart"] if self.is_user_data else [])]
        lines = "".join(f"-   {json.dumps(command)}\n" for command in (*commands, *self.commands))
        files = f"write_files:\n{''.join(entries)}" if entries else ""
        return f"{_HEAD}{files}\nruncmd:\n{lines}\n\ntimezone: UTC\n"

    def _network_data(self) -> dict[str, object]:
        link = {"id": "management", "type": "phy", "ethernet_mac_address": self.nic, "mtu": 1500}
        networks = [{"id": f"network{n}", "link": "management", **net} for n, net in enumerate(self.networks)]
        return {"links": [link], "networks": networks, "services": []}


def make_iso(drive: ConfigDrive, target: Path) -> None:
    """Make the drive as ISO 9660, as Nova does by default."""
    tree = _tree(drive, target)
    subprocess.run(["genisoimage", "-quiet", "-J", "-r", "-V", LABEL, "-o", str(target), str(tree)], check=True)
    shutil.rmtree(tree)


def make_vfat(drive: ConfigDrive, target: Path) -> None:
    """Make the drive as vfat of 64 MiB, as Nova does with `config_drive_format = vfat`."""
    tree = _tree(drive, target)
    target.unlink(missing_ok=True)
    format_it = ["/usr/sbin/mkfs.vfat", "-n", LABEL, "-C", str(target), str(_VFAT_KIB)]
    subprocess.run(format_it, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    subprocess.run(["mcopy", "-s", "-i", str(target), str(tree / "openstack"), "::"], check=True)
    shutil.rmtree(tree)


def _tree(drive: ConfigDrive, target: Path) -> Path:
    tree = target.with_name(f"{target.name}.tree")
    drive.write(tree)
    return tree


def _controller_file(path: str, text: str) -> str:
    indented = "".join(f"        {line}\n" for line in html.escape(text).splitlines())
    return f"-   path: {path}\n    content: |\n{indented}"


def _kit_file(path: str, data: bytes, mode: int) -> str:
    encoded = base64.b64encode(data).decode()
    return f"-   path: {path}\n    encoding: b64\n    permissions: '{mode:04o}'\n    content: {encoded}\n"
