"""The measurement of `prometheus-proxy`: the existing one and ours before the same HAProxy, scraped inside."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench import processes
from bench.arena import Arena, arena, configuration, member_ids
from bench.contestants import Contestant

SIZES = (1_000, 5_000)
SCRAPES = 5
PATIENCE = 60.0
MEGABYTE = 1_000_000
_PORT = 9102
_EXPORTER = """
frontend prometheus-exporter-internal-endpoint
    bind 127.0.0.1:9101
    mode http
    no log
    http-request use-service prometheus-exporter if { path /metrics }
    http-request reject
    timeout http-request 5s
    timeout client 5s
backend prometheus-exporter-internal
    mode http
    no log
    balance first
    timeout connect 5s
    timeout server 5s
    server prometheus-internal 127.0.0.1:9102

frontend """


def scrape(contestant: Contestant) -> dict[str, float]:
    """CPU, time and memory of a scrape of load balancers of 1,000 and 5,000 checked members; p50 of five."""
    figures: dict[str, float] = {}
    for count in SIZES:
        with arena(contestant) as place:
            text = configuration(place.amphora, member_ids(count)).replace("\nfrontend ", _EXPORTER, 1)
            place.apply(text)
            with _proxy(contestant, place) as pids:
                if not processes.wait_until(lambda: _fetch(place) > 0, 10):
                    raise RuntimeError(f"no metrics:\n{place.amphora.log[-2000:]}")
                with processes.peak_rss(lambda: pids, 0.005) as peak:
                    before = processes.whole_cpu_seconds(pids)
                    seconds = [_timed(place) for _ in range(SCRAPES)]
                    used = processes.whole_cpu_seconds(pids) - before
        figures[f"scrape cpu {count}"] = used / SCRAPES
        figures[f"scrape {count}"] = statistics.median(seconds)
        figures[f"scrape rss {count}"] = peak() / MEGABYTE
    return figures


def _timed(place: Arena) -> float:
    began = time.monotonic()
    if not _fetch(place):
        raise RuntimeError("a scrape failed")
    return time.monotonic() - began


def _fetch(place: Arena) -> int:
    """Return the bytes of a whole scrape, 0 when there was none."""
    received = bytearray(1 << 20)
    total, head = 0, b""
    with contextlib.suppress(OSError), place.amphora.netns.connect("127.0.0.1", _PORT, timeout=PATIENCE) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\nAccept: text/plain\r\n\r\n")
        while size := connection.recv_into(received):
            head = head or bytes(received[:64])
            total += size
    return total if b" 200 " in head else 0


@contextlib.contextmanager
def _proxy(contestant: Contestant, place: Arena) -> Iterator[tuple[int, ...]]:
    """Yield the proxy's processes: ours was started by the agent, the existing one by a unit of its image."""
    ours = _pids_of(place, b"prometheus_proxy")
    if ours:
        yield ours
        return
    command = [contestant.python(), str(Path(contestant.python()).with_name("prometheus-proxy"))]
    with place.amphora.spawn(command) as process:
        try:
            yield (process.pid,)
        finally:
            process.terminate()
            process.wait(20)


def _pids_of(place: Arena, words: bytes) -> tuple[int, ...]:
    found = []
    for pid in place.amphora.netns.pids():
        with contextlib.suppress(OSError):
            if words in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return tuple(found)
