"""The one way files are written and removed: a power cut leaves the old content or the new, never half of it.

What only describes running processes need not outlive them: it is written whole as well, but nobody waits for the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from pathlib import Path

from amphora_agent.errors import HostFailure, failing_as

TEMPORARY_SUFFIX = ".agent-tmp"

# Inode, time of the last write in nanoseconds, size in bytes.
Identity = tuple[int, int, int]

_SHOWN_NAME = 100
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
    _replace(path, data, mode, is_durable=True)


def write_volatile(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` whole, without fsync: for what describes running processes, which a power cut ends as well.

    Readers see the old content or the new, also after a crash of the agent. After a power cut the file may be anything.

    Raises:
        HostFailure: the old content is still in place.
    """
    _replace(path, data, mode, is_durable=False)


def write_atomic_twice(first: Path, second: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace two files of one directory by the same data: first one, then the other, for the price of one.

    Raises:
        HostFailure: the second one has its old content still; the first one may be new.
    """
    _replace(first, data, mode, is_durable=False)
    temporary = _temporary(second)
    try:
        sync(first)
        temporary.hardlink_to(first)
        temporary.replace(second)
        sync(second.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise HostFailure(f"cannot write {second}", error.strerror or str(error)) from error


def create_durable(path: Path) -> None:
    """Create an empty file, if it is not there; it is found after a power cut.

    Raises:
        HostFailure: it cannot be made.
    """
    try:
        path.touch(mode=0o600)
        sync(path.parent)
    except OSError as error:
        raise HostFailure(f"cannot write {path}", error.strerror or str(error)) from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:_SHOWN_NAME]}.{os.getpid()}-{threading.get_ident()}{TEMPORARY_SUFFIX}")


def _replace(path: Path, data: bytes, mode: int, *, is_durable: bool) -> None:
    temporary = _temporary(path)
    try:
        with os.fdopen(os.open(temporary, _NEW_FILE, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if is_durable:
            sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise HostFailure(f"cannot write {path}", error.strerror or str(error)) from error


def write_if_changed(path: Path, data: bytes, mode: int = 0o600) -> bool:
    """Replace `path` as `write_atomic` does, unless it has this content and mode already; tell whether it was written.

    Raises:
        HostFailure: the old content is still in place.
    """
    # The mode first: one that another release wrote may be unreadable without more capabilities than ours.
    if _mode_of_file(path) == mode and read_optional(path) == data:
        return False
    write_atomic(path, data, mode)
    return True


def _mode_of_file(path: Path) -> int | None:
    """Return the permission bits of a regular file, None when there is none."""
    try:
        found = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostFailure(f"cannot read {path}", error.strerror or str(error)) from error
    return stat.S_IMODE(found) if stat.S_ISREG(found) else None


def rename_durable(source: Path, target: Path) -> None:
    """Rename a file within one directory; content and name survive a power cut, however it was written.

    Raises:
        HostFailure: nothing changed.
    """
    try:
        sync(source)
        source.replace(target)
        sync(target.parent)
    except OSError as error:
        raise HostFailure(f"cannot rename {source} to {target}", error.strerror or str(error)) from error


def sync(path: Path) -> None:
    """Flush a file's content, or a directory's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
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


def exists(path: Path) -> bool:
    """Tell whether there is something of this name; a link that leads nowhere is nothing.

    Raises:
        HostFailure: it cannot be told.
    """
    with failing_as(f"cannot look at {path}"):
        return path.exists()


def is_file(path: Path) -> bool:
    """Tell whether there is a regular file of this name; raises as `exists`."""
    with failing_as(f"cannot look at {path}"):
        return path.is_file()


def is_mount(path: Path) -> bool:
    """Tell whether another file system begins here; raises as `exists`."""
    with failing_as(f"cannot look at {path}"):
        return path.is_mount()


def matching(directory: Path, pattern: str) -> tuple[Path, ...]:
    """Return what matches a pattern below a directory, sorted; nothing where there is no directory. As `exists`."""
    with failing_as(f"cannot list {directory}"):
        return tuple(sorted(directory.glob(pattern)))


def is_directory_or_free(path: Path) -> bool:
    """Tell whether an absolute path is a directory, or could be made one."""
    return path.is_absolute() and (path.is_dir() or not os.path.lexists(path))


def is_executable(path: Path) -> bool:
    """Tell whether a path is a file that we may run."""
    return path.is_file() and os.access(path, os.X_OK)


def make_public_directory(path: Path) -> None:
    """Create `path`, or take it as it is, and let every user read what is in it, whatever the unit's umask says.

    Raises:
        HostFailure: as `make_directory`.
    """
    make_directory(path)
    try:
        path.chmod(0o755)
    except OSError as error:
        raise HostFailure(f"cannot open {path} to all", error.strerror or str(error)) from error


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


def read_named(path: Path) -> bytes | None:
    """Return the content of a file, or of all files in a directory, as a program that is given this name reads it.

    Symbolic links are followed. Of a directory, names come with the contents and hidden files and directories are left
    out, as HAProxy does with certificates.

    Returns: None when there is nothing that can be read to its end.

    Raises:
        HostFailure: it is there but cannot be read.
    """
    try:
        found = path.stat().st_mode
        if stat.S_ISREG(found):
            return path.read_bytes()
        if not stat.S_ISDIR(found):
            return None
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))  # noqa: PTH208 - names alone
        return b"".join(_described(path / name) for name in names)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise HostFailure(f"cannot read {path}", error.strerror or str(error)) from error


def _described(path: Path) -> bytes:
    if not path.is_file():
        return b""
    data = path.read_bytes()
    return b"%s\0%d\0%s" % (os.fsencode(path.name), len(data), data)


def link_durable(path: Path, other: Path) -> None:
    """Give a file a second name on the same disk, unless there is a file of that name; both survive a power cut.

    Raises:
        HostFailure: it has no second name.
    """
    try:
        with contextlib.suppress(FileExistsError):
            other.hardlink_to(path)
            sync(other.parent)
    except OSError as error:
        raise HostFailure(f"cannot link {path}", error.strerror or str(error)) from error


def age(path: Path) -> float | None:
    """Return the seconds since a file was written, None when there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return None


def move_away(path: Path, target: Path) -> None:
    """Rename to a place on the same disk, for good: nobody finds it under its old name after a power cut.

    Raises:
        HostFailure: it is where it was.
    """
    try:
        path.rename(target)
        sync(target.parent)
        sync(path.parent)
    except OSError as error:
        raise HostFailure(f"cannot move {path}", error.strerror or str(error)) from error


def identity(path: Path) -> Identity | None:
    """Return what differs once a file was replaced or written to, None when there is no file.

    Raises:
        HostFailure: it cannot be looked at.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostFailure(f"cannot read {path}", error.strerror or str(error)) from error
    return found.st_ino, found.st_mtime_ns, found.st_size


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
            path.unlink()
        sync(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostFailure(f"cannot remove {path}", error.strerror or str(error)) from error


def remove_volatile(path: Path) -> None:
    """Remove what `write_volatile` wrote, without waiting for the disk; nothing there is fine.

    Raises:
        HostFailure: it is still there.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HostFailure(f"cannot remove {path}", error.strerror or str(error)) from error


def remove_temporaries(directory: Path) -> None:
    """Remove what interrupted writes left anywhere below `directory`."""
    for path in directory.rglob(f".*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            path.unlink()


def remove_temporaries_of(path: Path) -> None:
    """Remove what interrupted writes of one file left beside it."""
    for temporary in path.parent.glob(f".{path.name[:_SHOWN_NAME]}.*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            temporary.unlink()
