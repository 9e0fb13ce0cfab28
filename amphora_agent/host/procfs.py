"""What /proc says of a process. Never signals one; a process that is gone is no error."""

from __future__ import annotations

import itertools
import os
import re
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from amphora_agent.errors import HostFailure

PROC = Path("/proc")
COMM_LENGTH = 15
PID_LENGTH = 10
EXEC_ATTEMPTS = 20
EXEC_PAUSE = 0.001
# Unit of a process's start.
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

_AFTER_COMM_STATE = 0
_AFTER_COMM_PARENT = 1
_DEAD = (b"Z", b"X")
_AFTER_COMM_START = 19


def running_pid(pid_file: Path, executable_name: str, config: Path) -> int | None:
    """Return the pid in `pid_file` while the named program runs under it with this configuration.

    Return None for a missing or garbled file, a zombie, or a pid now held by another process, the same program with
    another configuration included.

    Args:
        pid_file: written by the program itself.
        executable_name: file name of the program, without directory.
        config: file an argument of the program ends with, as in `-f FILE`, `-fFILE` and `--use-file=FILE`.
    """
    pid = read_pid(pid_file)
    if pid is None or not is_program(pid, executable_name):
        return None
    return pid if any(part.endswith(str(config)) for part in command_line(pid)) else None


def read_pid(pid_file: Path) -> int | None:
    """Return the pid in the first line of a file, None when there is none."""
    try:
        with pid_file.open("rb") as file:
            text = file.readline(PID_LENGTH * 2).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and len(text) <= PID_LENGTH and int(text) > 0 else None


def is_program(pid: int, executable_name: str) -> bool:
    """Tell whether a living process runs the named program.

    The name is compared with the kernel's (the first 15 bytes; a program may change it) and with the file that
    runs (readable for the process's owner only; a replaced one is called `... (deleted)`).
    """
    stat = _stat(pid)
    if stat is None:
        return False
    comm, fields = stat
    if fields[_AFTER_COMM_STATE] in _DEAD:
        return False
    if comm == executable_name.encode()[:COMM_LENGTH]:
        return True
    try:
        executable = (PROC / str(pid) / "exe").readlink()
    except OSError:
        return False
    return executable.name.removesuffix(" (deleted)") == executable_name


def reads_config(pid: int, config: Path) -> bool:
    """Tell whether a living process was started with `-f` and this file, whatever the program's file is called."""
    return (b"-f", os.fsencode(config)) in itertools.pairwise(os.fsencode(part) for part in command_line(pid))


def pids() -> tuple[int, ...]:
    """Return every process there is at this moment.

    Raises:
        HostFailure: they cannot be listed, so that nothing may be concluded from who is missing.
    """
    try:
        return tuple(int(name) for name in os.listdir(PROC) if name.isascii() and name.isdigit())  # noqa: PTH208
    except OSError as error:
        raise HostFailure("cannot list the processes", error.strerror or str(error)) from error


def parent_pid(pid: int) -> int | None:
    """Return the parent of a process, None when there is no such process."""
    stat = _stat(pid)
    return None if stat is None else int(stat[1][_AFTER_COMM_PARENT])


def systemd_unit(pid: int) -> str | None:
    """Return the systemd service whose control group a process is in, None when it is in none.

    Source: cgroups(7), /proc/pid/cgroup.
    """
    try:
        lines = (PROC / str(pid) / "cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    names = (line.rpartition("/")[2] for line in lines)
    return next((name for name in names if name.endswith(".service")), None)


def command_line(pid: int) -> list[str]:
    """Return the program and its arguments; empty when there is no such process, or only its zombie.

    Decision: a process that executes another program, as HAProxy's master does at each reload, has an empty command
    line for some microseconds. It is asked again, or it would be taken for one that does not run.
    """
    for _ in range(EXEC_ATTEMPTS):
        try:
            data = (PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return []
        if data or process_start_time(pid) is None:
            break
        time.sleep(EXEC_PAUSE)
    return [os.fsdecode(part) for part in data.split(b"\0")[:-1]]


def process_start_time(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; with the pid it names the process for good.

    None when there is no such process, or only its zombie. Source: proc_pid_stat(5), fields 3 and 22.
    """
    stat = _stat(pid)
    if stat is None or stat[1][_AFTER_COMM_STATE] in _DEAD:
        return None
    return int(stat[1][_AFTER_COMM_START])


def has_local_address(pid: int, address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an interface of the process's network namespace has the address.

    Source: proc(5): /proc/PID/net/if_inet6; /proc/PID/net/fib_trie, where a local address is a leaf `/32 host LOCAL`.
    """
    name = "fib_trie" if address.version == 4 else "if_inet6"
    try:
        text = (PROC / str(pid) / "net" / name).read_text(encoding="ascii")
    except OSError:
        return False
    if address.version == 4:
        return re.search(rf"-- {re.escape(str(address))}\n\s+/32 host LOCAL\n", text) is not None
    return text.startswith(address.packed.hex()) or f"\n{address.packed.hex()}" in text


def _stat(pid: int) -> tuple[bytes, list[bytes]] | None:
    """Return the process's name and the fields after it; the name may hold blanks and brackets."""
    try:
        data = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    before, _, after = data.rpartition(b")")
    fields = after.split()
    if len(fields) <= _AFTER_COMM_START or not fields[_AFTER_COMM_START].isdigit():
        return None
    return before.partition(b"(")[2], fields


def takes_signal(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal, or holds it back for later: it does not die of it.

    Source: proc_pid_status(5), SigBlk and SigCgt.
    """
    try:
        lines = (PROC / str(pid) / "status").read_text("ascii", "replace").splitlines()
        masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk:", "SigCgt:"))]
    except (OSError, ValueError, IndexError):
        return False
    return any(mask >> (number - 1) & 1 for mask in masks)
