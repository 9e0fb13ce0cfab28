"""The amphora image as `image-build/build` makes it of this checkout: what every test of this rung boots.

One is kept for each state of everything that goes into it; a day without use, and the next build removes it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from amphora_image import grub, tools
from amphora_image.build import Options, content_hash
from tests.container import debian

REPOSITORY = Path(__file__).parents[2]
COMMAND = REPOSITORY / "image-build/build"
NAME = "amphora.qcow2"
_DRIVE_PROGRAMS = ("/usr/bin/genisoimage", "/usr/sbin/mkfs.vfat", "/usr/bin/mcopy")
# Debian 13's emulator on any host: that of Debian 12 spoils the flags after a 16-byte compare and exchange, and the
# kernel or HAProxy dies of it sooner or later. The tests bring conntrack(8) along, which no amphora needs.
_PACKAGES = ("qemu-system-x86", "ovmf", "conntrack")
_INSTALL = """set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends --option=Dpkg::Options::=--force-unsafe-io "$@"
apt-get clean
rm -rf /var/lib/apt/lists
"""


def reason_against() -> str | None:
    """Return why this machine cannot build and boot the image, None when it can."""
    if (reason := debian.reason_against()) is not None:
        return reason
    if lacking := [*tools.missing(), *grub.missing_grub("amd64")]:
        return f"not installed: {', '.join(lacking)}; scripts/prepare image installs them"
    if lacking := [program for program in _DRIVE_PROGRAMS if not Path(program).exists()]:
        return f"not installed: {', '.join(lacking)}; scripts/prepare image installs them"
    return None


def kept() -> Path:
    """Return where images are, for a moment or longer."""
    debian.DIRECTORY.mkdir(parents=True, exist_ok=True)
    return debian.DIRECTORY


def built_image() -> Path:
    """Return the image of this checkout, a qcow2; never write into it.

    Raises:
        CannotBuild: with the end of the builder's output.
    """
    stamp = content_hash(Options())
    with debian.exclusive("image"):
        directory = debian.DIRECTORY / f"image-{stamp}"
        if debian.is_complete(directory, stamp):
            directory.touch()
            return directory / NAME
        debian.remove_old("image-*")
        partial = debian.DIRECTORY / "image.partial"
        debian.remove(partial)
        partial.mkdir()
        debian.check([str(COMMAND), "--output", str(partial / NAME)])
        debian.complete(partial, directory, stamp)
        return directory / NAME


def emulator_layer() -> Path:
    """Return a layer over `debian13_tree()` with QEMU and its firmware; kept, made in 10 s.

    Raises:
        CannotBuild: with the end of apt's output.
    """
    base = debian.debian13_tree()
    stamp = "\n".join((base.name, _INSTALL, *_PACKAGES))
    with debian.exclusive("emulator-layer"):
        layer = debian.DIRECTORY / f"emulator-layer-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
        if debian.is_complete(layer, stamp):
            return layer
        debian.remove_old("emulator-layer-*")
        work = debian.prepare(debian.DIRECTORY / f"{layer.name}.work")
        debian.chroot([base], work, ["sh", "-c", _INSTALL, "install", *_PACKAGES])
        debian.complete(work / "upper", layer, stamp)
        debian.remove(work)
        return layer
