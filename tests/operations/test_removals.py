"""The record of servers that wait for their deletion, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from amphora_agent.operations.haproxy import removals


@pytest.mark.parametrize("text", ["", "null", "[]", "5", "{", '{"a": 1}', '{"a": "b"}'])
def test_junk_in_the_list_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "removing.json").write_text(text)
    assert removals.read(tmp_path / "removing.json") == {}
    assert removals.read(tmp_path / "missing.json") == {}


def test_the_list_is_read(tmp_path: Path) -> None:
    (tmp_path / "removing.json").write_text('{"p:l": {"a": 5, "b": "c", "d": 6.5}}')
    assert removals.read(tmp_path / "removing.json") == {"p:l": {"a": 5, "d": 6.5}}
