"""What the agent remembers of a load balancer of API 2.0: its document, who applied it, what came of it. Pure.

A record of a version this release does not know reads as none, as all records do.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from amphora_agent.core.document.model import Document, Member, Pool
from amphora_agent.core.document.reading import encode
from amphora_agent.core.records.document import FIRST_VERSION

# Whole documents, of which an operator may want the one before the mistake.
REVISIONS = 20


class Drained(Struct, frozen=True):
    """A member that is to get no new clients: who said so, and when in seconds since the epoch."""

    pool: str
    member: str
    by: str
    since: float


class Revert(Struct, frozen=True):
    """An unconfirmed change: which generation comes back (0: none, the load balancer goes), and when."""

    generation: int
    at: float


class Stored(Struct, frozen=True, kw_only=True):
    """A load balancer as it was applied last; each revision is one too.

    Attributes:
        generation: 1 for the first document, one more for each that differs from the one before.
        at: when it was applied, in seconds since the epoch.
        by: who asked for it.
        decision: what it took, a word of `plan.Plan`.
        seconds: it took.
    """

    document: Document
    generation: int
    at: float
    by: str
    decision: str
    reason: str
    seconds: float
    drained: tuple[Drained, ...] = ()
    revert: Revert | None = None
    version: int = FIRST_VERSION


def etag(document: Document) -> str:
    """Return the identity of a document: equal ones have equal ones, quoted as HTTP wants it."""
    return _quoted(encode(document))


def members_etag(members: tuple[Member, ...]) -> str:
    """Return the identity of a pool's members."""
    return _quoted(msgspec.json.encode(members, order="deterministic"))


def _quoted(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()}"'


def served(document: Document, drained: tuple[Drained, ...]) -> Document:
    """Return what is rendered: the document, with weight 0 for what is drained.

    Decision: draining is weight 0 and nothing else. Weight 0 is how Octavia drains, HAProxy and IPVS agree on what it
    means, it survives a reload and a reboot because it stands in the configuration, and one engine applies it.
    """
    if not drained:
        return document
    wanted = {(each.pool, each.member) for each in drained}
    return msgspec.structs.replace(document, pools=tuple(_without_drained(pool, wanted) for pool in document.pools))


def _without_drained(pool: Pool, drained: set[tuple[str, str]]) -> Pool:
    members = tuple(
        msgspec.structs.replace(member, weight=0) if (pool.name, member.name) in drained else member
        for member in pool.members
    )
    return msgspec.structs.replace(pool, members=members)


def still_there(drained: tuple[Drained, ...], document: Document) -> tuple[Drained, ...]:
    """Return what of it the document still has."""
    members = {(pool.name, member.name) for pool in document.pools for member in pool.members}
    return tuple(each for each in drained if (each.pool, each.member) in members)


def encode_stored(stored: Stored) -> bytes:
    """Return the content of `DocumentPaths.current`, and of a revision's file."""
    return msgspec.json.encode(stored, order="deterministic")


def decode_stored(data: bytes | None) -> Stored | None:
    """Return what a file holds, None when there is none that can be understood."""
    try:
        stored = None if data is None else msgspec.json.decode(data, type=Stored)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return stored if stored is not None and stored.version == FIRST_VERSION else None
