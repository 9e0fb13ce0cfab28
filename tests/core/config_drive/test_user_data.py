"""User data: which formats are read, and what a cloud-config says."""

from __future__ import annotations

import base64
import contextlib
import gzip
import html
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.config_drive.cloud_config import CloudConfig, parse_cloud_config, unescape
from amphora_agent.core.config_drive.model import DriveFile
from amphora_agent.core.config_drive.user_data import cloud_config_text
from amphora_agent.errors import InvalidRequest
from amphora_agent.host.config_drive.yaml_text import load_yaml

SAMPLES = Path(__file__).parents[3] / "testbed/samples"
RSYSLOG = (SAMPLES / "agent/10-rsyslog.conf").read_text().strip()


def read(text: str) -> CloudConfig:
    config = cloud_config_text(text.encode())
    assert config is not None
    return parse_cloud_config(load_yaml(config))


# Formats


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_no_user_data_is_no_fault(data: bytes) -> None:
    assert cloud_config_text(data) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(b"#cloud-config\n", mtime=0), "gzip"),
        (b"Content-Type: multipart/mixed; boundary=x\n", "multipart"),
        (b"MIME-Version: 1.0\n", "multipart"),
        (b"From nobody Fri Jan 11 07:00:00 1980\nContent-Type: multipart/mixed\n", "multipart"),
        (b"#!/bin/sh\nreboot\n", "script"),
        (b"#include\n", "list of addresses"),
        (b"#cloud-boothook\n", "boot hook"),
        (b"#cloud-config-archive\n- x\n", "archive"),
        (b"## template: jinja\n#cloud-config\n", "template"),
        (b"write_files: []\n", "unknown format"),
        (b"#cloud-config\n\xff\xfe", "UTF-8"),
    ],
)
def test_every_other_format_is_refused_by_its_name(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        cloud_config_text(data)
    assert words in refused.value.detail
    assert "only plain #cloud-config" in refused.value.detail


def test_blank_lines_and_carriage_returns_before_the_first_line_do_not_matter() -> None:
    assert cloud_config_text(b"\n\n#cloud-config\r\ntimezone: UTC\r\n") is not None


# What the controller renders


def test_the_controllers_files_are_what_they_were_before_its_escaping() -> None:
    config = read((SAMPLES / "user-data/01-files-in-user-data.yaml").read_text())
    files = {file.path: file for file in config.files}
    assert files["/etc/rsyslog.d/10-rsyslog.conf"].content.decode().strip() == RSYSLOG
    agent = (SAMPLES / "agent/amphora-agent-single.conf").read_text().strip()
    assert files["/etc/octavia/amphora-agent.conf"].content.decode().strip() == agent
    assert {file.mode for file in config.files} == {0o600}
    assert (config.commands, config.time_zone, config.complaints) == ((), "UTC", ())


def test_restarts_of_what_has_not_started_are_left_out() -> None:
    config = read((SAMPLES / "user-data/02-personality.yaml").read_text())
    assert config == CloudConfig(time_zone="UTC")


# Files


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{path: /a, content: x}", DriveFile(path="/a", content=b"x")),
        ("{path: /a}", DriveFile(path="/a", content=b"")),
        ("{path: /a, content: yes, permissions: 0644}", DriveFile(path="/a", content=b"yes", mode=0o644)),
        ("{path: /a, permissions: '0755'}", DriveFile(path="/a", content=b"", mode=0o755)),
        ("{path: /a, permissions: 0o600}", DriveFile(path="/a", content=b"", mode=0o600)),
        ("{path: /a, owner: 'www-data:adm'}", DriveFile(path="/a", content=b"", owner="www-data:adm")),
        ("{path: /a, append: true}", DriveFile(path="/a", content=b"", is_appended=True)),
        ("{path: /a, content: 'aGk=', encoding: b64}", DriveFile(path="/a", content=b"hi")),
        ("{path: /a, content: 'aGk=', encoding: base64}", DriveFile(path="/a", content=b"hi")),
        ("{path: /a, content: '&lt;x', encoding: text/plain}", DriveFile(path="/a", content=b"<x")),
    ],
)
def test_files(entry: str, expected: DriveFile) -> None:
    config = read(f"#cloud-config\nwrite_files:\n- {entry}\n")
    assert (config.files, config.complaints) == ((expected,), ())


def test_compressed_content_is_read() -> None:
    content = base64.b64encode(gzip.compress(b"hello" * 1000)).decode()
    config = read(f"#cloud-config\nwrite_files:\n- {{path: /a, encoding: gz+b64, content: {content}}}\n")
    assert config.files[0].content == b"hello" * 1000


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{path: a}", "absolute"),
        ("{path: /a/../etc/shadow}", "leads elsewhere"),
        ("{path: /a/}", "leads elsewhere"),
        ("{content: x}", "no text"),
        ("{path: [/a]}", "no text"),
        ("word", "no mapping"),
        ("{path: /a, content: '****', encoding: b64}", "no base64"),
        ("{path: /a, content: 'aGk=', encoding: gz+b64}", "no gzip"),
        ("{path: /a, content: x, encoding: rot13}", "rot13"),
        ("{path: /a, permissions: rw}", "not octal"),
        ("{path: /a, owner: 'ro ot'}", "USER:GROUP"),
        ("{path: /a, content: {b: c}}", "content is no text"),
    ],
)
def test_a_wrong_file_is_left_out_in_words_and_the_others_are_not(entry: str, words: str) -> None:
    config = read(f"#cloud-config\nwrite_files:\n- {entry}\n- {{path: /good, content: x}}\n")
    assert [file.path for file in config.files] == ["/good"]
    assert [words in complaint for complaint in config.complaints] == [True]


