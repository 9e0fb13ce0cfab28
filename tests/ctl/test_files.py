"""Documents in files: YAML as JSON reads it, and back."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amphora_agent.ctl import files
from amphora_agent.ctl.failure import CommandFailure, Exit

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def tree(text: str) -> Any:
    return files.to_tree(text.encode(), "shop.yaml")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("0123", "0123"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2026-11-27", "2026-11-27"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("10", 10),
        ("-3", -3),
        ("1.1", 1.1),
        ("1e3", 1000.0),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ('"true"', "true"),
        ("trueish", "trueish"),
    ],
)
def test_plain_words_mean_what_they_mean_in_json(word: str, value: object) -> None:
    assert tree(f"a: {word}") == {"a": value}


@example({"0E0": "1e5"})
@example({"a": "\x85"})
@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_back(value: dict[str, object]) -> None:
    text = files.dump(value, "yaml")
    assert tree(text) == value
    assert json.loads(files.dump(value, "json")) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "shop.yaml, line 2, column 1: the key 'a' is there twice"),
        ("a: {b: 1, b: 2}\n", "line 1, column 11"),
        ("a: [1\n", "line 2"),
        ("? [1]\n: 2\n", "a key is no text"),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("a: *b\n", "undefined alias"),
        ("- 1\n", "no load balancer"),
        ("", "no load balancer"),
        ("a: \x01\n", "is no YAML"),
        ('{"a": 1', "is no JSON"),
    ],
)
def test_what_is_no_document_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(CommandFailure) as caught:
        tree(text)
    assert caught.value.code is Exit.REFUSED
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in itertools.pairwise("abcdefghi")),
        "a: &a [*a]\n",
    ],
    ids=["bomb", "ring"],
)
def test_aliases_that_stand_for_too_much_are_refused(text: str) -> None:
    with pytest.raises(CommandFailure, match="stands for more than"):
        tree(text)


def test_anchors_are_read() -> None:
    assert tree("a: &x {b: 1}\nc: {<<: *x, d: 2}\n") == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    try:
        assert isinstance(files.to_tree(data, "x"), dict)
    except CommandFailure as failure:
        assert failure.code in (Exit.REFUSED, Exit.USAGE)


def test_without_pyyaml_json_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    assert tree('{"name": "shop"}') == {"name": "shop"}
    with pytest.raises(CommandFailure, match="PyYAML is not installed"):
        tree("name: shop")
