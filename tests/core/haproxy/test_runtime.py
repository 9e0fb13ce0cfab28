"""Commands: exactly what HAProxy wants to hear, and never more than one at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.haproxy.runtime import PAYLOAD_MAX, command, commands_of, payload_of
from amphora_agent.core.haproxy.server_line import Server, parse_server
from amphora_agent.core.haproxy.steps import (
    AddCertificate,
    AddServer,
    FileKind,
    RemoveCertificate,
    RemoveServer,
    ReplaceFile,
    ReplaceServer,
    RuntimeStep,
    SetCheckAddress,
    SetState,
    SetWeight,
)
from amphora_agent.core.haproxy.words import split_words
from amphora_agent.errors import MalformedData

CHECK = "check inter 5s fall 3 rise 2"
PEM = "-----BEGIN X-----\nabc\n-----END X-----\n"


def server(options: str, address: str = "10.0.0.1:80") -> Server:
    found = parse_server(split_words(f"server a {address} {options}"))
    assert found is not None
    return found


def texts(step: RuntimeStep, payload: str = "") -> list[str]:
    return [f"{command.text} <<" if command.payload else command.text for command in commands_of(step, payload)]


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ("weight 1", "weight 1"),
        ("weight 0 backup", "weight 0 backup"),
        (f"weight 1 {CHECK}", f"weight 1 {CHECK}"),
        (f"weight 1 {CHECK} ssl verify none", f"weight 1 {CHECK} ssl verify none check-ssl"),
        (f"weight 1 {CHECK} ssl verify none port 9", f"weight 1 {CHECK} ssl verify none port 9"),
        (f"weight 1 {CHECK} check-ssl ssl", f"weight 1 {CHECK} check-ssl ssl"),
        (f"weight 1 {CHECK} send-proxy", f"weight 1 {CHECK} send-proxy check-send-proxy"),
        (f"weight 1 {CHECK} send-proxy-v2", f"weight 1 {CHECK} send-proxy-v2 check-send-proxy"),
        (f"weight 1 {CHECK} send-proxy addr 10.0.0.9", f"weight 1 {CHECK} send-proxy addr 10.0.0.9"),
        ("weight 1 ssl send-proxy", "weight 1 ssl send-proxy"),
    ],
)
def test_an_added_server_is_told_what_a_configured_one_assumes(options: str, added: str) -> None:
    first, *rest = texts(AddServer("p:l", server(options)))
    assert first == f"add server p:l/a 10.0.0.1:80 {added} pool-max-conn -1"
    health = ["enable health p:l/a"] if "check " in options else []
    assert rest == [*health, "set server p:l/a state ready"]


def test_a_disabled_member_is_added_in_maintenance() -> None:
    assert texts(AddServer("p:l", server(f"weight 3 {CHECK} disabled", "2001:db8::1:80"))) == [
        f"add server p:l/a 2001:db8::1:80 weight 3 {CHECK} disabled pool-max-conn -1",
        "enable health p:l/a",
    ]


def test_a_member_that_starts_down_gets_its_weight_last() -> None:
    assert texts(AddServer("p:l", server(f"weight 3 {CHECK}"), starts_down=True)) == [
        f"add server p:l/a 10.0.0.1:80 weight 0 {CHECK} pool-max-conn -1",
        "enable health p:l/a",
        "set server p:l/a state ready",
        "set server p:l/a health down",
        "set server p:l/a weight 3",
    ]
    assert texts(AddServer("p:l", server("weight 3"), starts_down=True))[0].startswith(
        "add server p:l/a 10.0.0.1:80 weight 3"
    )


def test_the_other_steps() -> None:
    assert texts(ReplaceServer("p:l", server("weight 1 backup")))[:3] == [
        "set server p:l/a state maint",
        "del server p:l/a",
        "add server p:l/a 10.0.0.1:80 weight 1 backup pool-max-conn -1",
    ]
    assert texts(RemoveServer("p:l", "a")) == ["set server p:l/a state maint"]
    assert texts(SetWeight("p:l", "a", 256)) == ["set server p:l/a weight 256"]
    assert texts(SetState("p:l", "a", is_enabled=False)) == ["set server p:l/a state maint"]
    assert texts(SetState("p:l", "a", is_enabled=True)) == ["set server p:l/a state ready"]
    where = server("weight 1 addr 10.0.0.9 port 99")
    assert texts(SetCheckAddress("p:l", "a", where.check_address, 99)) == [
        "set server p:l/a check-addr 10.0.0.9 port 99"
    ]
    assert texts(SetCheckAddress("p:l", "a", where.check_address, None)) == ["set server p:l/a check-addr 10.0.0.9"]
    assert texts(SetCheckAddress("p:l", "a", None, 99)) == ["set server p:l/a check-port 99"]
    assert texts(ReplaceFile(FileKind.CA, "/c/old.pem", "/c/new.pem"), PEM) == [
        "set ssl ca-file /c/old.pem <<",
        "commit ssl ca-file /c/old.pem",
    ]
    assert texts(AddCertificate("/c/l.pem", "/c/d.pem", "/c/d.pem"), PEM) == [
        "new ssl cert /c/d.pem",
        "set ssl cert /c/d.pem <<",
        "commit ssl cert /c/d.pem",
        "add ssl crt-list /c/l.pem /c/d.pem",
    ]
    assert texts(AddCertificate("/c/l.pem", "/c/d.pem", None)) == ["add ssl crt-list /c/l.pem /c/d.pem"]
    assert texts(RemoveCertificate("/c/l.pem", "/c/d.pem", is_unused=True)) == [
        "del ssl crt-list /c/l.pem /c/d.pem",
        "del ssl cert /c/d.pem",
    ]
    assert texts(RemoveCertificate("/c/l.pem", "/c/d.pem", is_unused=False)) == ["del ssl crt-list /c/l.pem /c/d.pem"]


@pytest.mark.parametrize(
    ("step", "index", "answer", "is_accepted"),
    [
        (SetWeight("p:l", "a", 1), 0, "\n", True),
        (SetWeight("p:l", "a", 1), 0, "No such server.\n\n", False),
        (AddServer("p:l", server("weight 1")), 0, "New server registered.\n\n", True),
        (AddServer("p:l", server("weight 1")), 0, "", False),
        (AddServer("p:l", server("weight 1")), 0, "Already exists a server with the same name in backend.\n", False),
        (ReplaceServer("p:l", server("weight 1")), 1, "Server deleted.\n", True),
        (ReplaceServer("p:l", server("weight 1")), 1, "Server still has connections attached to it, cannot r", False),
        (ReplaceFile(FileKind.CERTIFICATE, "/o", "/n"), 0, "Transaction created for certificate /o!\n\n", True),
        (ReplaceFile(FileKind.CERTIFICATE, "/o", "/n"), 0, "Transaction updated for certificate /o!\n\n", False),
        (ReplaceFile(FileKind.CERTIFICATE, "/o", "/n"), 1, "Committing /o.\nSuccess!\n\n", True),
        (ReplaceFile(FileKind.CERTIFICATE, "/o", "/n"), 1, "Committing /o...\n\n.\nSuccess!\n\n", True),
        (ReplaceFile(FileKind.CERTIFICATE, "/o", "/n"), 1, "Committing /o\nSuccess!\n\n", False),
        (ReplaceFile(FileKind.CERTIFICATE, "/o", "/n"), 1, "Committing /o.\nFailed!\n\n", False),
        (ReplaceFile(FileKind.CA, "/o", "/n"), 0, "transaction created for CA /o!\n\n", True),
        (ReplaceFile(FileKind.CRL, "/o", "/n"), 0, "transaction created for CRL /o!\n\n", True),
        (RemoveCertificate("/l", "/o", is_unused=True), 0, "Entry '/o' deleted in crtlist '/l'!\n\n", True),
        (RemoveCertificate("/l", "/o", is_unused=True), 1, "Certificate '/o' deleted!\n\n", True),
    ],
)
def test_only_known_answers_are_success(step: RuntimeStep, index: int, answer: str, is_accepted: bool) -> None:  # noqa: FBT001
    assert commands_of(step, PEM)[index].accepts(answer) is is_accepted


@given(st.lists(st.text(min_size=1), min_size=1))
def test_no_word_becomes_two_commands(words: list[str]) -> None:
    try:
        text = command(*words).text
    except MalformedData:
        return
    assert text.split(" ") == words
    assert text.isprintable()
    assert not set(text) & set(";\\<>#\n\r\"'")


@pytest.mark.parametrize("name", ["a b", "a;b", "a\nb", "a<<", "a\\", "a\x00", "#1", 'a"b', "ä"])
def test_names_from_a_configuration_cannot_say_more(name: str) -> None:
    with pytest.raises(MalformedData):
        commands_of(SetWeight(name, "a", 1))
    with pytest.raises(MalformedData):
        commands_of(RemoveCertificate("/l", name, is_unused=True))


@given(st.binary())
def test_a_payload_never_ends_early(data: bytes) -> None:
    try:
        payload = payload_of(data)
        sent = command("set", "ssl", "cert", "/x", payload=payload)
    except MalformedData:
        return
    assert "\n\n" not in sent.payload
    assert all(line.strip() for line in sent.payload.splitlines())


def test_a_payload_without_blank_lines_and_not_too_long() -> None:
    assert payload_of(b"a\r\n\r\n \nb") == "a\nb\n"
    with pytest.raises(MalformedData):
        payload_of(b"\n\n")
    with pytest.raises(MalformedData):
        commands_of(ReplaceFile(FileKind.CA, "/o", "/n"), "a" * PAYLOAD_MAX + "\n")
