"""Configures the machine as its config drive says: network, identity, files, commands. Never starts a service.

Decision: each part stands alone. Whatever is wrong with one, the others are done, and every fault is returned in words:
the boot goes on with what there is, and the console says what there is not.

Decision: the network is written at every boot, from the drive or, when the drive is gone, from the copy kept of it; all
else once for each instance.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from amphora_agent.core.config_drive.cloud_config import CloudConfig, parse_cloud_config
from amphora_agent.core.config_drive.metadata import MetaData, parse_metadata
from amphora_agent.core.config_drive.model import DriveFile
from amphora_agent.core.config_drive.network_data import NetworkData, parse_network_data
from amphora_agent.core.config_drive.networkd import render_networks, render_resolv_conf
from amphora_agent.core.config_drive.progress import Progress, begin, parse_progress, render_progress
from amphora_agent.core.config_drive.user_data import cloud_config_text
from amphora_agent.core.network.nic_list import parse_plugged
from amphora_agent.errors import AgentError, InvalidRequest
from amphora_agent.host import files
from amphora_agent.host.config_drive import identity, yaml_text
from amphora_agent.host.config_drive.drive import Drive

LOG = logging.getLogger(__name__)

SHELL = "#!/bin/sh\n"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on the machine below `root`."""

    root: Path

    def at(self, path: str) -> Path:
        """Return the place of an absolute path."""
        return self.root / path.lstrip("/")

    @property
    def state(self) -> Path:
        """The reader's own directory."""
        return self.at("/var/lib/amphora-config-drive")


@dataclass(slots=True)
class Reading:
    """One run: its faults and what is done; the one mutable value, so that every step may add to it."""

    places: Places
    faults: list[str] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    def attempt(self, name: str, do: Callable[[], Result], otherwise: Result) -> Result:
        """Return what one part returns; its failure becomes a fault, and the next part follows."""
        try:
            return do()
        except AgentError as error:
            self.faults.append(f"{name}: {error}: {error.detail}")
        except OSError as error:
            self.faults.append(f"{name}: {error.strerror or error}")
        return otherwise

    def once(self, step: str, do: Callable[[], None]) -> None:
        """Do what was not yet done for this instance, and remember it."""
        if step not in self.progress.done and self.attempt(step, partial(_completed, do), otherwise=False):
            self.progress = Progress(self.progress.instance, self.progress.done | {step})
            LOG.info("configured %s", step)


def _completed(do: Callable[[], None]) -> bool:
    do()
    return True


def configure(drive: Drive | None, places: Places) -> list[str]:
    """Configure the machine and return what went wrong, in words for the console.

    Args:
        drive: None when there is none; the network is then the one of the last drive.
        places: where to write.
    """
    reading = Reading(places)
    reading.attempt(str(places.state), partial(files.make_directory, places.state, 0o700), None)
    _configure_network(reading, drive)
    if drive is None:
        return reading.faults
    recorded = reading.attempt("progress", partial(_recorded, places), Progress())
    metadata = reading.attempt("meta_data.json", partial(_metadata, drive), MetaData())
    user_data = reading.attempt("user data", partial(_user_data, drive), CloudConfig())
    reading.progress = begin(recorded, metadata.instance)
    reading.faults += [*metadata.complaints, *user_data.complaints]
    _take_identity(reading, metadata)
    _write_files(reading, (*_personality(reading, drive, metadata), *user_data.files))
    if user_data.time_zone:
        reading.once("time zone", lambda: _set_time_zone(places, user_data.time_zone))
    if user_data.commands:
        reading.once("commands", lambda: _leave_commands(places, user_data.commands))
    if reading.progress != recorded:
        record = partial(files.write_atomic, places.state / "progress.json", render_progress(reading.progress))
        reading.attempt("progress", record, None)
    return reading.faults


def _configure_network(reading: Reading, drive: Drive | None) -> None:
    network = reading.attempt("network", partial(_network_data, reading.places, drive), NetworkData())
    reading.faults += network.complaints
    reading.attempt("network", partial(_write_network, reading.places, network), None)


