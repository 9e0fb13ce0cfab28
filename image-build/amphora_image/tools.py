"""Runs the programs that make an image, each with the same clock, locale and time zone. Never a shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Debian package -> programs of it that a build runs.
PROGRAMS = {
    "debootstrap": ("debootstrap",),
    "mmdebstrap": ("mmdebstrap",),
    "sudo": ("sudo",),
    "kpartx": ("kpartx",),
    "qemu-utils": ("qemu-img",),
    "fdisk": ("sfdisk",),
    "e2fsprogs": ("mkfs.ext4", "debugfs"),
    "dosfstools": ("mkfs.vfat",),
    "mtools": ("mmd", "mcopy"),
    "grub-common": ("grub-mkimage",),
    "xz-utils": ("xz",),
    "python3-pip": ("pip3",),
}


class CannotBuild(Exception):
    """The image cannot be made here; the message says why."""


def run(argv: Sequence[str], *, epoch: int, stdin: str = "") -> str:
    """Run a program to its end and return its standard output.

    Args:
        argv: program and arguments.
        epoch: what every program takes for the current time, in seconds since 1970.
        stdin: all of its standard input.

    Raises:
        CannotBuild: it failed; with the end of its output.
    """
    environment = {"PATH": PATH, "LC_ALL": "C", "TZ": "UTC", "HOME": "/root", "PYTHONHASHSEED": "0"}
    environment |= {"SOURCE_DATE_EPOCH": str(epoch), "E2FSPROGS_FAKE_TIME": str(epoch)}
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        words = (done.stdout + done.stderr)[-2000:]
        raise CannotBuild(f"{' '.join(argv[:4])} ...: exit {done.returncode}\n{words}")
    return done.stdout


def missing() -> list[str]:
    """Return the Debian packages whose programs this machine lacks."""
    places = [Path(place) for place in [*PATH.split(":"), *os.environ.get("PATH", "").split(":")]]
    return [
        package
        for package, programs in PROGRAMS.items()
        if not all(any((place / program).exists() for place in places) for program in programs)
    ]
