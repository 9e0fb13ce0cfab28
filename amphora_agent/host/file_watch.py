"""Notices that a file may have changed, however it was replaced, without looking at it. Reads none of its content."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from pathlib import Path

LOG = logging.getLogger(__name__)

# Source: sys/inotify.h.
_CLOEXEC, _NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_CLOSE_WRITE, _MOVED_TO = 0x8, 0x80
_READ_SIZE = 4096


class FileWatch:
    """Watches the directory of a file, since a file that is replaced is another one.

    Attributes:
        descriptor: readable when something in the directory has changed; None when the kernel can watch no more.
    """

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        handle = libc.inotify_init1(_CLOEXEC | _NONBLOCK)
        if handle >= 0 and libc.inotify_add_watch(handle, bytes(path.resolve().parent), _CLOSE_WRITE | _MOVED_TO) < 0:
            os.close(handle)
            handle = -1
        if handle < 0:
            LOG.warning("cannot watch file=%s: %s", path, os.strerror(ctypes.get_errno()))
        self.descriptor: int | None = handle if handle >= 0 else None

    def clear(self) -> None:
        """Take what was noticed, so that the next change is noticed again."""
        with contextlib.suppress(BlockingIOError):
            while self.descriptor is not None and os.read(self.descriptor, _READ_SIZE):
                pass
