"""The decision: every sample against every other, and what may never look like a change, or like none."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.change import (
    Decision,
    Nothing,
    Permissions,
    Reload,
    Start,
    decide,
)
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.applied_config import AppliedConfig
from testbed import haproxy_text

SAMPLES_DIRECTORY = Path(__file__).parents[3] / "testbed" / "samples" / "haproxy"
SAMPLES = {path.stem: path.read_text() for path in sorted(SAMPLES_DIRECTORY.glob("*.cfg"))}
WORKER = ProcessId(4711, 123456)
PERMISSIONS = Permissions(version=Version(3, 0, 11))
RELOAD_ONLY = replace(PERMISSIONS, runtime_changes=False)
BACKEND = "backend p:l\n    balance {algorithm}\n    option allbackups\n{servers}"
A = "    server a 10.0.0.1:80 weight 1\n"
B = "    server b 10.0.0.2:80 weight 1\n"


def significant_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def change(before: str, after: str, permissions: Permissions = RELOAD_ONLY) -> Decision:
    applied = AppliedConfig(config=before, digests={}, worker=WORKER)
    return decide(applied, haproxy_text.stored(config=after, digests={}), WORKER, permissions)


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(SAMPLES, 2)))
def test_two_samples_are_the_same_only_if_their_lines_are(before: str, after: str) -> None:
    expected = Nothing if significant_lines(SAMPLES[before]) == significant_lines(SAMPLES[after]) else Reload
    assert isinstance(change(SAMPLES[before], SAMPLES[after]), expected)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_sample_again_is_nothing(name: str) -> None:
    text = SAMPLES[name]
    spaced = "# another comment\n" + text.replace("    ", "\t  ").replace("\n", "  # c\n\n")
    assert isinstance(change(text, text), Nothing)
    assert isinstance(change(text, spaced), Nothing)
    assert isinstance(change(text, text.replace("    maxconn", "    tune.ssl.cachesize 123\n    maxconn", 1)), Nothing)
    assert isinstance(change(text, text + "    maxconn 1\n"), Reload)


@pytest.mark.parametrize(
    ("algorithm", "decision"),
    [("roundrobin", Nothing), ("leastconn", Nothing), ("source", Reload), ("first", Reload), ("random(2)", Reload)],
)
def test_order_of_servers(algorithm: str, decision: type[Decision]) -> None:
    before = BACKEND.format(algorithm=algorithm, servers=A + B)
    after = BACKEND.format(algorithm=algorithm, servers=B + A)
    assert isinstance(change(before, after), decision)


def test_order_of_servers_matters_where_they_inherit_or_only_the_first_backup_takes_over() -> None:
    inherit = "    default-server inter 1s\n"
    before = BACKEND.format(algorithm="roundrobin", servers=A + inherit + B)
    assert isinstance(change(before, BACKEND.format(algorithm="roundrobin", servers=B + inherit + A)), Reload)
    backups = f"backend b\n    balance roundrobin\n{A[:-1]} backup\n{B[:-1]} backup\n"
    swapped = f"backend b\n    balance roundrobin\n{B[:-1]} backup\n{A[:-1]} backup\n"
    assert isinstance(change(backups, swapped), Reload)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("backend a\n", "", "backend a was removed"),
        ("", "backend a\n", "backend a was added"),
        ("global\n maxconn 1\n", "global\n maxconn 2\n", "section global changed"),
        ("frontend a\nbackend b\n", "backend b\nfrontend a\n", "the order of the sections changed"),
        ("backend b\nbackend b\n", "backend b\n", "the order of the sections changed"),
        ("maxconn 1\n", "\n", "maxconn 1 was removed"),
        (" maxconn 1\n", "\n", "lines before the first section changed"),
        ('global\n log-tag "a  b"\n', 'global\n log-tag "a b"\n', "section global changed"),
    ],
)
def test_the_reason_names_what_changed(before: str, after: str, reason: str) -> None:
    assert change(before, after, PERMISSIONS) == Reload(reason)


def test_a_renewed_certificate_under_the_same_text_is_a_change() -> None:
    applied = AppliedConfig(config="global\n", digests={"/c/l.pem": "1", "/c/a.pem": "2"}, worker=WORKER)
    renewed = haproxy_text.stored(config="global\n", digests={"/c/l.pem": "3", "/c/b.pem": "4"})
    assert decide(applied, renewed, WORKER, RELOAD_ONLY) == Reload(
        "the content of a.pem changed; runtime changes are switched off"
    )
    same = haproxy_text.stored(config="global\n", digests=dict(applied.digests))
    assert isinstance(decide(applied, same, WORKER, RELOAD_ONLY), Nothing)


def test_a_load_balancer_that_does_not_run_is_started() -> None:
    stored = haproxy_text.stored(config="global\n", digests={})
    assert isinstance(decide(None, stored, None, PERMISSIONS), Start)
    assert isinstance(
        decide(AppliedConfig(config="global\n", digests={}, worker=WORKER), stored, None, PERMISSIONS), Start
    )


def test_what_is_not_known_to_run_is_reloaded() -> None:
    stored = haproxy_text.stored(config="global\n", digests={})
    applied = AppliedConfig(config="global\n", digests={}, worker=WORKER)
    assert isinstance(decide(None, stored, WORKER, PERMISSIONS), Reload)
    assert isinstance(decide(applied, stored, replace(WORKER, pid=1), PERMISSIONS), Reload)
    assert isinstance(decide(applied, stored, replace(WORKER, started=1), PERMISSIONS), Reload)
