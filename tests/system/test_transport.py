"""Mutual TLS and HTTP as a hostile or unlucky network sees them. Real sockets, real handshakes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amphora_agent.api.http.framing import MAX_BODY
from testbed.amphora import AGENT_ADDRESS, AGENT_PORT, AMPHORA_ID, LB_ID, RunningAmphora, ask
from testbed.pki import Pki, client_context
from testbed.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

# A client may wait this long although the handshake deadline of the silent ones is longer: it must not be behind them.
IMPATIENT = 4.0


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningAmphora]:
    with RunningAmphora(heartbeats=False) as running:
        yield running


def plain(amphora: RunningAmphora) -> socket.socket:
    return amphora.client.connect(AGENT_ADDRESS, AGENT_PORT, timeout=20)


def raw_exchange(amphora: RunningAmphora, data: bytes) -> bytes:
    with amphora.context.wrap_socket(plain(amphora), server_hostname=AMPHORA_ID) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def refuses(amphora: RunningAmphora, context: ssl.SSLContext) -> bool:
    """TLS 1.3 tells a client of its rejected certificate only with the first answer."""
    try:
        with contextlib.closing(amphora.connect(context=context)) as connection:
            ask(connection, "GET", "/")
    except OSError:
        return True
    return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_without_a_good_certificate_is_refused(
    shared: RunningAmphora, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    ca = shared.pki_dir / "ca.pem"
    assert not refuses(shared, client_context(ca, shared.pki_dir / "client.pem", version=version))
    assert refuses(shared, client_context(ca, None, version=version))
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(Pki.mint("another-ca").client)
    assert refuses(shared, client_context(ca, stranger, version=version))
    expired = tmp_path / "expired.pem"
    expired.write_bytes(Pki.mint(AMPHORA_ID).issue("controller", days=-1))
    assert refuses(shared, client_context(ca, expired, version=version))
    # The controller tries for minutes; whoever looks at the amphora shall find out why.
    wait_for(lambda: "cannot shake hands" in shared.log, "the refusal is logged")


def test_old_tls_versions_are_refused(shared: RunningAmphora) -> None:
    context = client_context(shared.pki_dir / "ca.pem", shared.pki_dir / "client.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert refuses(shared, context)


def test_a_connection_serves_many_requests(shared: RunningAmphora) -> None:
    with contextlib.closing(shared.connect()) as connection:
        local = connection.sock.getsockname()
        for _ in range(20):
            assert ask(connection, "GET", "/1.0/info").status == 200
            assert ask(connection, "PUT", "/1.0/loadbalancer/x/y", b"z" * 1000).status == 400
        assert connection.sock.getsockname() == local


def test_pipelined_requests_are_all_answered(shared: RunningAmphora) -> None:
    one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert raw_exchange(shared, one + one + last).count(b'{"api_version":"1.0"}') == 3


def test_silent_and_slow_clients_delay_nobody(shared: RunningAmphora) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(plain(shared))
            if number % 2:
                connection.sendall(b"\x16\x03\x01\x02")  # the first bytes of a handshake, and no more
        for start in (
            b"PUT /1.0/config HT",
            b"PUT /1.0/config HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\nslow",
        ):
            for _ in range(20):
                tls = stack.enter_context(shared.context.wrap_socket(plain(shared), server_hostname=AMPHORA_ID))
                tls.sendall(start)
        for _ in range(20):
            assert shared.request("GET", "/1.0/details", timeout=IMPATIENT).status == 200


@pytest.fixture
def slow_checks(tmp_path: Path) -> Iterator[tuple[RunningAmphora, Path]]:
    """An amphora whose HAProxy checks no configuration while a file is there, and that file."""
    gate, program = tmp_path / "gate", tmp_path / "haproxy"
    wait = f'case " $* " in *" -c "*) while [ -e {gate} ]; do sleep 0.05; done;; esac'
    program.write_text(f'#!/bin/sh\n{wait}\nexec haproxy "$@"\n')
    program.chmod(0o755)
    with RunningAmphora(heartbeats=False, options={"haproxy_amphora": {"haproxy_cmd": str(program)}}) as amphora:
        yield amphora, gate


@pytest.mark.hardening("C10")
def test_reads_do_not_wait_for_changes(slow_checks: tuple[RunningAmphora, Path]) -> None:
    """More changes wait than there are threads, behind one that takes its time, and reads are served as ever."""
    amphora, gate = slow_checks
    config, path = amphora.sample("haproxy/31-listener-without-pool.cfg"), f"/1.0/loadbalancer/{AMPHORA_ID}"
    gate.touch()
    with ThreadPoolExecutor(32) as controllers:
        waiting = [
            controllers.submit(amphora.request, "PUT", f"{path}/{lb_id}/haproxy", config.replace(LB_ID, lb_id))
            for lb_id in (str(uuid.UUID(int=number)) for number in range(32))
        ]
        wait_for(lambda: any(amphora.base.glob("*/haproxy.cfg.new")), "the first change is under way")
        try:
            for read in ("/", "/1.0/info", "/1.0/details", "/1.0/listeners") * 5:
                assert amphora.request("GET", read, timeout=IMPATIENT).status == 200
            assert not any(change.done() for change in waiting)
        finally:
            gate.unlink()
        assert [change.result().status for change in waiting] == [202] * 32


def test_a_client_that_takes_no_answer_is_dropped_in_the_end(amphora: RunningAmphora) -> None:
    config = amphora.sample("haproxy/31-listener-without-pool.cfg") + "# " + "x" * 8_000_000 + "\n"
    assert amphora.request("PUT", f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy", config).status == 202
    request = b"GET /1.0/loadbalancer/%s/haproxy HTTP/1.1\r\nHost: a\r\n\r\n" % LB_ID.encode()
    with amphora.context.wrap_socket(plain(amphora), server_hostname=AMPHORA_ID) as connection:
        connection.sendall(request)
        here = "{}:{}".format(*connection.getsockname())
        wait_for(lambda: here in connections_of(amphora), "the agent has it", seconds=10)
        wait_for(lambda: here not in connections_of(amphora), "the agent gave it up", seconds=80)


def connections_of(amphora: RunningAmphora) -> str:
    """Return the connections with unsent bytes where the agent is."""
    return amphora.management.run(["ss", "--tcp", "--numeric", "--no-header", "state", "established"])


def test_a_silent_client_is_dropped_in_the_end(shared: RunningAmphora) -> None:
    with plain(shared) as connection:
        connection.settimeout(30)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /" + b"a" * 10000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(500)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 40000 + b"\r\n\r\n",
        b"PUT /1.0/config HTTP/1.1\r\nHost: a\r\nContent-Length: 12x\r\n\r\n",
        b"PUT /1.0/config HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n",
        b"PUT /1.0/config HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1),
    ],
)
def test_what_is_not_http_gets_json_and_a_status_of_the_contract(shared: RunningAmphora, data: bytes) -> None:
    head, _, body = raw_exchange(shared, data).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] in (b"400", b"404")
    assert b"application/json" in head
    assert body.startswith(b'{"')


def test_a_body_may_be_chunked(shared: RunningAmphora) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b"some ", b"certificate")) + b"0\r\n\r\n"
    path = f"/1.0/loadbalancer/{LB_ID}/certificates/chunked.pem"
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw_exchange(shared, head.encode() + body).startswith(b"HTTP/1.1 200")
    assert (shared.cert_dir / LB_ID / "chunked.pem").read_bytes() == b"some certificate"


@pytest.mark.hardening("D22")
def test_a_client_that_asks_before_it_sends_its_body_is_told_to(shared: RunningAmphora) -> None:
    path = f"/1.0/loadbalancer/{LB_ID}/certificates/asked.pem"
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    with shared.context.wrap_socket(plain(shared), server_hostname=AMPHORA_ID) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200")
    assert (shared.cert_dir / LB_ID / "asked.pem").read_bytes() == b"body"


@pytest.mark.hardening("D16")
@pytest.mark.parametrize("size", [b"5 ", b"+5", b"0x5", b"5\x00", b"\xb2", b""])
def test_a_malformed_chunk_size_is_one_clear_refusal(shared: RunningAmphora, size: bytes) -> None:
    head = b"PUT /1.0/config HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw_exchange(shared, head + size + b"\r\nhello\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"not chunked" in answer
    assert "Traceback" not in shared.log


def test_the_largest_body_is_taken_and_one_byte_more_refused(shared: RunningAmphora) -> None:
    path = f"/1.0/loadbalancer/{LB_ID}/certificates/large.pem"
    assert shared.request("PUT", path, b"x" * MAX_BODY).status == 200
    reply = shared.request("PUT", path, b"y" * (MAX_BODY + 1))
    assert (reply.status, reply.json()["http_code"]) == (400, 400)
    assert "larger" in reply.json()["error"]
    assert (shared.cert_dir / LB_ID / "large.pem").stat().st_size == MAX_BODY


def test_fifty_megabytes_are_refused_while_they_are_still_coming(shared: RunningAmphora) -> None:
    reply = shared.request("PUT", "/1.0/config", b"x" * 50_000_000)
    assert reply.status == 400


def test_the_own_certificate_is_checked_replaced_and_served_at_once(amphora: RunningAmphora) -> None:
    pki = Pki.mint(AMPHORA_ID)
    before = (amphora.pki_dir / "server.pem").read_bytes()
    good, other = pki.issue(AMPHORA_ID), pki.issue(AMPHORA_ID)
    certificate, key = good.split(b"-----BEGIN RSA PRIVATE KEY-----", 1)
    other_key = b"-----BEGIN RSA PRIVATE KEY-----" + other.split(b"-----BEGIN RSA PRIVATE KEY-----", 1)[1]
    for bad in (b"", b"garbage", certificate, b"-----BEGIN RSA PRIVATE KEY-----" + key, certificate + other_key):
        reply = amphora.request("PUT", "/1.0/certificate", bad)
        assert reply.status == 400, (bad[:30], reply)
        assert b"PRIVATE KEY" not in reply.body
        assert (amphora.pki_dir / "server.pem").read_bytes() == before
    with contextlib.closing(amphora.connect()) as old:
        assert amphora.request("PUT", "/1.0/certificate", good).status == 202
        assert ask(old, "GET", "/").status == 200
        with contextlib.closing(amphora.connect()) as new:
            served = bytes(new.sock.getpeercert(binary_form=True) or b"")
            assert old.sock.getpeercert(binary_form=True) != served
            assert ssl.DER_cert_to_PEM_cert(served).strip() in good.decode()
    key_first = b"-----BEGIN RSA PRIVATE KEY-----" + key.rstrip(b"\n") + b"\n" + certificate
    assert amphora.request("PUT", "/1.0/certificate", key_first).status == 202
    assert amphora.request("GET", "/").status == 200
    assert "PRIVATE" not in amphora.log


def test_a_broken_certificate_file_keeps_the_served_one(amphora: RunningAmphora) -> None:
    (amphora.pki_dir / "server.pem").write_bytes(b"garbage")
    assert amphora.request("GET", "/").status == 200
    assert "kept the previous certificate" in amphora.log


@pytest.mark.parametrize("damage", ["no ca", "empty ca", "garbage ca", "no certificate", "garbage certificate"])
def test_the_agent_refuses_to_start_unprotected(damage: str) -> None:
    with RunningAmphora(heartbeats=False, started=False) as amphora:
        file = amphora.pki_dir / ("server.pem" if "certificate" in damage else "ca.pem")
        file.unlink()
        if "no " not in damage:
            file.write_bytes(b"garbage" if "garbage" in damage else b"")
        done = amphora.run([*amphora.command, amphora.inner(amphora.config_file), "--no-heartbeat"], timeout=20)
        assert done.returncode == 1
        assert "cannot start the agent" in done.stdout
        assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot read"),
        ("no section = here\n", "line 1"),
        ("[haproxy_amphora]\nbind_port = x\n", "bind_port"),
    ],
)
def test_a_bad_configuration_is_one_clear_line(text: str | None, words: str) -> None:
    with RunningAmphora(heartbeats=False, started=False) as amphora:
        amphora.config_file.unlink()
        if text is not None:
            amphora.config_file.write_text(text)
        done = amphora.run([*amphora.command, amphora.inner(amphora.config_file)], timeout=20)
        assert done.returncode == 1
        assert words in done.stdout
        assert len(done.stdout.splitlines()) == 1, done.stdout


def test_signals(amphora: RunningAmphora) -> None:
    """Log rotation sends SIGUSR1, and SIGUSR2 must not start a second agent."""
    assert amphora.agent is not None
    pids = amphora.agent_pids()
    for number in ("-USR1", "-USR2", "-HUP"):
        subprocess.run(["kill", number, str(amphora.agent.pid)], check=True)
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                assert amphora.request("GET", "/", timeout=IMPATIENT).status == 200
                break
            assert time.monotonic() < deadline
    wait_for(lambda: len(amphora.agent_pids()) == len(pids), "one agent is left")
    assert amphora.stop() == 0
