"""QEMU's command line for one virtual machine, and its monitor. Emulated without KVM; decides nothing about guests."""

from __future__ import annotations

import enum
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.waiting import wait_for
from tests.container import debian
from tests.image import built_image

# No AVX and nothing else that is slow to emulate.
_CPU = "qemu64"
# The emulator comes from the Debian 13 tree; what it reads and writes is at /mnt there.
_ENTER = """set -e
root=$2/root work=$2
mount -t overlay overlay -o "lowerdir=$1" "$root"
mount --bind "$work" "$root/mnt"
shift 2
exec chroot "$root" "$@"
"""
_FIRMWARE = "usr/share/OVMF"
DISK, DRIVE, STATE, FROZEN = "disk.qcow2", "config-drive", "state", "frozen.raw"


class Bus(enum.Enum):
    """What the config drive is: a CD-ROM of the machine's own kind (IDE, on q35 SATA), or a disk with either format."""

    CDROM = enum.auto()
    VIRTIO = enum.auto()
    VFAT = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """A machine as Nova may make one.

    Attributes:
        is_q35: a q35 machine started by UEFI; otherwise an i440fx started by BIOS.
        drive: how the config drive is attached.
        clock: what its clock says when it is switched on, as QEMU's `-rtc base=`; the host's time when empty.
        cables: MAC -> descriptor of a tap(4) device, for NICs that are plugged later.
        image: what it boots, on the file system of the test trees; this checkout's image by default.
    """

    is_q35: bool = False
    drive: Bus = Bus.CDROM
    memory_mib: int = 1024
    cpus: int = 1
    clock: str = ""
    cables: Mapping[str, int] = field(default_factory=dict)
    image: Path | None = None


def make_disk(directory: Path, hardware: Hardware) -> None:
    """Lay a disk over the image, and give a UEFI machine its variables; all in `directory`."""
    image = directory / "image.qcow2"
    image.hardlink_to(hardware.image or built_image.built_image())
    _lay_over(directory, image.name, "qcow2")
    if hardware.is_q35:
        shutil.copy(built_image.emulator_layer() / _FIRMWARE / "OVMF_VARS_4M.fd", directory / "vars.fd")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a machine.

    Attributes:
        forwards: port inside -> port of the host's loopback.
        plugged: MACs of the cables that have a NIC from the start.
        is_thawed: goes on from where `freeze` left it, instead of booting.
    """

    forwards: Mapping[int, int]
    plugged: tuple[str, ...] = ()
    is_thawed: bool = False


def _lay_over(directory: Path, base: str, kind: str) -> None:
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", base, str(directory / DISK)]
    subprocess.run(create, check=True)


def freeze(directory: Path) -> None:
    """Keep a running machine's memory and disk as they are now; it stands still, to be switched off."""
    # It must run until then, or it would not run when it is thawed.
    order(directory, "migrate", {"uri": f"file:/mnt/{STATE}"})
    wait_for(lambda: order(directory, "query-migrate").get("status") == "completed", "the machine's memory", seconds=60)


def keep_frozen_disk(directory: Path) -> None:
    """Make the disk of a frozen machine, which is off, the one that every thawed machine begins with."""
    convert = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(directory / DISK), str(directory / FROZEN)]
    subprocess.run(convert, check=True)


def thaw_disk(directory: Path) -> None:
    """Give a machine that is off the disk of the frozen one."""
    _lay_over(directory, FROZEN, "raw")


def command_line(directory: Path, hardware: Hardware, mac: str, run: Run) -> Iterator[str]:
    """Yield the command that runs the machine; `mac` is the management NIC's.

    `directory` is as `make_disk` left it, with the config drive in it.
    """
    layers = f"{built_image.emulator_layer()}:{debian.debian13_tree()}"
    yield from ("unshare", "--mount", "sh", "-c", _ENTER, "emulate", layers, str(directory))
    yield from ("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none")
    yield from ("-accel", "tcg,thread=multi", "-cpu", _CPU, "-smp", str(hardware.cpus), "-m", str(hardware.memory_mib))
    yield from _machine(hardware)
    yield from ("-rtc", f"base={hardware.clock or 'utc'}")
    yield from ("-drive", f"file=/mnt/{DISK},if=none,id=root,format=qcow2")
    yield from ("-device", "virtio-blk-pci,drive=root,bootindex=1", "-device", "virtio-rng-pci")
    yield from _config_drive(hardware.drive)
    forwarded = ",".join(f"hostfwd=tcp:127.0.0.1:{out}-:{inside}" for inside, out in run.forwards.items())
    yield from ("-netdev", f"user,id=management,ipv6=off,{forwarded}")
    yield from ("-device", f"virtio-net-pci,netdev=management,mac={mac},romfile=")
    for number, descriptor in enumerate(hardware.cables.values()):
        yield from ("-netdev", f"tap,id=cable{number},fd={descriptor}")
    for mac_of_cable in run.plugged:
        yield from ("-device", ",".join(f"{key}={value}" for key, value in _nic(hardware, mac_of_cable).items()))
    yield from ("-serial", "file:/mnt/console.log", "-qmp", "unix:/mnt/qmp,server=on,wait=off")
    yield from (("-incoming", f"file:/mnt/{STATE}") if run.is_thawed else ())


def _machine(hardware: Hardware) -> Iterator[str]:
    if not hardware.is_q35:
        # A watchdog, which q35 has of its own.
        yield from ("-machine", "pc", "-device", "i6300esb")
        return
    yield from ("-machine", "q35")
    yield from ("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file=/{_FIRMWARE}/OVMF_CODE_4M.fd")
    yield from ("-drive", "if=pflash,unit=1,format=raw,file=/mnt/vars.fd")
    for number in range(len(hardware.cables)):
        yield from ("-device", f"pcie-root-port,id=port{number},chassis={number + 1}")


def _config_drive(bus: Bus) -> Iterator[str]:
    media = "cdrom" if bus is Bus.CDROM else "disk"
    yield from ("-drive", f"file=/mnt/{DRIVE},if=none,id=drive,format=raw,media={media},readonly=on")
    yield from ("-device", "ide-cd,drive=drive" if bus is Bus.CDROM else "virtio-blk-pci,drive=drive")


def plug(directory: Path, hardware: Hardware, mac: str) -> None:
    """Plug a NIC at one of the cables into the running machine, as Nova does when a port is attached."""
    order(directory, "device_add", _nic(hardware, mac))


def _nic(hardware: Hardware, mac: str) -> dict[str, str]:
    number = list(hardware.cables).index(mac)
    bus = f"port{number}" if hardware.is_q35 else "pci.0"
    return {
        "driver": "virtio-net-pci",
        "netdev": f"cable{number}",
        "mac": mac,
        "id": f"nic{number}",
        "bus": bus,
        "romfile": "",
    }


def order(directory: Path, command: str, arguments: Mapping[str, object] | None = None) -> Any:
    """Have QEMU's monitor carry out a command and return what it answers; RuntimeError with its words if it refuses."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(60)
        monitor.connect(str(directory / "qmp"))
        with monitor.makefile("rwb") as stream:
            for name, values in (("qmp_capabilities", {}), (command, arguments or {})):
                stream.write(json.dumps({"execute": name, "arguments": values}).encode() + b"\n")
                stream.flush()
                while not {"return", "error"} & (answer := json.loads(stream.readline())).keys():
                    continue
    if "error" in answer:
        raise RuntimeError(f"{command}: {answer['error']['desc']}")
    return answer["return"]
