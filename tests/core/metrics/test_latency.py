"""Latency histograms: rsyslog's counts to buckets, and which listeners have any."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.config import parse as parse_config
from amphora_agent.core.metrics.latency import BOUNDS, histograms, parse
from amphora_agent.core.metrics.latency_source import sources

REPOSITORY = Path(__file__).parent.parent.parent.parent
CONF = (REPOSITORY / "etc/rsyslog/05-amphora-latency.conf").read_text()
SAMPLES = REPOSITORY / "testbed/samples/haproxy"
LISTENER = "7f699c35-164b-5869-a43d-47618ff89fe2"
OTHER = "77a0fc79-db97-5917-afe4-9d7cbdecf397"


def line(bound: str, **counts: int) -> bytes:
    names = {"one": LISTENER, "two": OTHER}
    items = "".join(f"{names[name]}={count} " for name, count in counts.items())
    return f"amphora-latency-{bound}: origin=dynstats.bucket {items}\n".encode()


def source(listener: str, word: str) -> bytes:
    return f'amphora_latency_source{{listener="{listener}",source="{word}"}} 1\n'.encode()


def kinds(text: str) -> dict[str, str]:
    return dict(sources(parse_config(text), is_wanted=True))


def test_rsyslog_counts_in_the_buckets_that_are_read() -> None:
    assert re.findall(r'dyn_stats\(name="amphora-latency-([^"]+)"', CONF) == list(BOUNDS)
    counted = re.findall(r'milliseconds <= (\d+) then .*dyn_inc\("amphora-latency-([^"]+)"', CONF)
    assert [(float(bound) * 1000, bound) for bound in BOUNDS[:-1]] == [(float(ms), bound) for ms, bound in counted]
    assert f'else set $.counted = dyn_inc("amphora-latency-{BOUNDS[-1]}"' in CONF


def test_buckets_hold_all_that_was_faster() -> None:
    counts = parse(line("0.005", one=2, two=7) + line("0.1", one=1) + line("inf", one=4))
    found = histograms(source(LISTENER, "requests"), counts)
    assert set(found) == {b"amphora_listener_duration_seconds"}
    lines = found[b"amphora_listener_duration_seconds"].decode().splitlines()
    values = [int(each.rpartition(" ")[2]) for each in lines]
    assert values == [2, 2, 2, 2, *[3] * (len(BOUNDS) - 5), 7]
    assert lines[0] == f'amphora_listener_duration_seconds_bucket{{listener="{LISTENER}",le="0.005"}} 2'
    assert lines[-1] == f'amphora_listener_duration_seconds_bucket{{listener="{LISTENER}",le="+Inf"}} 7'


def test_sessions_have_a_name_of_their_own_and_others_are_left_out() -> None:
    counts = parse(line("1", one=1, two=1))
    found = histograms(source(LISTENER, "sessions") + source(OTHER, "custom_format"), counts)
    assert set(found) == {b"amphora_listener_session_duration_seconds"}
    assert OTHER.encode() not in b"".join(found.values())


def test_the_last_whole_line_of_a_bucket_holds() -> None:
    text = b"half a line=3\n" + line("1", one=5) + line("1", one=6) + line("2.5", one=1)[:-1]
    assert parse(text) == {b"1": {LISTENER.encode(): 6}}


@pytest.mark.parametrize("text", [b"", b"\n", b"amphora-latency-1: origin=dynstats.bucket x=1 =\n", b"\xff\0\n" * 9])
def test_what_is_no_count_is_none(text: bytes) -> None:
    assert not any(parse(text).values())


def test_every_sample_of_the_controller_is_counted() -> None:
    for path in SAMPLES.glob("*.cfg"):
        text = path.read_text()
        if "no-connection-logging" not in path.name and "old-haproxy" not in path.name:
            assert set(kinds(text).values()) <= {"requests", "sessions"}, path.name
    assert kinds((SAMPLES / "01-http-basic.cfg").read_text()) == {LISTENER: "requests"}
    assert kinds((SAMPLES / "02-tcp-leastconn-tcp-monitor.cfg").read_text()) == {LISTENER: "sessions"}
    assert kinds((SAMPLES / "28-no-connection-logging.cfg").read_text()) == {LISTENER: "no_logging"}


def with_format(line_of_it: str) -> str:
    text = (SAMPLES / "01-http-basic.cfg").read_text()
    return re.sub(r"^    log-format .*$", lambda _: f"    {line_of_it}", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "line_of_it",
    [
        "log-format %f\\ %Tt\\ %tsc",
        "log-format a\\ b\\ %f\\ %ci\\ %Tr\\ %tsc",
        'log-format "a b %f %ci %Tt"',
        "option httplog",
    ],
)
def test_another_format_is_said_to_be_one(line_of_it: str) -> None:
    assert kinds(with_format(line_of_it)) == {LISTENER: "custom_format"}


def test_the_same_format_in_quotes_is_the_same() -> None:
    assert kinds(with_format('log-format "a b %f %ci %{+Q}r %Tt %tsc"')) == {LISTENER: "requests"}


def test_switched_off_is_said() -> None:
    config = parse_config((SAMPLES / "01-http-basic.cfg").read_text())
    assert dict(sources(config, is_wanted=False)) == {LISTENER: "switched_off"}
