"""A disk that refuses one file, for a test: what is written in its place first cannot be made."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.host.files import TEMPORARY_SUFFIX


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
