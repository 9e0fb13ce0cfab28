"""meta_data.json, and what the reader remembers."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.config_drive.metadata import FileReference, MetaData, parse_metadata
from amphora_agent.core.config_drive.progress import Progress, begin, parse_progress, render_progress
from amphora_agent.errors import InvalidRequest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== operator@cloud"


def parse(**document: object) -> MetaData:
    return parse_metadata(json.dumps(document).encode())


def test_what_nova_writes() -> None:
    metadata = parse(
        uuid="83679162-1378-4288-a2d4-70e13ec132aa",
        hostname="amphora-25744ac1.novalocal",
        name="amphora-25744ac1",
        files=[{"path": "/etc/octavia/certs/server.pem", "content_path": "/content/0000"}],
        public_keys={"octavia_ssh_key": KEY + "\n"},
        random_seed="c2VlZA==",
        availability_zone="nova",
        launch_index=0,
        devices=[],
    )
    assert metadata == MetaData(
        instance="83679162-1378-4288-a2d4-70e13ec132aa",
        host_name="amphora-25744ac1",
        files=(FileReference(path="/etc/octavia/certs/server.pem", content_path="/content/0000"),),
        keys=(KEY,),
        random_seed=b"seed",
    )


@pytest.mark.parametrize("name", ["-a", "a_b", "a b", "x" * 64, "a\nb", "ä"])
def test_a_host_name_that_is_none_is_ignored(name: str) -> None:
    assert parse(hostname=name).host_name == ""


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "/a", "content_path": "/content/../latest/user_data"},
        {"path": "/a", "content_path": "content/0000"},
        {"path": "/a"},
        {"path": "a", "content_path": "/content/0001"},
        {"path": "/a/../b", "content_path": "/content/0001"},
        {"path": 7, "content_path": "/content/0001"},
        "text",
        None,
    ],
)
def test_a_wrong_file_is_left_out_in_words_and_the_others_are_not(entry: object) -> None:
    metadata = parse(files=[entry, {"path": "/good", "content_path": "/content/0001"}])
    assert [reference.path for reference in metadata.files] == ["/good"]
    assert len(metadata.complaints) == 1


@pytest.mark.parametrize("keys", [{"a": "none"}, {"a": f"{KEY}\ncommand"}, ["x"], 7])
def test_a_key_that_is_none_is_ignored(keys: object) -> None:
    metadata = parse(public_keys=keys)
    assert (metadata.keys, len(metadata.complaints)) == ((), 1)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"meta_data\.json"):
        parse_metadata(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["path", "content_path", "a"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["uuid", "hostname", "files", "public_keys", "random_seed"]), JSON))
def test_no_document_makes_an_error_unforeseen(document: dict[str, object]) -> None:
    for reference in parse(**document).files:
        assert reference.path.startswith("/")


@given(st.binary(max_size=100))
def test_any_bytes_are_metadata_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        parse_metadata(data)


# What is remembered


@given(st.text(), st.frozensets(st.text()))
def test_progress_comes_back_from_its_file(instance: str, done: frozenset[str]) -> None:
    assert parse_progress(render_progress(Progress(instance, done))) == Progress(instance, done)


@given(st.none() | st.binary(max_size=60))
def test_a_file_that_makes_no_sense_is_nothing_done(data: bytes | None) -> None:
    assert isinstance(parse_progress(data), Progress)


def test_another_instance_begins_anew_and_an_unknown_one_does_not() -> None:
    recorded = Progress("first", frozenset({"/a"}))
    assert begin(recorded, "first") == recorded
    assert begin(recorded, "") == recorded
    assert begin(recorded, "second") == Progress("second")
