"""The bill of materials of an image as CycloneDX JSON, the same bytes for the same image. Never looks into packages.

Source: CycloneDX 1.5 JSON reference; package URLs of types `deb` and `pypi`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote


@dataclass(frozen=True, slots=True, order=True)
class DebianPackage:
    """A package that dpkg has installed."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True, slots=True, order=True)
class PythonPackage:
    """A package of `requirements.lock`, with the hashes that any of its wheels may have."""

    name: str
    version: str
    sha256: tuple[str, ...]


Package = DebianPackage | PythonPackage


def parse_dpkg(listing: str) -> tuple[DebianPackage, ...]:
    """Return the packages of a list with a line `name<tab>version<tab>architecture` for each, sorted."""
    fields = (line.split("\t") for line in listing.splitlines())
    return tuple(sorted(DebianPackage(*entry) for entry in fields if len(entry) == 3))


def parse_status(text: str) -> tuple[DebianPackage, ...]:
    """Return the installed packages of dpkg's status file, sorted. Source: deb-status is in dpkg(1), RFC 822 fields."""
    packages = []
    for paragraph in text.split("\n\n"):
        lines = (line.partition(": ") for line in paragraph.splitlines() if not line.startswith(" "))
        fields = {key: value for key, _, value in lines}
        if fields.get("Status", "").endswith(" installed"):
            packages.append(DebianPackage(fields["Package"], fields["Version"], fields["Architecture"]))
    return tuple(sorted(packages))


def render_dpkg(packages: Iterable[DebianPackage]) -> str:
    """Return the list that `parse_dpkg` reads."""
    return "".join(f"{package.name}\t{package.version}\t{package.architecture}\n" for package in packages)


def parse_lock(text: str) -> tuple[PythonPackage, ...]:
    """Return the packages of a file of requirements with hashes, sorted."""
    packages = []
    for line in text.splitlines():
        requirement, *hashes = line.partition("#")[0].split()[:100] or [""]
        name, separator, version = requirement.partition("==")
        if separator:
            digests = tuple(option.removeprefix("--hash=sha256:") for option in hashes)
            packages.append(PythonPackage(name, version, digests))
    return tuple(sorted(packages))


def render(
    name: str,
    packages: Iterable[Package],
    properties: Mapping[str, str],
    epoch: int,
) -> str:
    """Return the document.

    Args:
        name: of the image or wheel.
        packages: what is in it.
        properties: how it was made; `image-build/verify` reads them.
        epoch: its time, in seconds since 1970.
    """
    components = [_component(package) for package in packages]
    identity = json.dumps([name, components, sorted(properties.items()), epoch])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, identity)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "file", "bom-ref": name, "name": name},
            "properties": [{"name": f"amphora:{key}", "value": value} for key, value in sorted(properties.items())],
        },
        "components": components,
    }
    return json.dumps(document, indent=1) + "\n"


def properties_of(document: str) -> dict[str, str]:
    """Return the properties that `render` was given; empty for another document."""
    try:
        entries = json.loads(document)["metadata"]["properties"]
        return {entry["name"].removeprefix("amphora:"): entry["value"] for entry in entries}
    except (ValueError, KeyError, TypeError):
        return {}


def _component(package: Package) -> dict[str, object]:
    version = quote(package.version, safe=".+~-")
    if isinstance(package, DebianPackage):
        url = f"pkg:deb/debian/{package.name}@{version}?arch={package.architecture}"
        return {"type": "library", "bom-ref": url, "name": package.name, "version": package.version, "purl": url}
    url = f"pkg:pypi/{package.name}@{version}"
    hashes = [{"alg": "SHA-256", "content": digest} for digest in package.sha256]
    return {
        "type": "library",
        "bom-ref": url,
        "name": package.name,
        "version": package.version,
        "purl": url,
        "hashes": hashes,
    }
