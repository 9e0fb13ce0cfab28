"""Configurations whose models are remembered."""

from __future__ import annotations

from amphora_agent.core.haproxy.config import parse
from amphora_agent.operations.parsed_texts import ParsedTexts

TEXT = "frontend f\n    bind 10.0.0.1:443 ssl crt-list /list\nbackend b\n    server a 10.0.0.2:80 ssl ca-file /ca\n"


def test_a_text_is_parsed_once_for_as_long_as_it_is_one_of_the_last_three() -> None:
    texts = ParsedTexts()
    first = texts.parse(TEXT)
    assert first == parse(TEXT)
    for number in range(2):
        texts.parse(TEXT.replace("10.0.0.2", f"10.0.1.{number}"))
    assert texts.parse(TEXT) is first
    for number in range(3):
        texts.parse(TEXT.replace("10.0.0.2", f"10.0.1.{number}"))
    again = texts.parse(TEXT)
    assert again == first
    assert again is not first


def test_the_files_of_a_text_are_its_own() -> None:
    texts = ParsedTexts()
    assert texts.look_at(TEXT).files == {"/list", "/ca"}
    assert texts.look_at(TEXT).crt_lists == {"/list"}
    assert texts.look_at(TEXT.replace("/ca", "/other")).files == {"/list", "/other"}
    assert texts.look_at("global\n").files == frozenset()
