"""When a certificate ends, from its PEM text. Reads one field and checks nothing; other text has no end."""

from __future__ import annotations

import binascii
import calendar
import re

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_TIME = re.compile(rb"(\d{2}|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_CONTEXT_0 = 0xA0


def not_after(pem: bytes) -> int | None:
    """Return the end of the first certificate in seconds since 1970, None when there is none to be read.

    Source: RFC 5280, 4.1: certificate -> tbsCertificate -> [version], serial, algorithm, issuer, validity.
    """
    match = _PEM.search(pem)
    if match is None:
        return None
    try:
        return _end_of(binascii.a2b_base64(match[1]))
    except (ValueError, IndexError):
        return None


def _end_of(der: bytes) -> int | None:
    _, position, _ = _element(der, 0)
    _, position, _ = _element(der, position)
    tag, _, end = _element(der, position)
    if tag == _CONTEXT_0:
        position = end
    for _ in range(3):
        _, _, position = _element(der, position)
    _, position, _ = _element(der, position)
    _, _, position = _element(der, position)
    tag, start, end = _element(der, position)
    match = _TIME.fullmatch(der[start:end])
    if match is None or tag not in (_UTC_TIME, _GENERALIZED_TIME):
        return None
    year, *rest = (int(number) for number in match.groups())
    if tag == _UTC_TIME:
        year += 2000 if year < 50 else 1900
    return calendar.timegm((year, *rest))


def _element(der: bytes, position: int) -> tuple[int, int, int]:
    """Return tag, start and end of the value of the element at a position."""
    tag, length = der[position], der[position + 1]
    start = position + 2
    if length >= 0x80:
        size = length - 0x80
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    return tag, start, start + length
