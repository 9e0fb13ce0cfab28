"""Long polls: they take no thread, see all news, end in time, and are few."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amphora_agent.api.http.waiting import PLACES
from testbed.amphora import Reply, ask
from testbed.waiting import holds, wait_for
from tests.api.http.crowd import fill
from tests.api.http.small_server import SmallServer

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root is served over the UNIX socket"),
    pytest.mark.timeout(90),
]

Connect = Callable[[SmallServer], http.client.HTTPConnection]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SmallServer]:
    with SmallServer(tmp_path) as running:
        yield running


@pytest.fixture(params=[SmallServer.connect, SmallServer.connect_tls], ids=["socket", "TLS"])
def connect(request: pytest.FixtureRequest) -> Connect:
    made: Connect = request.param
    return made


def begin(server: SmallServer, connect: Connect, stack: contextlib.ExitStack, query: str) -> http.client.HTTPConnection:
    """Send a request and leave its answer to whoever reads it."""
    connection = stack.enter_context(contextlib.closing(connect(server)))
    connection.request("GET", f"/2.0/events?{query}")
    return connection


def crowd(server: SmallServer, connect: Connect, stack: contextlib.ExitStack) -> list[http.client.HTTPConnection]:
    """Have every place taken, and return who has them."""
    waiting = [stack.enter_context(contextlib.closing(connect(server))) for _ in range(PLACES)]
    fill(dict.fromkeys(waiting, "/2.0/events?wait=60"), lambda: probe(server))
    return waiting


def answer(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    response = connection.getresponse()
    return response.status, response.read()


def latest(server: SmallServer) -> int:
    number: int = server.ask("GET", "/2.0/events?after=-1").json()["latest"]
    return number


def probe(server: SmallServer) -> int:
    """Return the status of a request that would wait for a moment: 503 when there is no place left."""
    return server.ask("GET", f"/2.0/events?after={latest(server)}&wait=0.01").status


def test_as_many_as_may_wait_cost_no_thread_and_see_the_news(server: SmallServer, connect: Connect) -> None:
    with contextlib.ExitStack() as stack:
        waiting = crowd(server, connect, stack)
        reply = server.ask("GET", "/2.0/events?wait=9")
        assert (reply.status, reply.json()["type"]) == (503, "/2.0/problems/busy")
        with ThreadPoolExecutor(8) as readers:
            reads = list(readers.map(lambda _: server.ask("GET", "/2.0/peer").status, range(200)))
        assert reads == [200] * 200
        assert server.ask("PUT", "/2.0/events").json() == {"latest": 1}
        assert [answer(connection) for connection in waiting] == [(200, b'{"latest":1}\n')] * PLACES
        # The connections serve on, and their places are free.
        assert all(ask(connection, "GET", "/2.0/peer").status == 200 for connection in waiting)
        assert probe(server) == 200


def test_who_waits_for_later_news_goes_on_waiting(server: SmallServer, connect: Connect) -> None:
    with contextlib.ExitStack() as stack:
        early = [begin(server, connect, stack, f"after={number}&wait=50") for number in (0, 3)]
        for number in range(1, 4):
            assert server.ask("PUT", "/2.0/events").json() == {"latest": number}
        assert answer(early[0])[0] == 200
        early[1].sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            early[1].sock.recv(1)
        early[1].sock.settimeout(30)
        server.ask("PUT", "/2.0/events")
        assert answer(early[1]) == (200, b'{"latest":4}\n')


def test_no_news_are_missed_between_the_look_and_the_wait(server: SmallServer, connect: Connect) -> None:
    """A watcher that asks for each next one gets every one, while they come as fast as they can."""
    news = 300

    def watch() -> list[int]:
        seen = [0]
        with contextlib.closing(connect(server)) as connection:
            while seen[-1] < news:
                reply = ask(connection, "GET", f"/2.0/events?after={seen[-1]}&wait=20")
                seen.append(reply.json()["latest"])
        return seen

    with ThreadPoolExecutor(5) as watchers:
        watching = [watchers.submit(watch) for _ in range(4)]
        with contextlib.closing(server.connect()) as connection:
            for _ in range(news):
                ask(connection, "PUT", "/2.0/events")
        assert all(sorted(set(done.result(60))) == done.result() for done in watching), "none ended empty-handed"


def test_a_wait_ends_with_what_there_is(server: SmallServer, connect: Connect) -> None:
    with contextlib.closing(connect(server)) as connection:
        for wait in (0.3, 1.2):
            begun = time.monotonic()
            assert ask(connection, "GET", f"/2.0/events?wait={wait}").json() == {"latest": 0}
            assert time.monotonic() - begun >= wait
        assert ask(connection, "GET", "/2.0/peer").status == 200


def test_a_client_that_hangs_up_gives_its_place_back(server: SmallServer, connect: Connect) -> None:
    with contextlib.ExitStack() as stack:
        crowd(server, connect, stack)
    wait_for(lambda: probe(server) == 200, "their places are free")


def test_what_is_sent_behind_is_answered_behind(server: SmallServer, connect: Connect) -> None:
    with contextlib.closing(connect(server)) as connection:
        one = b"GET /2.0/events?wait=40 HTTP/1.1\r\nHost: a\r\n\r\n"
        connection.sock.sendall(one + b"GET /2.0/events?after=-1 HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.sock.sendall(b"GET /2.0/peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        connection.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.sock.recv(1)
        connection.sock.settimeout(30)
        server.ask("PUT", "/2.0/events")
        said = b""
        while data := connection.sock.recv(65536):
            said += data
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert said.count(b'{"latest":1}') == 2


def test_who_sends_much_behind_is_dropped(server: SmallServer, connect: Connect) -> None:
    with contextlib.ExitStack() as stack:
        connection = begin(server, connect, stack, "wait=60")
        assert holds(lambda: server.ask("GET", "/2.0/peer").status == 200, 0.3)
        with contextlib.suppress(OSError):
            for _ in range(200):
                connection.sock.sendall(b"x" * 65536)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert connection.sock.recv(1) == b""


def test_the_end_of_the_agent_answers_all_at_once(server: SmallServer, connect: Connect) -> None:
    with contextlib.ExitStack() as stack:
        waiting = crowd(server, connect, stack)
        server.process.send_signal(signal.SIGTERM)
        assert [answer(connection)[0] for connection in waiting] == [200] * PLACES
        assert server.process.wait(20) == 0


def test_a_request_too_large_to_be_kept_is_answered_at_once(server: SmallServer) -> None:
    with contextlib.closing(server.connect()) as connection:
        body = b"x" * 200_000
        reply: Reply = ask(connection, "GET", "/2.0/events?wait=60", body)
        assert reply.json() == {"latest": 0}
