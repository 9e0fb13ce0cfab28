"""When a certificate or a revocation list ends, from PEM text. Reads times and checks nothing; other text has none."""

from __future__ import annotations

import binascii
import calendar
import re

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_LIST = re.compile(rb"-----BEGIN X509 CRL-----\s+([A-Za-z0-9+/=\s]+)-----END X509 CRL-----")
_TIME = re.compile(rb"(\d{2}|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")
_INTEGER, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x17, 0x18
_CONTEXT_0 = 0xA0


def not_after(pem: bytes) -> int | None:
    """Return the end of the first certificate in seconds since 1970, None when there is none to be read."""
    period = validity(pem)
    return None if period is None else period[1]


def validity(pem: bytes) -> tuple[int, int] | None:
    """Return begin and end of the first certificate in seconds since 1970, None when there is none to be read.

    Source: RFC 5280, 4.1: certificate -> tbsCertificate -> [version], serial, algorithm, issuer, validity.
    """
    match = _PEM.search(pem)
    if match is None:
        return None
    try:
        return _validity_of(binascii.a2b_base64(match[1]))
    except (ValueError, IndexError):
        return None


def next_update(pem: bytes) -> int | None:
    """Return until when the first revocation list is current, None when it does not say or there is none.

    Source: RFC 5280, 5.1: list -> tbsCertList -> [version], algorithm, issuer, thisUpdate, [nextUpdate].
    """
    match = _LIST.search(pem)
    if match is None:
        return None
    try:
        der = binascii.a2b_base64(match[1])
        _, position, _ = _element(der, 0)
        _, position, _ = _element(der, position)
        tag = der[position]
        for _ in range(4 if tag == _INTEGER else 3):
            _, _, position = _element(der, position)
        return _time_at(der, position)
    except (ValueError, IndexError):
        return None


def _validity_of(der: bytes) -> tuple[int, int] | None:
    _, position, _ = _element(der, 0)
    _, position, _ = _element(der, position)
    tag, _, end = _element(der, position)
    if tag == _CONTEXT_0:
        position = end
    for _ in range(3):
        _, _, position = _element(der, position)
    _, position, _ = _element(der, position)
    _, _, second = _element(der, position)
    begin, end_time = _time_at(der, position), _time_at(der, second)
    return None if begin is None or end_time is None else (begin, end_time)


def _time_at(der: bytes, position: int) -> int | None:
    """Return the time that stands at a position, None when another thing does."""
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
