"""Measure images: size, memory in use after boot, and the boot until the agent answers over mutual TLS, emulated.

    PYTHONPATH=image-build python -m bench.image                          # the default image, three boots
    PYTHONPATH=image-build python -m bench.image --cloud-init --boots 1

Prints a row for the table of docs/image.md. Options that this does not know are `image-build/build`'s. Beside the time,
which depends on what else the machine does, stands the emulator's CPU time, which hardly does.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.image import built_image
from tests.image.emulator import Hardware
from tests.image.machine import VirtualMachine
from tests.image.memory import MEMORY_MIB, TELL, used_mib


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One boot: seconds and CPU seconds of the emulator until the first answer, and MiB in use a while later."""

    seconds: float
    cpu: float
    used: float


def main() -> int:
    """Build, boot, print."""
    parser = argparse.ArgumentParser(prog="bench.image", description="measure an image")
    parser.add_argument("--boots", type=int, default=3)
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory(dir=built_image.kept()) as directory:
        image = Path(directory) / "image.qcow2"
        subprocess.run([str(built_image.COMMAND), *options, "--output", str(image)], check=True)
        boots = [boot(image) for _ in range(arguments.boots)]
        size = image.stat().st_size / 1e6
    used, seconds, cpu = (statistics.median(getattr(one, name) for one in boots) for name in ("used", "seconds", "cpu"))
    name = " ".join(options) or "default"
    print(f"| {name} | {size:.1f} MB | {used:.0f} MiB | {seconds:.1f} s | {cpu:.1f} s |")
    return 0


def boot(image: Path) -> Boot:
    """Boot the image once in a machine of 512 MiB and one CPU."""
    hardware = Hardware(memory_mib=MEMORY_MIB, image=image)
    with VirtualMachine(hardware=hardware, has_kit=False, commands=(TELL,)) as machine:
        machine.boot()
        cpu = machine.cpu_seconds()
        return Boot(seconds=machine.boot_seconds, cpu=cpu, used=used_mib(machine))


if __name__ == "__main__":
    sys.exit(main())
