"""A disk that refuses one file, for a test: what is written in its place first cannot be made."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from amphora_agent.host.files import TEMPORARY_SUFFIX

Obstacle = Callable[[Path], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def refused(path: Path) -> Iterator[None]:
    """Have every write of a file by this thread fail for the length of the block; reading and removing it work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    obstacle = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{TEMPORARY_SUFFIX}")
    obstacle.mkdir()
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            obstacle.rmdir()


@contextlib.contextmanager
def unmade(path: Path) -> Iterator[None]:
    """Have a file that is not there fail to be created for the length of the block; removing it works."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.parent / "nowhere" / "file")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
