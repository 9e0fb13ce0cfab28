"""Server lines: everything the controller writes is understood, nothing else is."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.haproxy.config import parse, section_words
from amphora_agent.core.haproxy.server_line import SAFE_WORD, Server, parse_server
from amphora_agent.core.haproxy.words import split_words

SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "haproxy"


def server(line: str) -> Server | None:
    return parse_server(split_words(line))


def test_every_server_of_every_sample_is_understood() -> None:
    for path in SAMPLES.glob("*.cfg"):
        for section in parse(path.read_text()).sections:
            for words in section_words(section):
                assert words[0] != "server" or parse_server(words) is not None, (path.name, words)


def test_a_line_with_everything() -> None:
    line = (
        "server m 2001:db8::11:8080 weight 10 check check-ssl verify none inter 5s fall 3 rise 2 addr 10.30.0.11 "
        "port 9000 cookie m send-proxy-v2-ssl-cn backup disabled ssl crt /c.pem ca-file /a.pem verify required alpn h2"
    )
    assert server(line) == Server(
        name="m",
        address=ip_address("2001:db8::11"),
        port=8080,
        weight=10,
        is_disabled=True,
        check_address=ip_address("10.30.0.11"),
        check_port=9000,
        options=split_words(
            "check check-ssl verify none inter 5s fall 3 rise 2 cookie m send-proxy-v2-ssl-cn backup ssl crt /c.pem "
            "ca-file /a.pem verify required alpn h2"
        ),
    )


def test_the_last_of_a_repeated_option_counts() -> None:
    found = server("server m 10.0.0.1:80 weight 1 weight 2")
    assert found is not None
    assert found.weight == 2


@pytest.mark.parametrize(
    "line",
    [
        "server m",
        "server m 10.0.0.1",
        "server m 10.0.0.1:0",
        "server m 10.0.0.1:65536",
        "server m 10.0.0.1:+80",
        "server m example.org:80",
        "server m 10.0.0.1:80 weight",
        "server m 10.0.0.1:80 weight 257",
        "server m 10.0.0.1:80 weight ten",
        "server m 10.0.0.1:80 port 0",
        "server m 10.0.0.1:80 addr example.org",
        "server m 10.0.0.1:80 track p/x",
        "server m 10.0.0.1:80 resolvers r",
        "server m 10.0.0.1:80 weight 1;shutdown",
        'server "m" 10.0.0.1:80',
        "server m\\ n 10.0.0.1:80",
        "server m<< 10.0.0.1:80",
        "default-server inter 5s",
    ],
)
def test_what_is_not_understood(line: str) -> None:
    assert server(line) is None


@given(st.text())
def test_no_safe_word_means_more_than_itself(word: str) -> None:
    if SAFE_WORD.match(word):
        assert not set(word) & set(" \t\r\n;\\<>#\"'\x00$`")
