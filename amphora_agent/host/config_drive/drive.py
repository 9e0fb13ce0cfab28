"""What lies on a config drive, as bytes. Never looks into them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amphora_agent.errors import HostFailure

# A hundred times what Nova lets through; an endless file must not take the memory of the machine.
LARGEST_FILE = 16 << 20


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive that is mounted, or a directory laid out like one."""

    directory: Path

    def read(self, name: str) -> bytes | None:
        """Return a file of `openstack/latest`, None when the drive has none of that name.

        Raises:
            HostFailure: it is there and cannot be read.
        """
        return _read(self.directory / "openstack/latest" / name)

    def read_content(self, content_path: str) -> bytes:
        """Return a file that meta_data.json names by `/content/NAME`.

        Raises:
            HostFailure: it is not there or cannot be read.
        """
        path = self.directory / "openstack" / content_path.lstrip("/")
        data = _read(path)
        if data is None:
            raise HostFailure(f"cannot read {content_path} of the config drive", "it is not there")
        return data


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostFailure(f"cannot read {path.name} of the config drive", error.strerror or str(error)) from error
    if len(data) > LARGEST_FILE:
        raise HostFailure(f"cannot read {path.name} of the config drive", f"it has more than {LARGEST_FILE} bytes")
    return data
