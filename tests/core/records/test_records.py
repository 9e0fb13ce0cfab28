"""Records: read as written, the first release's too, and anything else is no record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.ids import PemName
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import (
    applied_config,
    condemned,
    keepalived,
    listener_change,
    reload_only,
    removing,
    replaced_worker,
)
from amphora_agent.core.records.applied_config import AppliedConfig, Commits
from amphora_agent.core.records.keepalived import KeepalivedRecord
from amphora_agent.core.records.listener_change import ListenerChange
from amphora_agent.core.records.replaced_worker import ReplacedWorker

PROCESSES = st.builds(ProcessId, st.integers(), st.integers())
TEXTS = st.text(st.characters())
MAPS = st.dictionaries(TEXTS, TEXTS)
TIMES = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}\.pem", fullmatch=True).filter(lambda name: name[0] != "-").map(PemName)
APPLIED = st.builds(
    AppliedConfig,
    config=TEXTS,
    digests=MAPS,
    worker=PROCESSES,
    crt_lists=MAPS,
    aliases=MAPS,
    commits=st.frozensets(st.sampled_from(Commits)),
    changed_at=st.none() | TIMES,
    is_unfinished=st.booleans(),
)
REMOVING = st.dictionaries(TEXTS | st.just("version"), st.dictionaries(TEXTS, TIMES))
Decode = Callable[[bytes | None], object]
DECODERS: list[Decode] = [
    applied_config.decode,
    condemned.decode,
    keepalived.decode,
    listener_change.decode,
    reload_only.decode,
    removing.decode,
    replaced_worker.decode,
]
# Of the first release: any number, and any mapping.
LOOSE: list[Decode] = [listener_change.decode, removing.decode]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "version",
                    "config",
                    "digests",
                    "worker",
                    "pid",
                    "started",
                    "stat",
                    "names",
                    "backends",
                    "at",
                    "is_applied",
                ]
            ),
            children,
        )
    ),
)


@given(APPLIED)
def test_an_applied_configuration_is_read_as_written(record: AppliedConfig) -> None:
    assert applied_config.decode(applied_config.encode(record)) == record


@given(REMOVING)
def test_servers_being_removed_are_read_as_written(record: dict[str, dict[str, float]]) -> None:
    assert removing.decode(removing.encode(record)) == record


@given(st.builds(ReplacedWorker, PROCESSES, TEXTS))
def test_the_answer_of_a_replaced_worker_is_read_as_written(record: ReplacedWorker) -> None:
    assert replaced_worker.decode(replaced_worker.encode(record)) == record


@given(st.frozensets(NAMES))
def test_condemned_files_are_read_as_written(names: frozenset[PemName]) -> None:
    assert condemned.decode(condemned.encode(names)) == names


@given(st.builds(KeepalivedRecord, TEXTS, PROCESSES))
def test_what_keepalived_was_given_is_read_as_written(record: KeepalivedRecord) -> None:
    assert keepalived.decode(keepalived.encode(record)) == record


@given(st.builds(ListenerChange, TIMES, st.booleans()))
def test_the_change_of_a_listener_is_read_as_written(record: ListenerChange) -> None:
    assert listener_change.decode(listener_change.encode(record)) == record


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"12.500", ListenerChange(12.5, is_applied=True)),
        (b"pending 12.500", ListenerChange(12.5, is_applied=False)),
        (b"pending", None),
        (b"pending {}", None),
        (b"NaN", None),
        (b"true", None),
        (b'{"version": 2, "at": 1.0, "is_applied": 1}', None),
    ],
)
def test_the_change_of_a_listener_was_a_text_in_the_first_release(data: bytes, expected: object) -> None:
    assert listener_change.decode(data) == expected


@given(TEXTS)
def test_the_reason_for_reloads_is_read_as_written(reason: str) -> None:
    assert reload_only.decode(reload_only.encode(reason)) == reason


WORKER = {"pid": 7, "started": 900}
APPLIED_OF_THE_FIRST_RELEASE: dict[str, Any] = {
    "config": "global\n",
    "digests": {"/c/a.pem": "1"},
    "worker": WORKER,
    "crt_lists": {},
    "aliases": {"/c/b.pem": "/c/a.pem"},
    "commits": ["certificate"],
    "changed_at": 12.5,
    "is_unfinished": False,
}


@pytest.mark.parametrize(
    ("decode", "document", "expected"),
    [
        (
            applied_config.decode,
            APPLIED_OF_THE_FIRST_RELEASE,
            AppliedConfig(
                config="global\n",
                digests={"/c/a.pem": "1"},
                worker=ProcessId(7, 900),
                aliases={"/c/b.pem": "/c/a.pem"},
                commits=frozenset({Commits.CERTIFICATE}),
                changed_at=12.5,
            ),
        ),
        (removing.decode, {"p:l": {"a": 5, "d": 6.5}}, {"p:l": {"a": 5.0, "d": 6.5}}),
        (removing.decode, {"version": {"a": 5}}, {"version": {"a": 5.0}}),
        (removing.decode, {"p:l": {"a": 5, "b": "c"}, "q:l": 1}, {"p:l": {"a": 5.0}}),
        (condemned.decode, ["a.pem", "../b.pem", 3], frozenset({"a.pem"})),
        (replaced_worker.decode, {**WORKER, "stat": "# x\n\n"}, ReplacedWorker(ProcessId(7, 900), "# x\n\n")),
        (keepalived.decode, {**WORKER, "config": "x"}, KeepalivedRecord("x", ProcessId(7, 900))),
    ],
)
def test_files_of_the_first_release_are_understood(decode: Decode, document: object, expected: object) -> None:
    assert decode(json.dumps(document).encode()) == expected


@pytest.mark.parametrize("version", [0, 3, 10**30, -1, True, "1", None, 1.0, [], "x"])
def test_unknown_versions_are_not_known(version: object) -> None:
    documents = (
        APPLIED_OF_THE_FIRST_RELEASE,
        {"backends": {"p:l": {"a": 1.0}}},
        {"names": ["a.pem"]},
        {**WORKER, "stat": "", "config": ""},
    )
    for decode in DECODERS:
        assert [decode(json.dumps({**document, "version": version}).encode()) for document in documents] == [None] * 4


@pytest.mark.parametrize("decode", DECODERS)
def test_no_file_is_no_record(decode: Decode) -> None:
    assert decode(None) is None


@pytest.mark.parametrize("decode", [decode for decode in DECODERS if decode not in LOOSE])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"5",
        b"[" * 100_000,
        b'{"version": 1',
        b'{"config": 1, "digests": {}, "worker": {"pid": 1, "started": 1}}',
        b'{"config": "", "digests": [], "worker": {"pid": 1, "started": 1}}',
        b'{"config": "", "digests": {"a": 1}, "worker": {"pid": 1, "started": 1}}',
        b'{"config": "", "digests": {}, "worker": {"pid": true, "started": 1}}',
        b'{"config": "", "digests": {}, "worker": {"pid": "1", "started": 1}}',
        b'{"config": "", "digests": {}, "worker": 5}',
        b'{"config":1,"pid":2,"started":3}',
        b'{"stat":"","pid":2.0,"started":3}',
    ],
)
def test_junk_is_no_record(decode: Decode, data: bytes) -> None:
    assert decode(data) is None


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"[]", b"5", b"{", b'{"version": 2}', b"[" * 100_000])
def test_junk_is_no_record_of_servers_being_removed(data: bytes) -> None:
    assert removing.decode(data) is None


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_nothing_makes_a_reader_fail(data: bytes) -> None:
    for decode in DECODERS:
        decode(data)
