"""A command in a pseudo-terminal: what it shows, what is typed, how it ends."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from testbed.waiting import wait_for

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(slots=True)
class Terminal:
    """A command in a pseudo-terminal of its own; a context manager."""

    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)
    screen: bytes = field(init=False, default=b"")
    _master: int = field(init=False)

    def __enter__(self) -> Self:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", **self.environment}
        # A session whose terminal it is, so that Ctrl-C is one; a job in the background would have it ignored.
        command = ["env", "--default-signal=INT", "setsid", "--ctty", *self.words]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def shows(self, text: str) -> bool:
        """Tell whether a text has been shown by now."""
        while select.select([self._master], [], [], 0)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                break
            if not data:
                break
            self.screen += data
        return text in COLOUR.sub("", self.screen.decode("utf-8", "replace"))

    def until(self, text: str) -> None:
        """Wait until a text is shown."""
        wait_for(lambda: self.shows(text), lambda: f"{text!r} in {self.screen[-3000:]!r}")

    def ended(self) -> int:
        """Return the exit code, with all that was shown before."""
        wait_for(lambda: self.shows("\0") or self.process.poll() is not None, "the command ends")
        self.shows("\0")
        return self.process.returncode
