"""The config drive as a block device: waits for it, mounts it to read, lets it go. Never writes to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.errors import AgentError
from amphora_agent.host import commands, files

# Nova's label; what makes vfat may have written it in capitals.
LABELS = ("config-2", "CONFIG-2")
BY_LABEL = Path("/dev/disk/by-label")
_STEP = 0.1


def wait_for_device(seconds: float, by_label: Path = BY_LABEL) -> Path | None:
    """Return the device once udev has found it, None when it has not within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        for label in LABELS:
            if (by_label / label).exists():
                return by_label / label
        if time.monotonic() >= deadline:
            return None
        time.sleep(_STEP)


@contextlib.contextmanager
def mounted(device: Path, directory: Path) -> Iterator[Path]:
    """Mount the device read-only while the block runs, at a directory that only root may look into.

    Raises:
        HostFailure: it cannot be mounted; the detail has the words of mount(8).
    """
    files.make_directory(directory, 0o700)
    commands.check(["mount", "-o", "ro,nosuid,nodev,noexec", str(device), str(directory)])
    try:
        yield directory
    finally:
        # In a mount namespace of this process alone it goes with the process anyway.
        with contextlib.suppress(AgentError):
            commands.check(["umount", str(directory)])
