"""What files say, kept for as long as they are the same files: large ones are read at every change and every look."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from amphora_agent.host import files

ValueT = TypeVar("ValueT")
# Load balancers on one amphora are few; what is asked for least is read again.
_KEPT = 8


class ParsedFiles:
    """The values of the files that were read last. Used by any thread; what writes a file says so by `forget`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Path, tuple[files.Identity, object]] = {}

    def read(self, path: Path, decode: Callable[[bytes | None], ValueT]) -> ValueT:
        """Return what a file says.

        Args:
            path: the file.
            decode: from its content, None without one, to a value that nobody changes; the same one for the same file.

        Raises:
            HostFailure: it is there but cannot be read.
        """
        identity = files.identity(path)
        with self._lock:
            known = self._values.pop(path, None)
            if known is not None and known[0] == identity:
                self._values[path] = known
                return known[1]  # type: ignore[return-value]  # of the same file, so of the same `decode`
        value = decode(files.read_optional(path))
        with self._lock:
            if identity is not None:
                self._values[path] = identity, value
            for path_of_old in list(self._values)[:-_KEPT]:
                del self._values[path_of_old]
        return value

    def forget(self, path: Path) -> None:
        """Have a file read again, which has been written."""
        with self._lock:
            self._values.pop(path, None)
