"""The one way files are written and removed: a power cut leaves the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from amphora_agent.errors import HostFailure

TEMPORARY_SUFFIX = ".agent-tmp"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`: temporary file in the same directory, fsync, rename, fsync of the directory.

    Args:
        path: its directory exists.
        data: whole new content.
        mode: permission bits, set before the first byte is written and regardless of the umask.

    Raises:
        HostFailure: the old content is still in place.
    """
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}-{threading.get_ident()}{TEMPORARY_SUFFIX}")
    try:
        with os.fdopen(os.open(temporary, _NEW_FILE, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise HostFailure(f"cannot write {path}", error.strerror or str(error)) from error


def rename_durable(source: Path, target: Path) -> None:
    """Rename within one directory and make the rename survive a power cut.

    Raises:
        HostFailure: nothing changed.
    """
    try:
        source.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        raise HostFailure(f"cannot rename {source} to {target}", error.strerror or str(error)) from error


def sync_directory(directory: Path) -> None:
    """Flush a directory's entries to disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: Path, mode: int = 0o755) -> None:
    """Create `path` and its parents; an existing one is left as it is.

    Raises:
        HostFailure: it cannot be made, or something else has the name.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise HostFailure(f"cannot create {path}", error.strerror or str(error)) from error


def read_optional(path: Path) -> bytes | None:
    """Return the content of a regular file, None when there is none. Symbolic links are not followed.

    Raises:
        HostFailure: it is there but cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostFailure(f"cannot read {path}", error.strerror or str(error)) from error


def remove(path: Path) -> None:
    """Remove a file, or a directory with all it holds; nothing there is fine.

    Raises:
        HostFailure: something is still there.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            import shutil  # noqa: PLC0415 - the heartbeat never removes a tree

            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        sync_directory(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostFailure(f"cannot remove {path}", error.strerror or str(error)) from error


def remove_temporaries(directory: Path) -> None:
    """Remove what interrupted writes left anywhere below `directory`."""
    for path in directory.rglob(f".*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            path.unlink()