def _network_data(places: Places, drive: Drive | None) -> NetworkData:
    copy = places.state / "network_data.json"
    data = files.read_optional(copy) if drive is None else drive.read(copy.name)
    if data is None:
        raise InvalidRequest("cannot configure the management network", "there is no network_data.json")
    network = parse_network_data(data)
    if drive is not None and network.nics and data != files.read_optional(copy):
        files.write_atomic(copy, data)
    return network


def _write_network(places: Places, network: NetworkData) -> None:
    plugged = parse_plugged(files.read_optional(places.at("/var/lib/octavia/plugged_interfaces")) or b"")
    directory = places.at("/run/systemd/network")
    files.make_directory(directory)
    for name, content in render_networks(network, {nic.mac for nic in plugged}).items():
        files.write_volatile(directory / name, content, 0o644)
    files.write_volatile(places.at("/etc/resolv.conf"), render_resolv_conf(network), 0o644)


def _recorded(places: Places) -> Progress:
    return parse_progress(files.read_optional(places.state / "progress.json"))


def _metadata(drive: Drive) -> MetaData:
    data = drive.read("meta_data.json")
    if data is None:
        raise InvalidRequest("cannot read meta_data.json", "it is not on the drive")
    return parse_metadata(data)


def _user_data(drive: Drive) -> CloudConfig:
    text = cloud_config_text(drive.read("user_data") or b"")
    return CloudConfig() if text is None else parse_cloud_config(yaml_text.load_yaml(text))


def _take_identity(reading: Reading, metadata: MetaData) -> None:
    places, name = reading.places, metadata.host_name
    if name:
        reading.once("host name", lambda: _set_host_name(places, name))
    if metadata.random_seed:
        reading.once("randomness", lambda: identity.add_randomness(metadata.random_seed))
    if metadata.keys:
        reading.once("keys", lambda: _let_in(places, metadata.keys))


def _set_host_name(places: Places, name: str) -> None:
    # keepalived looks its own name up when it starts, and waits for name servers that do not know it.
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"
    files.write_atomic(places.at("/etc/hosts"), hosts.encode(), 0o644)
    files.write_atomic(places.at("/etc/hostname"), f"{name}\n".encode(), 0o644)
    identity.set_host_name(name, places.at("/proc/sys/kernel/hostname"))


def _let_in(places: Places, keys: tuple[str, ...]) -> None:
    if not places.at("/usr/sbin/sshd").exists():
        LOG.info("ignored the SSH keys: this image has no sshd")
        return
    files.make_directory(places.at("/root/.ssh"), 0o700)
    files.write_atomic(places.at("/root/.ssh/authorized_keys"), "".join(f"{key}\n" for key in keys).encode())


def _personality(reading: Reading, drive: Drive, metadata: MetaData) -> Iterator[DriveFile]:
    for reference in metadata.files:
        content = reading.attempt(reference.path, partial(drive.read_content, reference.content_path), None)
        if content is not None:
            yield DriveFile(path=reference.path, content=content)


def _write_files(reading: Reading, wanted: Iterable[DriveFile]) -> None:
    seen: Counter[str] = Counter()
    for file in wanted:
        seen[file.path] += 1
        step = file.path if seen[file.path] == 1 else f"{file.path} ({seen[file.path]})"
        reading.once(step, partial(_write, reading.places, file))


def _write(places: Places, file: DriveFile) -> None:
    path = places.at(file.path)
    files.make_directory(path.parent)
    content = file.content
    if file.is_appended:
        before = files.read_optional(path) or b""
        # A power cut may have come between this file and the note that it is done.
        content = before if before.endswith(content) else before + content
    files.write_atomic(path, content, file.mode)
    if file.owner and file.owner not in {"root", "root:root"}:
        identity.set_owner(path, file.owner)


def _set_time_zone(places: Places, zone: str) -> None:
    identity.set_time_zone(zone, places.at("/etc/localtime"))


def _leave_commands(places: Places, commands: tuple[str, ...]) -> None:
    """Leave the commands for `amphora-config-drive-commands.service`, which runs them once the agent is up."""
    files.write_atomic(places.state / "commands", (SHELL + "".join(f"{line}\n" for line in commands)).encode(), 0o700)
