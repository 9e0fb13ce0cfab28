"""The memory that a machine has in use after its boot, told on its console: no program of the tests runs inside."""

from __future__ import annotations

import re

from tests.image.machine import VirtualMachine

MEMORY_MIB = 512
# For `VirtualMachine.commands`. A while after the boot: what it needed for starting is given back.
TELL = "systemd-run --on-active=15 --property=StandardOutput=tty --property=TTYPath=/dev/ttyS0 free --kibi"
_TOLD_SECONDS = 300.0
# The figure of free(1): what is not available.
_USED = re.compile(r"^Mem: +\d+ +(\d+)", re.MULTILINE)


def used_mib(machine: VirtualMachine) -> float:
    """Wait until the machine has told it, and return the memory in use in MiB."""
    machine.wait_for(lambda: _USED.search(machine.console), _TOLD_SECONDS, "the memory in use")
    return int(_USED.findall(machine.console)[0]) / 1024
