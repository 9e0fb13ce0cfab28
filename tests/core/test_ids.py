"""Ids and file names from the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.ids import is_id, is_pem_name


@pytest.mark.parametrize("text", ["25744ac1-3e34-55a2-8441-e585e4cba268", "a", "A_b-9", "x" * 64])
def test_ids(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a/b", "a b", "a\n", "x" * 65, "ä", "a\0", "%2e", "agent", "certs", "lvs", "vrrp"]
)
def test_no_ids(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize("text", ["a.pem", "7f699c35-164b.pem", "a.b.pem", "x" * 251 + ".pem"])
def test_pem_names(text: str) -> None:
    assert is_pem_name(text)


@pytest.mark.parametrize(
    "text",
    ["", ".pem", "a.crt", "a.pem.evil", "a..b.pem", "../a.pem", "a/b.pem", "-a.pem", "a.pem\n", "x" * 252 + ".pem"],
)
def test_no_pem_names(text: str) -> None:
    assert not is_pem_name(text)


@given(st.text())
def test_nothing_that_is_accepted_leaves_its_directory(text: str) -> None:
    if is_id(text) or is_pem_name(text):
        assert "/" not in text
        assert text not in {".", ".."}
        assert "\0" not in text
