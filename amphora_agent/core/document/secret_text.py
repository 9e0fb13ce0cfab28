"""What an uploaded secret is, by the text of it. Pure; whether TLS can use it is not asked here."""

from __future__ import annotations

import re

from amphora_agent.core.document.checks import SecretKind

_BLOCKS = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
# Of a PEM text that is cut short or on one line, a password is never made.
_MARK = b"-----BEGIN"
_PASSWORD = re.compile(rb"[\x21-\x7e]{1,255}\n?\Z")


def kind_of(data: bytes) -> SecretKind | None:
    """Return what a secret is, None when it is nothing that could be used."""
    blocks = set(_BLOCKS.findall(data))
    if not blocks:
        return SecretKind.PASSWORD if _PASSWORD.match(data) and _MARK not in data else None
    if blocks == {b"X509 CRL"}:
        return SecretKind.REVOCATIONS
    if b"CERTIFICATE" not in blocks or blocks & {b"X509 CRL", b"TRUSTED CERTIFICATE"}:
        return None
    return SecretKind.CERTIFICATE if any(block.endswith(b"PRIVATE KEY") for block in blocks) else SecretKind.AUTHORITY
