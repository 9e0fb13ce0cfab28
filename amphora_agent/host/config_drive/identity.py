"""What a drive changes of the machine beside its files' contents: owners, host name, time zone, randomness."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from pathlib import Path

from amphora_agent.errors import HostFailure

ZONES = Path("/usr/share/zoneinfo")


def set_owner(path: Path, owner: str) -> None:
    """Give a file to `user` or `user:group` by name; without a group to the user's own.

    Raises:
        HostFailure: there is no such user or group, or the kernel refuses.
    """
    name, _, group = owner.partition(":")
    try:
        user = pwd.getpwnam(name)
        os.chown(path, user.pw_uid, grp.getgrnam(group).gr_gid if group else user.pw_gid)
    except KeyError as error:
        raise HostFailure(f"cannot give {path} to {owner}", "there is no such user or group") from error
    except OSError as error:
        raise HostFailure(f"cannot give {path} to {owner}", error.strerror or str(error)) from error


def set_host_name(name: str, kernel: Path) -> None:
    """Tell the kernel the host name, at `/proc/sys/kernel/hostname` of a real machine.

    Raises:
        HostFailure: the kernel refuses.
    """
    try:
        kernel.write_text(name)
    except OSError as error:
        raise HostFailure("cannot set the host name", error.strerror or str(error)) from error


def set_time_zone(zone: str, link: Path, zones: Path = ZONES) -> None:
    """Point `link`, usually /etc/localtime, at a zone.

    Raises:
        HostFailure: this machine does not have the zone, or the link cannot be made.
    """
    target = zones / zone
    if not target.is_file():
        raise HostFailure(f"cannot set the time zone {zone}", "this image does not have it")
    temporary = link.with_name(f".{link.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError as error:
        raise HostFailure(f"cannot set the time zone {zone}", error.strerror or str(error)) from error


def add_randomness(seed: bytes, pool: Path = Path("/dev/urandom")) -> None:
    """Stir the seed into the kernel's pool; it is not counted as entropy, so a bad one does no harm."""
    with contextlib.suppress(OSError), pool.open("wb", buffering=0) as file:
        file.write(seed)
