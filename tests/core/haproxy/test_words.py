"""The words of a line: as HAProxy splits them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.haproxy.words import Trouble, split_words, trouble, unquote
from tests.core.haproxy.splitter import Rejected, split

LINES = st.text(alphabet=st.one_of(st.sampled_from("ab 'x\"\\#$\t{}0"), st.characters(blacklist_characters="\n")))


@given(LINES)
def test_a_line_without_trouble_is_split_as_haproxy_splits_it(line: str) -> None:
    if trouble(line) is None:
        assert [unquote(word) for word in split_words(line)] == split(line)


@given(LINES)
def test_what_haproxy_rejects_is_trouble(line: str) -> None:
    try:
        split(line)
    except Rejected:
        assert trouble(line) is not None


# Each tried on HAProxy 2.6.12.
@pytest.mark.parametrize(
    ("word", "said"),
    [
        (r"\x61bc\,d\q\$x", r"abc\,d\q$x"),
        (r'"a\qb\$c"', r"a\qb$c"),
        (r"'a\qb'", r"a\qb"),
        ("a\\", "a\\"),
        (r"\x6", r"\x6"),
    ],
)
def test_escapes(word: str, said: str) -> None:
    assert unquote(word) == said


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('a "b', Trouble.QUOTE),
        ("a 'b", Trouble.QUOTE),
        (r'a "b\"', Trouble.QUOTE),
        (r'a "b\\"', None),
        ('a "$b"', Trouble.VARIABLE),
        (r'a "\$b" $c \'d', None),
        ("a 'b$c'", None),
        ("a # it's", None),
        ("a\rb", Trouble.CONTROL),
        ("a\0b", Trouble.CONTROL),
        ("a\tb \u2028 \x85", None),
    ],
)
def test_trouble(line: str, found: Trouble | None) -> None:
    assert trouble(line) is found
