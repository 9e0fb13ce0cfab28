"""The estimate of a worker's memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.memory import worker_bytes

SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "haproxy"
MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 5, 10),
        ("global\n maxconn 50000\n", 12, 20),
        ("global\n maxconn 1000000\n", 120, 150),
        ("global\n tune.ssl.cachesize 1000000\nfrontend f\n bind :80\n", 5, 10),
        ("global\n tune.ssl.cachesize 1000000\nfrontend f\n bind :443 ssl crt-list x\n", 240, 270),
    ],
)
def test_estimates_are_of_the_measured_size(text: str, low: int, high: int) -> None:
    assert low * MEGABYTE <= worker_bytes(parse(text)) <= high * MEGABYTE


def test_the_sample_that_sizes_the_cache_by_free_memory() -> None:
    config = parse((SAMPLES / "26-cpu-pinning-ssl-cache.cfg").read_text())
    assert worker_bytes(config) > 1000 * MEGABYTE


@given(st.text())
def test_any_text_has_an_estimate(text: str) -> None:
    assert worker_bytes(parse(text)) > 0
