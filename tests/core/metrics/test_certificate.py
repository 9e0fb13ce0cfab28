"""The end of a certificate's validity, read from its text."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.metrics.certificate import next_update, not_after, validity
from testbed.pki import Pki


def test_the_end_of_a_certificate_whatever_stands_around_it() -> None:
    pki = Pki.mint("amphora")
    end = int(x509.load_pem_x509_certificate(pki.ca).not_valid_after_utc.timestamp())
    assert not_after(pki.ca) == end
    assert not_after(b"# comment\n" + pki.ca + b"more") == end
    assert not_after(pki.server) == int(x509.load_pem_x509_certificates(pki.server)[0].not_valid_after_utc.timestamp())


def test_after_2049_the_time_has_another_form() -> None:
    validity = bytes((0x18, 15)) + b"20610203040506Z"
    start = bytes((0x17, 13)) + b"200101000000Z"
    period = bytes((0x30, len(start) + len(validity))) + start + validity
    fields = b"\x02\x01\x01" + b"\x30\x00" + b"\x30\x00" + period
    inner = bytes((0x30, len(fields))) + fields
    pem = _pem(bytes((0x30, len(inner))) + inner)
    assert not_after(pem) == int(dt.datetime(2061, 2, 3, 4, 5, 6, tzinfo=dt.UTC).timestamp())


def test_both_ends_of_a_certificate() -> None:
    found = x509.load_pem_x509_certificate(Pki.mint("amphora").ca)
    expected = int(found.not_valid_before_utc.timestamp()), int(found.not_valid_after_utc.timestamp())
    assert validity(Pki.mint("amphora").ca) == expected


def test_until_when_a_revocation_list_is_current() -> None:
    crl = Pki.mint("amphora").crl()
    update = x509.load_pem_x509_crl(crl).next_update_utc
    assert update is not None
    assert next_update(b"# comment\n" + crl) == int(update.timestamp())
    assert next_update(Pki.mint("amphora").ca) is None


@given(st.binary(max_size=60))
def test_garbage_in_a_revocation_list_has_none_or_some_end(data: bytes) -> None:
    found = next_update(_pem(data).replace(b"CERTIFICATE", b"X509 CRL"))
    assert found is None or isinstance(found, int)


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", b"key"])
def test_other_text_has_none(text: bytes) -> None:
    assert not_after(text) is None


@given(st.binary(max_size=60))
def test_garbage_has_none_or_some_end(data: bytes) -> None:
    found = not_after(_pem(data))
    assert found is None or isinstance(found, int)


def _pem(der: bytes) -> bytes:

    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
