"""The disk of a machine whose power went: its root file system, taken out, its journal played back, its files read."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from amphora_image.build import DISK_MIB
from amphora_image.layout import SECTOR, Layout

_ROOT = Layout(mib=DISK_MIB, arch="amd64").root
# fsck(8): nothing was wrong, or it is mended.
_SOUND = {0, 1}


@dataclass(frozen=True, slots=True)
class DeadDisk:
    """A file that holds the root file system alone: e2fsck forgets an offset when it has played the journal back."""

    path: Path

    @staticmethod
    def take_out(disk: Path, target: Path) -> DeadDisk:
        """Copy the root file system of a qcow2 into a file of its own."""
        part = f"driver=raw,offset={_ROOT.offset},size={_ROOT.sectors * SECTOR}"
        source = f"{part},file.driver=qcow2,file.file.driver=file,file.file.filename={disk}"
        subprocess.run(["qemu-img", "convert", "--image-opts", source, "-O", "raw", str(target)], check=True)
        return DeadDisk(target)

    def replay(self) -> None:
        """Do what a kernel and fsck do at the next boot; AssertionError when that would want a human."""
        check = ["/sbin/e2fsck", "-p", str(self.path)]
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
            ["/sbin/debugfs", "-R", request, str(self.path)], capture_output=True, text=True, check=True
        )
