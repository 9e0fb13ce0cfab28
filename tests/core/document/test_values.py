"""Expressions, ciphers and codes: what is accepted is what HAProxy, PCRE2 and OpenSSL read alike."""

from __future__ import annotations

import pytest

from amphora_agent.core.document.model import TlsVersion
from amphora_agent.core.document.values import expression_fault, has_hole, split_ciphers, status_codes, unknown_ciphers


@pytest.mark.parametrize(
    "text", ["^a.*|b$", "a{2,3}", "[a-z]+", "[]a]", "[^/]*", "(?:x|y)?", "(?=a)b", "\\d+\\.", "a++", "\\x41", "-f"]
)
def test_expressions_that_are_taken(text: str) -> None:
    assert expression_fault(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "(",
        "a**",
        "*",
        "[z-a]",
        "a{",
        "a{,3}",
        "{3}",
        "(a{100}){100}",
        "[[:alpha:]]",
        "(?P<x>a)",
        "(?i)a",
        "(?<=a)b",
        "(?#x)",
        "\\1",
        "\\u0041",
        "\\N{BULLET}",
        "\\Z",
        "[a&&b]",
        "ü",
        "a\\",
    ],
)
def test_expressions_that_are_refused(text: str) -> None:
    assert expression_fault(text)


def test_status_codes() -> None:
    assert status_codes("200") == (200,)
    assert status_codes("301,200-202") == (200, 201, 202, 301)
    assert status_codes("204-200") == ()


def test_ciphers() -> None:
    assert split_ciphers("AES128-SHA::TLS_AES_128_GCM_SHA256") == (("AES128-SHA",), ("TLS_AES_128_GCM_SHA256",))
    assert unknown_ciphers("AES128-SHA:NULL-MD5:TLS_NO") == ("NULL-MD5", "TLS_NO")


def test_versions_with_a_hole() -> None:
    assert has_hole([TlsVersion.TLSV1_3, TlsVersion.TLSV1_1])
    assert not has_hole([TlsVersion.TLSV1_3, TlsVersion.TLSV1_2])
    assert not has_hole([])
