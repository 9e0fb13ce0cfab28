"""What counts as a whole number in text of others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.numbers import parse_number


@pytest.mark.parametrize("text", ["", "²", "\u0661", "1²", "-1", "+1", " 1", "1\n", "1_0", "9" * 19, "9" * 5000])
def test_what_is_no_number(text: str) -> None:
    assert parse_number(text) is None


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_a_number_is_read_as_written(number: int) -> None:
    assert parse_number(str(number)) == number


@pytest.mark.hardening("D20")
@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    assert parse_number(text) is None or text.isdecimal()
