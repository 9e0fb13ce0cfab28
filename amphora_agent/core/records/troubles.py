"""The record of what keeps heartbeats from being made or delivered: written by the heartbeat, read by the doctor."""

from __future__ import annotations

from collections.abc import Mapping

from amphora_agent.core.records.document import decode_document, encode_document, mapping, texts

VERSION = 1


def encode(troubles: Mapping[str, str]) -> bytes:
    """Return the content of `Paths.heartbeat_troubles`: subject -> words."""
    return encode_document(VERSION, {"troubles": dict(troubles)})


def decode(data: bytes | None) -> Mapping[str, str] | None:
    """Return the troubles, None when they are not known."""
    return decode_document(data, {VERSION: lambda document: texts(mapping(document)["troubles"])})