def test_a_cut_gzip_is_no_half_a_file() -> None:
    content = base64.b64encode(gzip.compress(b"hello" * 1000)[:-12]).decode()
    config = read(f"#cloud-config\nwrite_files:\n- {{path: /a, encoding: gz+b64, content: {content}}}\n")
    assert config.files == ()
    assert "cut off" in config.complaints[0]


def test_no_complaint_holds_content() -> None:
    text = "#cloud-config\nwrite_files:\n- {path: /a, content: 'SECRET!', encoding: b64}\n- SECRET\nruncmd: SECRET\n"
    assert "SECRET" not in str(read(text).complaints)


# The rest


def test_commands_are_lines_for_a_shell() -> None:
    config = read("#cloud-config\nruncmd:\n- echo a; echo b\n- [echo, 'a b']\n- {x: y}\n- service rsyslog restart\n")
    assert config.commands == ("echo a; echo b", "echo 'a b'")
    assert config.complaints == ("left out command 2 of runcmd: neither a text nor a list of texts",)


def test_unknown_keys_are_named() -> None:
    config = read("#cloud-config\npackages: [vim]\nwrite_files:\n- {path: /a, defer: true}\n")
    assert len(config.files) == 1
    assert config.complaints == (
        "ignored the unknown key 'packages' of the user data",
        "ignored the unknown key 'defer' of /a",
    )


@pytest.mark.parametrize("zone", ["../../etc/shadow", "/etc/passwd", "a b", "[UTC]", "{a: b}"])
def test_a_time_zone_that_is_none_is_ignored(zone: str) -> None:
    config = read(f"#cloud-config\ntimezone: {zone}\n")
    assert config.time_zone == ""
    assert len(config.complaints) == 1


@pytest.mark.parametrize("text", ["#cloud-config\n", "#cloud-config\nwrite_files:\nruncmd:\n", "#cloud-config\n--- \n"])
def test_nothing_is_asked_for(text: str) -> None:
    assert read(text) == CloudConfig()


@pytest.mark.parametrize("text", ["#cloud-config\n- a\n", "#cloud-config\nword\n"])
def test_a_document_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="user data"):
        read(text)


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\tx: y", "a: *unknown", "[" * 5000, "? [a]\n: b"])
def test_what_is_no_yaml_is_refused_with_its_place_and_without_its_text(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        load_yaml(text)
    assert "no YAML" in refused.value.detail
    assert "unknown" not in refused.value.detail


# HTML


@given(st.text())
def test_what_was_escaped_comes_back(text: str) -> None:
    escaped = html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    assert unescape(escaped) == text


@pytest.mark.parametrize(
    "text",
    [
        "<p>Tom &amp; Jerry</p>",
        'title = "a &lt; b"',
        "a & b",
        "&amp; &eacute;",
        "it's &amp;",
        "plain",
        "",
    ],
)
def test_what_the_escaping_cannot_have_made_is_left_alone(text: str) -> None:
    assert unescape(text) == text


# Garbage

TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["/etc/a", "/a/../b", "b64", "gz+b64", "0644", "true", "aGk="]))
KEYS = st.sampled_from(
    ["write_files", "runcmd", "timezone", "path", "content", "permissions", "owner", "encoding", "x"]
)
TREES = st.recursive(
    TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(TREES)
def test_no_document_makes_a_file_outside_or_an_error_unforeseen(document: object) -> None:
    with contextlib.suppress(InvalidRequest):
        config = parse_cloud_config(document)
        assert all(file.path.startswith("/") and ".." not in file.path.split("/") for file in config.files)
        assert all(0 <= file.mode <= 0o7777 for file in config.files)


@given(st.lists(st.one_of(TREES, st.just({"path": "/good", "content": "x"})), max_size=6))
def test_good_files_survive_any_neighbours(entries: list[object]) -> None:
    good = DriveFile(path="/good", content=b"x")
    config = parse_cloud_config({"write_files": entries})
    wanted = sum(entry == {"path": "/good", "content": "x"} for entry in entries)
    assert sum(file == good for file in config.files) >= wanted
    assert len(config.files) + sum("left out file" in words for words in config.complaints) == len(entries)


@given(st.binary(max_size=200))
def test_any_bytes_are_nothing_a_text_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        text = cloud_config_text(data)
        assert text is None or text.startswith("#cloud-config")
        if text is not None:
            parse_cloud_config(load_yaml(text))


@given(st.text(max_size=300))
def test_any_text_is_yaml_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        parse_cloud_config(load_yaml(text))
