"""The UNIX socket: who may ask, what is served there, and its file."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.api.http.framing import MAX_BODY, MAX_HEAD
from testbed.amphora import ask
from testbed.waiting import wait_for
from tests.api.http.small_server import LARGE, SmallServer

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="other users are root's to become"),
    pytest.mark.timeout(60),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can look into."""
    with tempfile.TemporaryDirectory(prefix="amphora-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def server(place: Path) -> Iterator[SmallServer]:
    with SmallServer(place) as running:
        yield running


def curl(server: SmallServer, path: str, *user: str) -> str:
    """Ask as another user; return the status and the body."""
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--write-out", " %{http_code} %{content_type}"]
    argv = ["setpriv", *user, *command, "--unix-socket", str(server.path), f"http://localhost{path}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout


def test_root_is_served_and_named(server: SmallServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    assert curl(server, "/2.0/peer", "--reuid=0") == "uid 0 200 text/html; charset=utf-8"
    with contextlib.closing(server.connect_tls()) as connection:
        assert ask(connection, "GET", "/2.0/peer").body.startswith(b"CN=")
        assert ask(connection, "GET", "/1.0/peer").status == 200


@pytest.mark.parametrize("path", ["/", "/1.0/peer", "/%31.0/peer", "/2.0", "//2.0/peer", "/nothing"])
def test_api_1_0_is_not_served_there(server: SmallServer, path: str) -> None:
    reply = server.ask("GET", path)
    assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json")
    assert reply.json()["type"] == "/2.0/problems/not-found"


def test_headers_of_a_local_client_move_no_path(server: SmallServer) -> None:
    with contextlib.closing(server.connect()) as connection:
        assert ask(connection, "GET", "/2.0/peer", headers={"SCRIPT_NAME": "/2.0"}).status in (200, 400)
        assert ask(connection, "GET", "/2.0/peer", headers={"X-Forwarded-Proto": "https"}).body == b"uid 0"


def test_another_user_is_refused_even_where_the_file_lets_them_in(server: SmallServer) -> None:
    server.path.chmod(0o666)
    answer = curl(server, "/2.0/peer", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert '"/2.0/problems/forbidden"' in answer
    assert answer.endswith(" 403 application/problem+json")
    assert curl(server, "/2.0/peer", "--reuid=0").startswith("uid 0")
    assert "uid=65534" in server.log


def test_members_of_the_group_are_served_and_nobody_else(place: Path) -> None:
    with SmallServer(place, group="daemon") as server:
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o660
        assert server.path.stat().st_gid == 1
        nobody = "--reuid=65534", "--regid=65534"
        assert curl(server, "/2.0/peer", *nobody, "--groups=1").startswith("uid 65534 200")
        assert curl(server, "/2.0/peer", "--reuid=65534", "--regid=1", "--clear-groups").startswith("uid 65534 200")
        assert curl(server, "/2.0/peer", *nobody, "--clear-groups").endswith(" 000 ")


def test_a_group_that_is_not_there_leaves_the_socket_to_root(place: Path) -> None:
    with SmallServer(place, group="no-such-group") as server:
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
        assert "no-such-group" in server.log


def test_the_file_is_removed_at_the_end_and_replaced_when_it_is_left(place: Path) -> None:
    with SmallServer(place) as server:
        path = server.path
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with SmallServer(place) as server:
        assert server.ask("GET", "/2.0/peer").body == b"uid 0"
        # A worker that is replaced leaves it to its parent.
        workers = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        for pid in workers:
            os.kill(int(pid), 9)
        assert server.ask("GET", "/2.0/peer").body == b"uid 0"


def test_what_has_the_name_and_is_no_stale_socket_is_left_alone(place: Path) -> None:
    (place / "api.sock").write_text("precious")
    with SmallServer(place) as server:
        assert "cannot listen at" in server.log
    assert (place / "api.sock").read_text() == "precious"


def test_two_agents_do_not_take_it_from_each_other(place: Path) -> None:
    with SmallServer(place) as first:
        with SmallServer(place) as second:
            assert "cannot listen at" in second.log
        assert first.ask("GET", "/2.0/peer").body == b"uid 0"


def test_requests_are_framed_and_bounded_as_over_tls(server: SmallServer) -> None:
    with contextlib.closing(server.connect()) as connection:
        for _ in range(20):
            assert ask(connection, "PUT", "/2.0/events", b"z" * 100_000).status == 200
    assert server.ask("PUT", "/2.0/events", b"x" * MAX_BODY).status == 200
    reply = server.ask("PUT", "/2.0/events", b"x" * (MAX_BODY + 1))
    assert (reply.status, reply.json()["type"]) == (413, "/2.0/problems/too-large")
    reply = server.ask("GET", "/2.0/peer?" + "x" * MAX_HEAD)
    assert (reply.status, reply.json()["type"]) == (413, "/2.0/problems/too-large")
    with contextlib.closing(server.connect()) as connection:
        connection.sock.sendall(b"NONSENSE\r\n\r\n")
        assert b"400 Bad Request\r\nContent-Type: application/problem+json" in connection.sock.recv(65536)


def test_over_tls_the_path_decides_about_the_form_of_a_refusal(server: SmallServer) -> None:
    for path, status, content_type in (
        ("/2.0/events", 413, "application/problem+json"),
        ("/1.0/config", 400, "application/json"),
    ):
        with contextlib.closing(server.connect_tls()) as connection:
            reply = ask(connection, "PUT", path, b"x" * (MAX_BODY + 1))
            assert (reply.status, reply.headers["content-type"]) == (status, content_type)
        with contextlib.closing(server.connect_tls()) as connection:
            reply = ask(connection, "GET", f"{path}?{'x' * 5000}")
            assert (reply.status, reply.headers["content-type"]) == (400, content_type)


def test_a_client_that_takes_no_answer_is_dropped_in_the_end(server: SmallServer) -> None:
    with contextlib.closing(server.connect()) as connection:
        connection.request("GET", "/2.0/large")
        poller = select.poll()
        poller.register(connection.sock, 0)
        wait_for(lambda: any(event & select.POLLHUP for _, event in poller.poll(0)), "the agent hangs up", seconds=50)
    assert server.ask("GET", "/2.0/large").body == b"x" * LARGE
    assert "Traceback" not in server.log
