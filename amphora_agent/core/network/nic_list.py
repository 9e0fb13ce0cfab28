"""The list of NICs that belong in the namespace: lines `<mac> <name>`. Never touches the disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluggedNic:
    """A NIC by its MAC address, lower case, and its name inside the namespace."""

    mac: str
    name: str


def parse_plugged(data: bytes) -> tuple[PluggedNic, ...]:
    """Return the NICs of the list; of lines about one MAC, or one name, the last counts. Nonsense is passed over."""
    nics: tuple[PluggedNic, ...] = ()
    for line in data.decode("utf-8", "replace").splitlines():
        match line.split():
            case [mac, name] if mac.count(":") == 5:
                nics = with_nic(nics, PluggedNic(mac.lower(), name))
            case _:
                continue
    return nics


def render_plugged(nics: tuple[PluggedNic, ...]) -> bytes:
    """Return the file's content."""
    return "".join(f"{nic.mac} {nic.name}\n" for nic in nics).encode()


def with_nic(nics: tuple[PluggedNic, ...], added: PluggedNic) -> tuple[PluggedNic, ...]:
    """Return the list with a NIC at its end, in the place of an older line with its MAC or its name."""
    return (*(nic for nic in nics if nic.mac != added.mac and nic.name != added.name), added)


def name_of(nics: tuple[PluggedNic, ...], mac: str) -> str | None:
    """Return the name recorded for a MAC address in either case."""
    return next((nic.name for nic in nics if nic.mac == mac.lower()), None)
