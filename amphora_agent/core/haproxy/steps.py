"""What a running HAProxy can be told, as values: servers, files and certificates, one step each. Sends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from amphora_agent.core.addresses import Address
from amphora_agent.core.haproxy.server_line import Server


class FileKind(StrEnum):
    """What HAProxy loads a file as; the value is the word of its commands: `set ssl <kind>`."""

    CERTIFICATE = "cert"
    CA = "ca-file"
    CRL = "crl-file"


@dataclass(frozen=True, slots=True)
class AddServer:
    """Add a server; with `starts_down` it takes no traffic before its first good check."""

    backend: str
    server: Server
    starts_down: bool = False


@dataclass(frozen=True, slots=True)
class ReplaceServer:
    """Delete a server without connections and add it anew; impossible while it has some."""

    backend: str
    server: Server
    starts_down: bool = False


@dataclass(frozen=True, slots=True)
class RemoveServer:
    """Take a server out of service at once; its connections go on, and it is deleted when they are gone."""

    backend: str
    name: str


@dataclass(frozen=True, slots=True)
class SetWeight:
    """Change a weight, 0 to 256."""

    backend: str
    name: str
    weight: int


@dataclass(frozen=True, slots=True)
class SetState:
    """Enable a server or put it into maintenance."""

    backend: str
    name: str
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class SetCheckAddress:
    """Check a server at another address or port; None leaves one as it is."""

    backend: str
    name: str
    address: Address | None
    port: int | None


@dataclass(frozen=True, slots=True)
class ReplaceFile:
    """Give what was loaded as `loaded` the content of `file`."""

    kind: FileKind
    loaded: str
    file: str


@dataclass(frozen=True, slots=True)
class AddCertificate:
    """Serve one more certificate on a crt-list; `file` is None when it is loaded already."""

    crt_list: str
    loaded: str
    file: str | None


@dataclass(frozen=True, slots=True)
class RemoveCertificate:
    """Stop serving a certificate on a crt-list, and unload it where nothing else uses it."""

    crt_list: str
    loaded: str
    is_unused: bool


RuntimeStep: TypeAlias = (
    AddServer
    | ReplaceServer
    | RemoveServer
    | SetWeight
    | SetState
    | SetCheckAddress
    | ReplaceFile
    | AddCertificate
    | RemoveCertificate
)
