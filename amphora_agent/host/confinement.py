"""Runs a program with no more than it needs: read some files, print, end. Decides nothing about what it says.

Decision: a short-lived thread gives up what it has - network, mounts, files, privileges - and starts the program, which
inherits all of that; no code of ours runs between fork and exec, and nothing is left when both have ended. What this
kernel, or the sandbox of our own unit, does not permit is left out and said in the log, once:

* a network namespace of its own, with nothing in it;
* a mount namespace of its own, where copies of the files it may read lie in memory, readable by everybody in there;
  that lets it run as `nobody`, to whom all other secrets of the machine are closed;
* Landlock: reads its files, libraries and what every program reads; writes nothing, executes only itself;
* no capability and no way to gain one; bounds on CPU time, memory and time.

Where the mount namespace is not permitted, or nobody could not execute the program, it stays root, for root's files,
but without any capability. A program that is a script may start anything, so Landlock is left out. Costs 4 ms.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import pwd
import shutil
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.errors import HostFailure
from amphora_agent.host.commands import Completed, Person, run
from amphora_agent.host.threads import in_thread

LOG = logging.getLogger(__name__)

# Source: sched.h, sys/mount.h, sys/prctl.h, linux/capability.h, linux/landlock.h.
_CLONE_NEWNS, _CLONE_NEWNET = 0x20000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_SLAVE = 0x2, 0x4, 0x8, 0x4000, 0x80000
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION_FLAG, _LANDLOCK_PATH = 1, 1
_EXECUTE, _READ_FILE, _READ_DIR = 0x1, 0x4, 0x8
# All rights on files there are at each version of the interface, from the first on.
_LANDLOCK_RIGHTS = (0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
_LANDLOCK_NETWORK_SINCE, _LANDLOCK_SCOPES_SINCE = 4, 6
_TCP, _SIGNALS_AND_SOCKETS = 0x3, 0x3
_SMALLEST_MEMORY = 4 * 1024**3
# HAProxy 3.0 keeps its first messages in a file in memory, which counts.
_LARGEST_FILE = 64 * 1024**2
_KILL_MARGIN = 5.0
# What programs of the machine read, secrets left out: libraries, names of users and hosts, OpenSSL's settings and CAs.
_COMMON = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/alternatives",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/tls/openssl.d",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust",
    "/etc/crypto-policies",
)
_CAP_SETGID, _CAP_SETUID = 6, 7
# Directories in directories that are looked into.
_DEEPEST = 3
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds of time and of CPU time, bytes of address space."""

    time: float
    cpu: int
    memory: int


