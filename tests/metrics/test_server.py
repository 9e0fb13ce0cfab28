"""The proxy on real sockets, before exporters of every kind: a valid exposition, a 502, or an answer visibly cut."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.metrics.server import CONCURRENT, HELD_BACK, Server
from tests.metrics.exporters import Script, chunked, exporter, members, saying

FEW = members(3)
MANY = members(50_000)
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"


@contextlib.contextmanager
def proxy(upstream: tuple[str, int], *, records: str = "/nonexistent", scrape_seconds: float = 10.0) -> Iterator[int]:
    server = Server(address=("127.0.0.1", 0), upstream=upstream, records=records, scrape_seconds=scrape_seconds)
    server.start()
    try:
        yield server.port
    finally:
        server.close()


def get(port: int, *, accept: str = "", version: int = 11) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        if version == 10:
            connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
        connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read()


def scraped(script: Script, *, scrape_seconds: float = 10.0) -> tuple[int, dict[str, str], bytes]:
    with exporter(script) as upstream, proxy(upstream, scrape_seconds=scrape_seconds) as port:
        return get(port)


def test_an_answer_is_as_the_contract_says() -> None:
    status, headers, body = scraped(saying(chunked(FEW)))
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4"
    assert headers["cache-control"] == "no-cache"
    assert headers["connection"] == "close"
    lines = body.decode().splitlines()
    assert [line.split()[2] for line in lines if line.startswith("# TYPE octavia_")] == [
        "octavia_loadbalancer_cpu",
        "octavia_loadbalancer_memory",
        "octavia_member_weight",
    ]
    values = {line.split()[0]: line.split()[1] for line in lines if not line.startswith("#")}
    assert 0 < float(values["octavia_loadbalancer_memory"]) < 100
    assert all(values[name].count(".") == 1 for name in ("octavia_loadbalancer_cpu", "octavia_loadbalancer_memory"))
    assert 'octavia_member_weight{pool="pool:listener",member="member0000002"} 1' in lines
    assert {line.split()[2] for line in lines if line.startswith("# TYPE amphora_")} >= {
        "amphora_cpu_steal_seconds_total",
        "amphora_softnet_dropped_total",
        "amphora_tcp_memory_bytes",
        "amphora_listen_overflows_total",
    }


def test_records_of_other_processes_stand_among_the_metrics_of_the_same_name(tmp_path: Path) -> None:
    udp = 'octavia_member_weight{pool="udp:udp",member="m"} 5\n'
    (tmp_path / "heartbeat").write_text(f"amphora-metrics 1\n{udp}amphora_beat_bytes 700\nunknown_metric 1\n# end\n")
    (tmp_path / "agent").write_text("amphora-metrics 1\namphora_config_refused_total 2\n# end\n")
    (tmp_path / "torn").write_text("amphora-metrics 1\namphora_beat_bytes 1\n")
    (tmp_path / "newer").write_text("amphora-metrics 2\namphora_beat_bytes 2\n# end\n")
    (tmp_path / ".temporary").write_text("amphora-metrics 1\namphora_beat_bytes 3\n# end\n")
    (tmp_path / "directory").mkdir()
    with exporter(saying(chunked(FEW))) as upstream, proxy(upstream, records=str(tmp_path)) as port:
        body = get(port)[2].decode()
    family = body.split("# TYPE octavia_member_weight gauge\n")[1].split("#")[0]
    assert family.splitlines() == [udp.strip(), *(line for line in family.splitlines() if "member0" in line)]
    assert family.count("member0") == 3
    assert "# TYPE amphora_beat_bytes gauge\namphora_beat_bytes 700\n" in body
    assert "# TYPE amphora_config_refused_total counter\namphora_config_refused_total 2\n" in body
    assert "unknown" not in body


def test_openmetrics_when_the_client_prefers_it() -> None:
    with exporter(saying(chunked(FEW))) as upstream, proxy(upstream) as port:
        status, headers, body = get(port, accept=OPENMETRICS)
    assert (status, headers["content-type"]) == (
        200,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )
    assert body.endswith(b"\n# EOF\n")


def test_a_client_that_knows_no_chunks_gets_the_same() -> None:
    with exporter(saying(chunked(MANY))) as upstream, proxy(upstream) as port:
        old, new = get(port, version=10), get(port)
    assert "transfer-encoding" not in old[1]
    assert old[2].count(b"octavia_member_weight{") == new[2].count(b"octavia_member_weight{") == 50_000


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0\1\2\3\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200", id="cut head"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000, id="endless head"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", id="404"),
        pytest.param(b"HTTP/1.1 503 Service Unavailable\r\n\r\n" + FEW, id="503"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + FEW, id="shorter than it says"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + FEW[:-4], id="cut line"),
        pytest.param(chunked(FEW, whole=False), id="cut after a line"),
        pytest.param(chunked(FEW[:-4]), id="cut in a line, with an end"),
        pytest.param(chunked(FEW).replace(b"\r\n0\r\n", b"0\r\n"), id="chunk without an end"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", id="no chunk size"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n", id="negative chunk size"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 5000, id="endless chunk size"),
        pytest.param(chunked(b"<html>\n" * 100), id="something else"),
        pytest.param(chunked(b"x" * 1_000_000 + b"\n"), id="one huge line"),
    ],
)
def test_a_failure_is_a_502_without_a_body(answer: bytes) -> None:
    status, _, body = scraped(saying(answer))
    assert (status, body) == (502, b"")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = unused.getsockname()
    with proxy(address) as port:
        assert get(port)[0] == 502


def test_other_ways_to_say_where_a_body_ends() -> None:
    for head in (b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(FEW)):
        assert scraped(saying(head + FEW))[2].count(b"member0") == 3


def test_an_exporter_that_says_nothing_costs_no_more_than_the_deadline() -> None:
    def wait(connection: socket.socket) -> None:
        connection.recv(1)

    assert scraped(wait, scrape_seconds=0.3)[0] == 502


def test_an_exporter_that_trickles_costs_no_more_than_the_deadline() -> None:
    def trickle(connection: socket.socket) -> None:
        gone = threading.Event()
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"# x\n")
            gone.wait(0.02)

    assert scraped(trickle, scrape_seconds=0.3)[0] == 502


def test_a_long_answer_that_is_cut_is_seen_to_be_cut_and_has_no_half_line() -> None:
    with exporter(saying(chunked(MANY[:-20], whole=False))) as upstream, proxy(upstream) as port:
        with pytest.raises(http.client.IncompleteRead) as error:
            get(port)
        old = get(port, version=10)[2]
    for received in (error.value.partial, old):
        assert len(received) > HELD_BACK
        assert received.endswith(b"\n")


def test_garbled_lines_are_left_out() -> None:
    garbled = FEW.replace(b'server="member0000001"', b'server="member\xff1"')
    body = scraped(saying(chunked(garbled)))[2]
    assert body.count(b"octavia_member_weight{") == 2


def test_counters_that_go_backwards_are_passed_on() -> None:
    answers = iter((b"5", b"3"))
    family = b"# TYPE haproxy_process_requests_total counter\nhaproxy_process_requests_total "

    def script(connection: socket.socket) -> None:
        connection.sendall(chunked(family + next(answers) + b"\n"))

    with exporter(script) as upstream, proxy(upstream) as port:
        assert [get(port)[2].partition(b"\noctavia_loadbalancer_requests_total ")[2][:1] for _ in range(2)] == [
            b"5",
            b"3",
        ]


def test_scrapes_are_served_at_the_same_time() -> None:
    together = threading.Barrier(CONCURRENT, timeout=20)

    def script(connection: socket.socket) -> None:
        together.wait()
        connection.sendall(chunked(FEW))

    statuses: list[int] = []
    with exporter(script) as upstream, proxy(upstream) as port:
        threads = [threading.Thread(target=lambda: statuses.append(get(port)[0])) for _ in range(CONCURRENT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * CONCURRENT


def test_a_client_that_leaves_in_the_middle_harms_no_other() -> None:
    with exporter(saying(chunked(MANY))) as upstream, proxy(upstream) as port:
        for _ in range(CONCURRENT * 2):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as leaving:
                leaving.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert leaving.recv(1000)
        assert get(port)[0] == 200


def test_a_client_that_reads_nothing_is_left_at_the_deadline() -> None:
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(exporter(saying(chunked(members(300_000)))))
        port = stack.enter_context(proxy(upstream, scrape_seconds=0.5))
        for _ in range(CONCURRENT):
            lazy = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            lazy.sendall(b"GET / HTTP/1.1\r\n\r\n")
        patient = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        patient.sendall(b"POST / HTTP/1.1\r\n\r\n")
        assert patient.recv(100).startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "request_head", [b"POST /metrics HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/1.1" * 2000]
)
def test_what_is_no_scrape_is_refused(request_head: bytes) -> None:
    with exporter(saying(chunked(FEW))) as upstream, proxy(upstream) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(request_head)
            assert connection.recv(100)[:10] == b"HTTP/1.1 4"
        assert get(port)[0] == 200


def test_a_long_scrape_is_not_held() -> None:
    """60 MB go through a process whose memory grows by a small part of that."""
    block = b"".join(b'haproxy_server_weight{proxy="p:l",server="m%05d"} 1\n' % number for number in range(20_000))

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n# TYPE haproxy_server_weight gauge\n")
        for _ in range(60):
            connection.sendall(block)

    with exporter(endless) as upstream, proxy(upstream, scrape_seconds=60) as port:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            lines = 0
            while data := plain.recv(65536):
                lines += data.count(b"\n")
    assert lines > 60 * 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000
