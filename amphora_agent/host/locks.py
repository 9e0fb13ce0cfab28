"""Locks between processes: the agent and `amphora-interface` change the same namespace."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.errors import HostFailure
from amphora_agent.host.deadline import Deadline

_POLL = 0.02


@contextlib.contextmanager
def exclusive(directory: Path, *, timeout: float) -> Iterator[None]:
    """Hold the one lock of `directory`; it ends with the process that holds it, so a crash leaves none behind.

    Args:
        directory: exists; nothing is written to it.
        timeout: seconds to wait for another holder.

    Raises:
        HostFailure: it is not to be had.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostFailure(f"cannot lock {directory}", error.strerror or str(error)) from error
    try:
        if not any(_try_lock(handle) for _ in Deadline.after(timeout).attempts(_POLL)):
            raise HostFailure(f"cannot lock {directory}", f"another process held it for {timeout:g} s")
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
