"""Network namespaces: made like `ip netns add` makes them, and entered by threads that end. Never forks.

Decision: a short-lived thread enters the namespace by setns(2), works there and ends. No long-lived thread ever
changes its namespace, and no helper process is needed per operation, so nothing can leak. Costs 0.1 ms per entry.

Decision: the thread is started without `threading`, whose start waits without end for a thread that met the lack of
memory before its first line. All changes wait for the one that enters a namespace.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from amphora_agent.core.network.sysctls import CONNTRACK_SIZES, NAMESPACE_SYSCTLS, REQUIRED_SYSCTLS, parse_drop_in
from amphora_agent.errors import AgentError, HostFailure, failing_as, lacks_resources
from amphora_agent.host import commands
from amphora_agent.host.supervisor import systemd
from amphora_agent.host.threads import in_thread

LOG = logging.getLogger(__name__)
Result = TypeVar("Result")

# Source: sched.h, sys/mount.h, linux/nsfs.h, net/if.h.
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_NS_GET_NSTYPE = 0xB703
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_OWN_NAMESPACE = "/proc/thread-self/ns/net"
_DROP_IN_DIRECTORIES = ("/usr/lib/sysctl.d", "/usr/local/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d")
_LIBC = ctypes.CDLL(None, use_errno=True)


def ensure(path: Path) -> None:
    """Make the network namespace named by `path` unless it exists; a new one gets its settings and a working `lo`.

    A plain file left at the path, by a crash or a copy, is mounted over.

    Raises:
        HostFailure: it cannot be made.
    """
    if exists(path):
        return
    if systemd.is_booted() and _has_own_mounts():
        systemd.make_namespace(path)  # what the agent's unit mounts itself, no other unit would see
    else:
        _make(path)
    LOG.info("created the network namespace netns=%s", path)
    _load_modules()
    apply_settings(path)


def _has_own_mounts() -> bool:
    """Tell whether this process sees other mounts than the machine; one that may not look is in a sandbox."""
    try:
        return not Path("/proc/self/ns/mnt").samefile("/proc/1/ns/mnt")
    except OSError:
        return True


def _make(path: Path) -> None:
    with _directory_of_namespaces(path.parent):
        if exists(path):
            return
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise HostFailure(f"cannot create {path}", error.strerror or str(error)) from error
        in_thread(lambda: _create(path))


def exists(path: Path) -> bool:
    """Tell whether `path` is a mounted network namespace, and not just a file of that name.

    Raises:
        HostFailure: it cannot be told, for want of a descriptor or of memory.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if lacks_resources(error):
            raise HostFailure(f"cannot open {path}", error.strerror or str(error)) from error
        return False
    try:
        return fcntl.ioctl(handle, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False
    finally:
        os.close(handle)


def is_current(path: Path) -> bool:
    """Tell whether the calling thread is in the namespace already."""
    try:
        return path.samefile(_OWN_NAMESPACE)
    except OSError:
        return False


def membership(path: Path) -> Callable[[int], bool]:
    """Return what tells whether a process is in the namespace: none is where there is no namespace.

    Raises:
        HostFailure: it cannot be told.
    """
    network = inside(path, lambda: _network("thread-self")) if exists(path) else None
    return lambda pid: network is not None and _network(pid) == network


def is_beside(pid: int) -> bool:
    """Tell whether a process is in the namespace of the calling thread."""
    network = _network(pid)
    return network is not None and network == _network("thread-self")


def _network(process: int | str) -> int | None:
    """Return a number that the processes of one network namespace share, None when there is no such process.

    It is the inode of one of the files in /proc/PID/net, which each namespace has for its own and everybody may see.
    /proc/PID/ns/net is for those with every capability the process has, and the agent's unit leaves some out.
    """
    with failing_as("cannot tell a process's network namespace"):
        try:
            return Path(f"/proc/{process}/net/dev").stat().st_ino
        except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
            return None


def identity(path: Path) -> str:
    """Return what tells this namespace from any other as long as a process is in it; empty when there is none."""
    try:
        return str(path.stat().st_ino)
    except OSError:
        return ""


def inside(path: Path, function: Callable[[], Result]) -> Result:
    """Call `function` in the namespace and return its result; processes it starts are in the namespace too.

    Raises:
        HostFailure: there is no such namespace. Whatever `function` raises is raised here.
    """

    def enter_and_call() -> Result:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise HostFailure(f"cannot open {path}", error.strerror or str(error)) from error
        try:
            _check(_LIBC.setns(handle, _CLONE_NEWNET), f"cannot enter {path}")
        finally:
            os.close(handle)
        return function()

    return in_thread(enter_and_call)


def apply_settings(path: Path) -> None:
    """Set the sysctls of the contract and of the machine's drop-ins inside, the conntrack sizes outside, `lo` up.

    What this kernel does not have, or does not let us write, is passed over.
    """
    for name, value in CONNTRACK_SIZES.items():
        write_sysctl(name, value)
    drop_ins = dict(_read_drop_ins())

    def settle() -> None:
        for name, value in (NAMESPACE_SYSCTLS | drop_ins | REQUIRED_SYSCTLS).items():
            write_sysctl(name, value)
        _bring_loopback_up()

    inside(path, settle)


def write_sysctl(name: str, value: str) -> bool:
    """Set one sysctl of the calling thread's namespace; return whether it has the value now.

    Args:
        name: path below /proc/sys, components separated by `/`.
        value: text as sysctl(8) takes it.
    """
    file = Path("/proc/sys", name)
    try:
        if file.read_text(encoding="ascii").split() == value.split():
            return True
        file.write_text(value, encoding="ascii")
    except (OSError, ValueError) as error:
        LOG.debug("cannot set a sysctl name=%s: %s", name, error)
        return False
    return True


def read_sysctl(name: str) -> str | None:
    """Return a sysctl of the calling thread's namespace, None when there is none."""
    try:
        return Path("/proc/sys", name).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _create(path: Path) -> None:
    _check(_LIBC.unshare(_CLONE_NEWNET), "cannot create a network namespace")
    _mount(_OWN_NAMESPACE, path, _MS_BIND)


@contextlib.contextmanager
def _directory_of_namespaces(directory: Path) -> Iterator[None]:
    """Have a directory whose mounts spread to other mount namespaces, locked as `ip netns add` locks it."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostFailure(f"cannot create {directory}", error.strerror or str(error)) from error
    try:
        with failing_as(f"cannot lock {directory}"):
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            _mount("", directory, _MS_SHARED | _MS_REC)
        except HostFailure:  # not a mount point yet
            _mount(str(directory), directory, _MS_BIND | _MS_REC)
            _mount("", directory, _MS_SHARED | _MS_REC)
        yield
    finally:
        os.close(handle)


def _mount(source: str, target: Path, flags: int) -> None:
    result = _LIBC.mount(source.encode(), bytes(target), b"none", ctypes.c_ulong(flags), None)
    _check(result, f"cannot mount {target}")


def _check(result: int, message: str) -> None:
    if result != 0:
        raise HostFailure(message, os.strerror(ctypes.get_errno()))


def _load_modules() -> None:
    if Path("/proc/sys/net/ipv4/vs").exists():
        return
    try:
        commands.run(["modprobe", "-a", "-q", "ip_vs", "nf_conntrack"], timeout=10)
    except AgentError as error:
        LOG.info("cannot load kernel modules: %s", error.detail)


def _read_drop_ins() -> Iterator[tuple[str, str]]:
    """Yield sysctls of the machine's drop-ins in sysctl.d(5)'s order: by file name, /etc masks /run masks /usr."""
    files: dict[str, Path] = {}
    for directory in _DROP_IN_DIRECTORIES:
        with contextlib.suppress(OSError):
            files |= {file.name: file for file in Path(directory).iterdir() if file.suffix == ".conf"}
    ordered = [files[name] for name in sorted(files)]
    for file in (*ordered, Path("/etc/sysctl.conf")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            yield from parse_drop_in(file.read_text(encoding="utf-8"))


def _bring_loopback_up() -> None:
    with (
        failing_as("cannot bring lo up"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control,
    ):
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        if not flags & _IFF_UP:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