def run_confined(argv: Sequence[str], readable: Iterable[Path], limits: Limits) -> Completed:
    """Run a program that may read `readable` and little else, and return how it ended.

    Args:
        argv: program and arguments.
        readable: files, and directories whose regular files count; what is not there is passed over.
        limits: at their end it is killed.

    Raises:
        HostFailure: it could not be started, or did not end in time.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise HostFailure(f"cannot run {argv[0]}", "no such program")
    wrapped, programs = _within_limits([program, *argv[1:]], limits)
    try:
        contents = dict(_contents(readable))
        return in_thread(lambda: _run(wrapped, programs, contents, limits))
    except OSError as error:
        raise HostFailure(f"cannot confine {argv[0]}", str(error)) from error


def _run(argv: Sequence[str], programs: Sequence[str], contents: dict[Path, bytes | None], limits: Limits) -> Completed:
    person, gained = _give_up_privileges(contents, programs)
    _say_once(gained)
    return run(argv, timeout=limits.time + _KILL_MARGIN, person=person)


def _within_limits(argv: list[str], limits: Limits) -> tuple[list[str], tuple[str, ...]]:
    """Return the command under its limits, and the programs it is made of.

    The programs that set them are used because a root without capabilities can neither bound nor kill another user's
    process.
    """
    memory = max(limits.memory, _SMALLEST_MEMORY)
    prlimit, timeout = shutil.which("prlimit"), shutil.which("timeout")
    programs = [argv[0]]
    if prlimit is not None:
        argv = [prlimit, f"--cpu={limits.cpu}", f"--as={memory}", "--core=0", f"--fsize={_LARGEST_FILE}", *argv]
        programs.append(prlimit)
    if timeout is not None:
        argv = [timeout, "--signal=KILL", f"{limits.time:g}", *argv]
        programs.append(timeout)
    return argv, tuple(programs)


def _give_up_privileges(
    contents: dict[Path, bytes | None], programs: Sequence[str]
) -> tuple[Person | None, frozenset[str]]:
    """Give up, in this thread, all that can be given up; return who is to run the program, and what was achieved."""
    gained = set()
    person = None
    if _LIBC.unshare(_CLONE_NEWNET) == 0:
        gained.add("no network")
    is_script = any(_is_script(program) for program in programs)
    if _may_change_user() and all(map(_is_open, programs)) and _has_own_mounts():
        _veil(contents)
        person = _nobody()
        gained.add("as nobody")
    if not is_script and _restrict_files((*_COMMON, *map(str, contents)), programs):
        gained.add("Landlock")
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        gained.add("no new privileges")
    if person is None and _drop_capabilities():
        gained.add("no capabilities")
    return person, frozenset(gained)


def _contents(readable: Iterable[Path], depth: int = 0) -> Iterator[tuple[Path, bytes | None]]:
    """Yield the regular files among `readable` with what they hold, and its directories (None) with theirs.

    A link leads nowhere.
    """
    for path in readable:
        if path.is_dir() and not path.is_symlink():
            yield path.absolute(), None
            if depth < _DEEPEST:
                yield from _contents(sorted(path.iterdir()), depth + 1)
            continue
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        with os.fdopen(handle, "rb") as source:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                yield path.absolute(), source.read()


def _may_change_user() -> bool:
    """Tell whether there is a nobody, and the capabilities to become it."""
    data = ctypes.create_string_buffer(24)
    if _LIBC.capget(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data) != 0:
        return False
    effective: int = struct.unpack_from("=I", data)[0]
    wanted = 1 << _CAP_SETGID | 1 << _CAP_SETUID
    return effective & wanted == wanted and _nobody() is not None


def _has_own_mounts() -> bool:
    """Give this thread mounts of its own, of which the machine sees none; tell whether it has them."""
    return bool(
        _LIBC.unshare(_CLONE_NEWNS) == 0
        and _LIBC.mount(b"none", b"/", b"none", ctypes.c_ulong(_MS_REC | _MS_SLAVE), None) == 0
    )


def _veil(contents: dict[Path, bytes | None]) -> None:
    """Lay copies of the files, open to everybody, over their directories; the mounts are this thread's own.

    Raises:
        OSError: the memory for them is missing.
    """
    places = {_first_closed(path) for path in contents}
    highest = [place for place in places if places.isdisjoint(place.parents)]
    for place in highest:
        flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        if _LIBC.mount(b"tmpfs", bytes(place), b"tmpfs", flags, b"mode=0755") != 0:
            raise OSError(ctypes.get_errno(), f"cannot mount on {place}")
    for path, data in contents.items():
        if data is None:
            _make_open(path)
            continue
        _make_open(path.parent)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        with os.fdopen(handle, "wb") as target:
            target.write(data)
            os.fchmod(handle, 0o444)


def _first_closed(path: Path) -> Path:
    """Return the first directory on the way to a file that is closed to others, else the file's own."""
    for directory in reversed(path.parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return path.parent


def _make_open(directory: Path) -> None:
    """Make a directory, and those above it that are missing, so that everybody may enter."""
    if not directory.exists():
        _make_open(directory.parent)
        directory.mkdir()
        directory.chmod(0o755)


@functools.cache
def _nobody() -> Person | None:
    """Return the user that owns nothing, None where there is none."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return None
    return Person(uid=entry.pw_uid, gid=entry.pw_gid)


def _restrict_files(readable: Sequence[str], programs: Sequence[str]) -> bool:
    """Let this thread and its children read these files and execute these programs; tell whether Landlock can."""
    version = _LIBC.syscall(_SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG)
    if version < 1:
        return False
    handled = _LANDLOCK_RIGHTS[min(version, len(_LANDLOCK_RIGHTS)) - 1]
    network = _TCP if version >= _LANDLOCK_NETWORK_SINCE else 0
    scopes = _SIGNALS_AND_SOCKETS if version >= _LANDLOCK_SCOPES_SINCE else 0
    fields = 1 + (version >= _LANDLOCK_NETWORK_SINCE) + (version >= _LANDLOCK_SCOPES_SINCE)
    attributes = struct.pack("=3Q", handled, network, scopes)[: 8 * fields]
    rules = _LIBC.syscall(_SYS_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            _permit(rules, path, _READ_FILE | _READ_DIR)
        for path in (*programs, *_loaders()):
            _permit(rules, path, _READ_FILE | _EXECUTE)
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(_LIBC.syscall(_SYS_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _permit(rules: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= ~_READ_DIR
        rule = struct.pack("=Qi", rights, handle)
        _LIBC.syscall(_SYS_LANDLOCK_ADD, rules, _LANDLOCK_PATH, rule, 0)
    finally:
        os.close(handle)


def _loaders() -> tuple[str, ...]:
    """Return the programs that load programs: the kernel executes them for each that is dynamically linked."""
    return tuple(str(path) for place in ("/lib", "/lib64") for path in Path(place).glob("ld-*"))


def _is_open(program: str) -> bool:
    """Tell whether everybody may execute a program."""
    path = Path(program).resolve()
    wanted = stat.S_IXOTH | stat.S_IROTH
    directories = {*Path(program).absolute().parents, *path.parents}
    return path.stat().st_mode & wanted == wanted and all(
        directory.stat().st_mode & stat.S_IXOTH for directory in directories
    )


def _is_script(program: str) -> bool:
    try:
        with Path(program).open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _drop_capabilities() -> bool:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    return bool(_LIBC.capset(header, bytes(24)) == 0)


@functools.cache
def _say_once(gained: frozenset[str]) -> None:
    LOG.info("checks of configurations run confined: %s", ", ".join(sorted(gained)) or "not at all")
