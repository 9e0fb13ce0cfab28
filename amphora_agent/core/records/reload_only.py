"""The record of why a load balancer takes no change at run time until the agent's next start."""

from __future__ import annotations

from amphora_agent.core.records.document import decode_document, encode_document, mapping, text

VERSION = 1


def encode(reason: str) -> bytes:
    """Return the content of `LoadBalancerPaths.reload_only`."""
    return encode_document(VERSION, {"reason": reason})


def decode(data: bytes | None) -> str | None:
    """Return the reason, None when there is none that is known."""
    return decode_document(data, {VERSION: lambda document: text(mapping(document)["reason"])})
