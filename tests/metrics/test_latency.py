"""Latency histograms in a scrape: from what rsyslog wrote, however that file is, or a word why there are none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from amphora_agent.core.metrics.own import LATENCY_SOURCE
from amphora_agent.core.metrics.record import render, sample
from tests.metrics.exporters import chunked, exporter, members, saying
from tests.metrics.test_server import OPENMETRICS, get, proxy

LISTENER = "7f699c35-164b-5869-a43d-47618ff89fe2"
LINE = f"amphora-latency-0.1: origin=dynstats.bucket {LISTENER}=%d \n"
NO_STATISTICS = f'amphora_latency_source{{listener="{LISTENER}",source="no_statistics"}} 1\n'


def everything(count: int) -> str:
    return f'amphora_listener_duration_seconds_bucket{{listener="{LISTENER}",le="+Inf"}} {count}\n'


@pytest.fixture
def records(tmp_path: Path) -> Path:
    (tmp_path / "agent").write_bytes(render([sample(LATENCY_SOURCE, (LISTENER, "requests"), 1)]))
    return tmp_path


def scraped(records: Path, *, accept: str = "") -> str:
    with exporter(saying(chunked(members(3)))) as upstream, proxy(upstream, records=str(records)) as port:
        status, _, body = get(port, accept=accept)
    assert status == 200
    return body.decode()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_what_was_counted_is_shown(records: Path) -> None:
    (records / "latency").write_text(LINE % 3 + LINE % 4)
    body = scraped(records)
    assert "# TYPE amphora_listener_duration_seconds histogram\n" in body
    assert everything(4) in body
    assert f'amphora_latency_source{{listener="{LISTENER}",source="requests"}} 1\n' in body
    ours = "".join(each for each in body.splitlines(keepends=True) if "amphora_" in each)
    checked = subprocess.run(["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_openmetrics_has_them_too(records: Path) -> None:
    (records / "latency").write_text(LINE % 4)
    assert everything(4) in scraped(records, accept=OPENMETRICS)


def test_what_was_set_aside_counts_until_more_is_written(records: Path) -> None:
    (records / "latency.1").write_text(LINE % 5)
    assert everything(5) in scraped(records)
    (records / "latency").write_text(LINE % 6)
    assert everything(6) in scraped(records)


def test_without_rsyslog_it_is_said_why_there_are_none(records: Path) -> None:
    body = scraped(records)
    assert NO_STATISTICS in body
    assert "amphora_listener_duration_seconds" not in body


def test_what_an_rsyslog_left_that_no_longer_counts_is_not_shown(records: Path) -> None:
    (records / "latency").write_text(LINE % 5)
    os.utime(records / "latency", (0, 0))
    body = scraped(records)
    assert NO_STATISTICS in body
    assert "amphora_listener_duration_seconds" not in body


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00\n", b"amphora-latency-0.1: origin=dynstats.bucket " + b"x" * (1 << 20)]
)
def test_garbage_costs_the_histograms_alone(records: Path, content: bytes) -> None:
    (records / "latency").write_bytes(content)
    assert NO_STATISTICS in scraped(records)


def test_neither_a_link_nor_a_directory_is_followed(records: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(LINE % 5)
    (records / "latency").symlink_to(tmp_path / "elsewhere")
    (records / "latency.1").mkdir()
    assert NO_STATISTICS in scraped(records)
