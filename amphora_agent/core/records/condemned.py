"""The record of certificate files that are deleted for the controller and still needed by what runs."""

from __future__ import annotations

from collections.abc import Collection

from amphora_agent.core.ids import PemName, is_pem_name
from amphora_agent.core.records.document import (
    FIRST_VERSION,
    decode_document,
    encode_document,
    items,
    mapping,
)

VERSION = 2


def encode(names: Collection[PemName]) -> bytes:
    """Return the content of `LoadBalancerPaths.condemned`."""
    return encode_document(VERSION, {"names": sorted(names)})


def decode(data: bytes | None) -> frozenset[PemName] | None:
    """Return the names, None when they are not known; whatever cannot be the name of a certificate file is left out."""
    return decode_document(data, {VERSION: _read, FIRST_VERSION: _read_names})


def _read(document: object) -> frozenset[PemName]:
    return _read_names(mapping(document)["names"])


def _read_names(names: object) -> frozenset[PemName]:
    return frozenset(PemName(name) for name in items(names) if isinstance(name, str) and is_pem_name(name))
