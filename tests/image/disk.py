"""The disk of the virtual machine: the container tests' Debian 13, a kernel, the agent, the tests' own programs.

Made without loop devices and without mounting the disk: mkfs.ext4 fills the file system as it creates it.
"""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.pki import Pki
from tests.container import debian

REPOSITORY = Path(__file__).parents[2]
GUEST_FILES = Path(__file__).parent / "guest"
GUEST_DIRECTORY = "/opt/image-tests"
HOST_NAME = "amphora"
UNITS = ("amphora-agent.service", "outside-world.service", "command-server.service", "systemd-networkd.service")

_KERNEL_PACKAGES = ("linux-image-cloud-amd64", "ipvsadm", "conntrack", "tcpdump")
# Debian 13's emulator on any host: that of Debian 12 spoils the flags after a 16-byte compare and exchange, and the
# kernel or HAProxy dies of it sooner or later.
_EMULATOR_PACKAGES = ("qemu-system-x86",)
# The kernel loads the drivers of the root file system and nothing else: without udev, that is 5 s less.
_INITRAMFS = {
    "/etc/initramfs-tools/conf.d/image": "MODULES=list\nCOMPRESS=gzip\nBUSYBOX=n\nFSTYPE=ext4\nRESUME=none\n",
    "/etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}
_INSTALL = """set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends --option=Dpkg::Options::=--force-unsafe-io \\
    --option='Dpkg::Options::=--path-exclude=/usr/share/initramfs-tools/*udev' "$@"
apt-get clean
rm -rf /var/lib/apt/lists
[ ! -e /usr/lib/systemd/system/ipvsadm.service ] || systemctl --quiet disable ipvsadm.service
"""
_MAKE_FILE_SYSTEM = """set -e
mount -t overlay overlay -o "lowerdir=$1" "$2/root"
cp --dereference "$2/root/vmlinuz" "$2/root/initrd.img" "$2"
exec mkfs.ext4 -q -F -L root -m 0 -J size=16 -E lazy_itable_init=1 -d "$2/root" "$2/disk.raw" 2G
"""


@dataclass(frozen=True, slots=True)
class Disk:
    """What QEMU boots from: a root file system without partition table, kernel, initial RAM disk; in one directory."""

    directory: Path
    image: str = "disk.raw"
    kernel: str = "vmlinuz"
    initrd: str = "initrd.img"


def reason_against() -> str | None:
    """Return why this machine cannot make and boot the virtual machine, None when it can."""
    if (reason := debian.reason_against()) is not None:
        return reason
    if shutil.which("mkfs.ext4", path="/usr/sbin:/sbin") is None:
        return "mkfs.ext4 is not installed"
    return None


def kernel_layer() -> Path:
    """Return a layer over `debian13_tree()` with the kernel and its tools; kept, made in 15 s.

    Raises:
        CannotBuild: with the end of apt's output.
    """
    return _packages_layer("kernel-layer", _KERNEL_PACKAGES, _INITRAMFS)


def emulator_layer() -> Path:
    """Return a layer over `debian13_tree()` with QEMU; kept, made in 10 s.

    Raises:
        CannotBuild: with the end of apt's output.
    """
    return _packages_layer("emulator-layer", _EMULATOR_PACKAGES, {})


def _packages_layer(kind: str, packages: Sequence[str], files: Mapping[str, str]) -> Path:
    base = debian.debian13_tree()
    stamp = "\n".join((base.name, _INSTALL, *packages, *files.values()))
    with debian.exclusive(kind):
        layer = debian.DIRECTORY / f"{kind}-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
        if debian.is_complete(layer, stamp):
            return layer
        debian.remove_old(f"{kind}-*")
        work = debian.prepare(debian.DIRECTORY / f"{layer.name}.work")
        for path, text in files.items():
            _write(work, path, text)
        debian.chroot([base], work, ["sh", "-c", _INSTALL, "install", *packages])
        debian.complete(work / "upper", layer, stamp)
        debian.remove(work)
        return layer


def make(work: Path, config: str, pki: Pki) -> Disk:
    """Make a disk in `work` (as `debian.prepare` leaves it), with the agent installed and this configuration.

    Raises:
        CannotBuild: with the end of the failed program's output.
    """
    layers = (debian.agent_layer(REPOSITORY), kernel_layer(), debian.debian13_tree())
    _install_agent(layers, work)
    _write(work, "/etc/octavia/amphora-agent.conf", config, 0o600)
    _write(work, "/etc/octavia/certs/client_ca.pem", pki.ca.decode(), 0o600)
    _write(work, "/etc/octavia/certs/server.pem", pki.server.decode(), 0o600)
    _write(work, "/var/lib/octavia/haproxy-default-user-group.conf", "global\n    group nogroup\n")
    _write(work, "/etc/hostname", f"{HOST_NAME}\n")
    _write(work, "/etc/hosts", f"127.0.0.1 localhost {HOST_NAME}\n::1 localhost {HOST_NAME}\n")
    # An empty one: name look-ups would stall keepalived's start for 10 s.
    _write(work, "/etc/resolv.conf", "")
    _add_guest_files(work)
    debian.chroot(layers, work, ["systemctl", "--quiet", "enable", *UNITS])
    return _make_file_system((work / "upper", *layers), work)


def _install_agent(layers: Sequence[Path], work: Path) -> None:
    debian.build_wheel(REPOSITORY, work)
    debian.install_wheels(layers, work, ["--no-deps", "amphora-agent"])
    for unit in (REPOSITORY / "systemd").glob("*.service"):
        _write(work, f"/usr/lib/systemd/system/{unit.name}", unit.read_text())
    commands = work / "upper/usr/local/bin"
    commands.mkdir(parents=True)
    for command in tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]:
        (commands / command).symlink_to(f"{debian.VENV}/bin/{command}")


def _add_guest_files(work: Path) -> None:
    places = {".service": "/etc/systemd/system", ".network": "/etc/systemd/network"}
    for file in GUEST_FILES.iterdir():
        if file.is_file():
            place = places.get(file.suffix, GUEST_DIRECTORY)
            _write(work, f"{place}/{file.name}", file.read_text(), 0o644 if file.suffix in places else 0o755)


def _make_file_system(layers: Sequence[Path], work: Path) -> Disk:
    lower = ":".join(str(layer) for layer in layers)
    debian.check(["unshare", "--mount", "sh", "-c", _MAKE_FILE_SYSTEM, "disk", lower, str(work)])
    return Disk(work)


def _write(work: Path, path: str, text: str, mode: int = 0o644) -> None:
    target = work / "upper" / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=mode)
    target.write_text(text)
    target.chmod(mode)
