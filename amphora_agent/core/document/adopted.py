"""What a controller had of a load balancer when a document took it over, for as long as that may be taken back. Pure.

A record of a version this release does not know reads as none, as all records do.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from amphora_agent.core.records.document import FIRST_VERSION


class Adopted(Struct, frozen=True, kw_only=True):
    """The controller's own texts. Its certificates are not among them: they stay where they are until it is settled.

    Attributes:
        haproxy: None when it had UDP and SCTP listeners alone.
        peer: this amphora's name among HAProxy's peers.
        is_stopped: it had stopped HAProxy.
        listeners: LVS listener id -> text.
        drained: the record of what an operator had drained; None without one.
        vrrp: None when there was none, or the document has nothing to do with it.
    """

    haproxy: str | None
    peer: str
    is_stopped: bool
    drained: str | None
    listeners: dict[str, str]
    vrrp: str | None
    version: int = FIRST_VERSION


def encode_adopted(adopted: Adopted) -> bytes:
    """Return the content of `DocumentPaths.adopted`."""
    return msgspec.json.encode(adopted, order="deterministic")


def decode_adopted(data: bytes | None) -> Adopted | None:
    """Return what a file holds, None when there is none that can be understood."""
    try:
        adopted = None if data is None else msgspec.json.decode(data, type=Adopted)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return adopted if adopted is not None and adopted.version == FIRST_VERSION else None
