"""The disk of a machine whose power went: the file system's journal is played back and its files are read, offline."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from amphora_image.build import DISK_MIB
from amphora_image.layout import Layout

_ROOT = Layout(mib=DISK_MIB, arch="amd64").root
# fsck(8): nothing was wrong, or it is mended.
_SOUND = {0, 1}


@dataclass(frozen=True, slots=True)
class DeadDisk:
    """A raw disk, its root file system replayed."""

    path: Path

    @property
    def _file_system(self) -> str:
        return f"{self.path}?offset={_ROOT.offset}"

    def replay(self) -> None:
        """Do what a kernel and fsck do at the next boot; AssertionError when that would want a human."""
        check = ["/sbin/e2fsck", "-p", self._file_system]
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        assert done.returncode in _SOUND, done.stdout + done.stderr

    def read(self, path: str) -> str:
        """Return a file's content; FileNotFoundError if there is none."""
        done = self._debugfs(f"cat {path}")
        if "not found" in done.stderr:
            raise FileNotFoundError(path)
        return done.stdout

    def names(self, directory: str) -> set[str]:
        """Return what is in a directory."""
        lines = self._debugfs(f"ls -p {directory}").stdout.splitlines()
        fields = (line.split("/") for line in lines if line.startswith("/"))
        return {field[5] for field in fields} - {".", "..", ""}

    def _debugfs(self, request: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/sbin/debugfs", "-R", request, self._file_system], capture_output=True, text=True, check=True
        )
