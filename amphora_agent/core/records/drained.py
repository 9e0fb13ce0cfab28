"""The record of a controller's servers that an operator drained at run time: told again to each worker that starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amphora_agent.core.records.document import (
    FIRST_VERSION,
    decode_document,
    encode_document,
    items,
    mapping,
    number,
    text,
)

VERSION = FIRST_VERSION


@dataclass(frozen=True, slots=True)
class DrainedServer:
    """A server of HAProxy by its pool and member: who drained it, and when in seconds since the epoch."""

    pool: str
    member: str
    by: str
    since: float


def encode(servers: Iterable[DrainedServer]) -> bytes:
    """Return the content of `LoadBalancerPaths.drained`."""
    rows = [{"pool": each.pool, "member": each.member, "by": each.by, "since": each.since} for each in servers]
    return encode_document(VERSION, {"servers": rows})


def decode(data: bytes | None) -> tuple[DrainedServer, ...] | None:
    """Return the servers, None when they are not known."""
    return decode_document(data, {VERSION: _read})


def _read(document: object) -> tuple[DrainedServer, ...]:
    return tuple(_server(mapping(row)) for row in items(mapping(document)["servers"]))


def _server(row: object) -> DrainedServer:
    fields = mapping(row)
    return DrainedServer(
        pool=text(fields["pool"]), member=text(fields["member"]), by=text(fields["by"]), since=number(fields["since"])
    )
