"""Requests of scrapers and the format they prefer."""

from __future__ import annotations

import pytest

from amphora_agent.core.metrics.request import BadRequest, parse_request, prefers_openmetrics

# What Prometheus 2 and 3 send.
PROMETHEUS_2 = (
    b"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    b"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    b"application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    b"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        (b"", False),
        (b"*/*", False),
        (b"text/plain", False),
        (b"text/plain;q=0.9, application/openmetrics-text;q=0.5", False),
        (b"application/openmetrics-text;version=0.0.1", False),
        (b"application/openmetrics-text;q=0", False),
        (b"application/openmetrics-text;q=much", False),
        (b'Application/OpenMetrics-Text; version="1.0.0"', True),
        (b";;;,,q=;=", False),
    ],
)
def test_format(accepted: bytes, *, wanted: bool) -> None:
    assert prefers_openmetrics(accepted) is wanted


def test_any_path_is_the_metrics() -> None:
    scrape = parse_request(b"GET /anything?x HTTP/1.1\r\nHost: x\r\nACCEPT: " + PROMETHEUS_2)
    assert (scrape.openmetrics, scrape.chunked) == (True, True)
    assert parse_request(b"GET / HTTP/1.0").chunked is False


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"POST /metrics HTTP/1.1", 405), (b"HEAD / HTTP/1.1", 405), (b"", 400), (b"GET /", 400), (b"\x16\x03\x01", 400)],
)
def test_anything_else_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as error:
        parse_request(head)
    assert error.value.status.startswith(str(status).encode())
