"""The PCI buses: asks the kernel to look for devices whose hot-plug event was missed."""

from __future__ import annotations

import logging
from pathlib import Path

LOG = logging.getLogger(__name__)

_RESCAN = Path("/sys/bus/pci/rescan")


def rescan() -> None:
    """Have all buses searched; a machine without PCI, or a container, is passed over."""
    try:
        _RESCAN.write_text("1", encoding="ascii")
    except OSError as error:
        LOG.debug("cannot rescan the PCI buses: %s", error)
