"""The record of servers removed at run time that wait for their deletion: hidden from heartbeats meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from amphora_agent.core.records.document import FIRST_VERSION, decode_document, encode_document, is_number, mapping

VERSION = 2

# Backend -> server that waits for its deletion -> seconds since boot when it began to.
Removing: TypeAlias = Mapping[str, Mapping[str, float]]


def encode(removing: Removing) -> bytes:
    """Return the content of `LoadBalancerPaths.removing`; the key "backends" holds the servers."""
    return encode_document(VERSION, {"backends": {backend: dict(names) for backend, names in removing.items()}})


def decode(data: bytes | None) -> Removing | None:
    """Return the record, None when it is not known; what in it is no server with its time is left out."""
    return decode_document(data, {VERSION: _read, FIRST_VERSION: _read_backends})


def _read(document: object) -> Removing:
    return _read_backends(mapping(document)["backends"])


def _read_backends(backends: object) -> Removing:
    return {
        backend: {name: float(since) for name, since in names.items() if is_number(since)}
        for backend, names in mapping(backends).items()
        if isinstance(names, dict)
    }
