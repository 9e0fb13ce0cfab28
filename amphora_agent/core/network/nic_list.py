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
    by_mac: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        match line.split():
            case [mac, name] if mac.count(":") == 5:
                by_name.pop(by_mac.pop(mac.lower(), ""), None)
                by_mac.pop(by_name.pop(name, ""), None)
                by_mac[mac.lower()] = name
                by_name[name] = mac.lower()
            case _:
                continue
    return tuple(PluggedNic(mac, name) for mac, name in by_mac.items())


def render_plugged(nics: tuple[PluggedNic, ...]) -> bytes:
    """Return the file's content."""
    return "".join(f"{nic.mac} {nic.name}\n" for nic in nics).encode()


def with_nic(nics: tuple[PluggedNic, ...], added: PluggedNic) -> tuple[PluggedNic, ...]:
    """Return the list with a NIC at its end, in the place of an older line with its MAC or its name."""
    return (*(nic for nic in nics if nic.mac != added.mac and nic.name != added.name), added)


def name_of(nics: tuple[PluggedNic, ...], mac: str) -> str | None:
    """Return the name recorded for a MAC address in either case."""
    return next((nic.name for nic in nics if nic.mac == mac.lower()), None)
