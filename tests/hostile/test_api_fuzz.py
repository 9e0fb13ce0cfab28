"""The API under tens of thousands of requests that no controller sends, over mutual TLS, several at a time."""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amphora_agent.api.app import ROUTES
from testbed.amphora import AMPHORA_ID, LB_ID, SAMPLES, RunningAmphora
from tests.hostile.amount import amount, dice
from tests.hostile.mutation import mutated
from tests.hostile.wire import Answer, Wire

REQUESTS = amount(20_000, 1_000_000)
CLIENTS = 6
SECRET = "Tell-No-Log-Of-Me"  # noqa: S105 - what must not be found

_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "FOO", "X" * 30, "G\0T", "")
_IDS = (
    *(LB_ID, AMPHORA_ID, "x", "0" * 64, "0" * 65, "..", "%2e%2e", "%2e%2e%2foutside", "..%2f..%2fetc", "%00", "a%00b"),
    *("agent", "certs", "lvs", "vrrp", "plugged_interfaces", "units", "dhclient", "-rf", "$(id)", "a b", "é", "%ff%fe"),
    *(
        "a;b",
        "a\\b",
        "%0d%0aX-Injected:%201",
        "haproxy",
        "start",
        "reload",
        "stop",
        "x.pem",
        "../x.pem",
        ".pem",
        "a.pem",
    ),
    *("x" * 300 + ".pem", "10.10.0.100", "::1", "0", "1e9", "", "\u2028", "A.PEM", "..pem", "/", "//", "%2f"),
)
# Each of these takes a process, seconds, or HAProxy itself: the fuzz shall not be about waiting for them.
_SLOW = frozenset({"reload", "start", "stop", "haproxy", "udp_listener", "upload", "network"})
_SLOW_SHARE = 0.08
_FIELDS = (
    *("Accept: */*", "Content-Type: application/json", "Content-Type: text/xml", "Content-Type: multipart/form-data"),
    *(
        "X-HTTP-Method-Override: DELETE",
        "Content-Encoding: gzip",
        "Range: bytes=0-1",
        "If-None-Match: *",
        "Cookie: " + "a" * 3000,
    ),
    *("Host: evil", "Expect: 200-ok", "Upgrade: websocket", "Connection: upgrade", "Connection: close", "Te: trailers"),
    *("X-Forwarded-For: 127.0.0.1", "Authorization: Basic eDp5", "Bad Name: 1", "NoColon", ": empty", "X: \0", "X: é"),
)
_JSON = (
    *(
        "null",
        "[]",
        "{}",
        "1",
        '"text"',
        "{",
        '{"a":',
        "[" * 2000,
        '{"mac_address": 1}',
        '{"mac_address": "zz"}',
        "NaN",
    ),
    *(
        '{"mac_address": "fa:16:3e:00:00:09"}',
        '{"subnet_cidr": "10.0.0.0/8", "gateway": "x", "mac_address": "é"}',
        "\ufeff{}",
    ),
)


@pytest.fixture(scope="module")
def amphora() -> Iterator[RunningAmphora]:
    with RunningAmphora(heartbeats=False) as running:
        yield running


def _bodies(amphora: RunningAmphora) -> Sequence[bytes]:
    """Return what controllers send, with secrets where secrets are."""
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n".encode()
    pem = (amphora.pki_dir / "server.pem").read_bytes()
    samples = [amphora.localised(path.read_text()).encode() for path in sorted(SAMPLES.glob("*/*.c*"))]
    loaded = [json.loads(path.read_text()) for path in sorted(SAMPLES.glob("requests/*.json"))]
    requests = [json.dumps(call["body"] if isinstance(call, dict) else call).encode() for call in loaded]
    config = amphora.config().replace("insecure", SECRET).encode()
    return (key, pem + key, config, *samples, *requests, *(text.encode() for text in _JSON))


class _Sender:
    """Makes requests of one stream of random numbers."""

    def __init__(self, numbers: random.Random, bodies: Sequence[bytes]) -> None:
        self._dice, self._bodies = numbers, bodies

    def request(self) -> tuple[bytes, bool]:
        """Return a request's bytes, and whether its answer has a body."""
        route = self._dice.choice(ROUTES)
        method = route.method if self._dice.random() < 0.7 else self._dice.choice(_METHODS)
        path, body = self._path(route.rule), self._body()
        fields = self._dice.sample(_FIELDS, self._dice.choice((0, 0, 0, 1, 3)))
        head = "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", "Host: amphora", *fields))
        return head.encode("utf-8", "surrogateescape") + self._framed(body), method != "HEAD"

    def _path(self, rule: str) -> str:
        parts = [self._value(part) if part.startswith("<") else part for part in rule.split("/")]
        if self._dice.random() < 0.1:
            parts[self._dice.randrange(len(parts))] = self._dice.choice(_IDS)
        path = "/".join(parts)
        if self._dice.random() < 0.05:
            path = mutated(path.encode() or b"/", self._dice).decode("utf-8", "surrogateescape").replace("\n", "")
        is_slow = _SLOW.intersection(path.lower().split("/")) and self._dice.random() > _SLOW_SHARE
        return f"{path}~" if is_slow else path

    def _value(self, name: str) -> str:
        """Return something in the place of a variable, half of the time what may stand there."""
        if self._dice.random() < 0.5:
            return self._dice.choice(_IDS)
        return {"<filename>": "a.pem", "<action>": "reload", "<vip>": "10.10.0.100", "<ip>": "10.10.0.100"}.get(
            name, LB_ID
        )

    def _body(self) -> bytes:
        chance = self._dice.random()
        if chance < 0.3:
            return b""
        body = self._dice.choice(self._bodies)
        return body if chance < 0.5 else mutated(body, self._dice)

    def _framed(self, body: bytes) -> bytes:
        """Return the end of the head and the body; sometimes in chunks, and sometimes not as it says."""
        chance = self._dice.random()
        if chance < 0.85:
            return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        if chance < 0.95:
            size = self._dice.choice((1, 7, 4096))
            parts = [body[at : at + size] for at in range(0, min(len(body), 200 * size), size)]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
            return b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        # Each of these is refused, or complete as it is: none makes the agent wait for more.
        return self._dice.choice(
            (
                b"Content-Length: -1\r\n\r\n",
                b"Content-Length: 99999999999\r\n\r\n",
                b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                b"Transfer-Encoding: gzip\r\n\r\n",
                b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                b"Transfer-Encoding: chunked\r\n\r\nfffffff0\r\n",
                b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
                b"\r\n",
            )
        )


def _fuzz(amphora: RunningAmphora, client: int, bodies: Sequence[bytes]) -> tuple[Counter[int], list[str]]:
    """Send one client's share; return how often each status came, and what was wrong."""
    sender, wire = _Sender(dice("api", client), bodies), Wire(amphora)
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    with contextlib.closing(wire):
        for _ in range(REQUESTS // CLIENTS):
            request, has_body = sender.request()
            answer = wire.send(request, has_body=has_body)
            problem = "no answer" if answer is None else _problem(answer)
            if problem is not None:
                wrong.append(f"{problem}: {request[:300]!r} -> {answer!r}"[:1200])
            elif answer is not None:
                statuses[answer.status] += 1
    return statuses, wrong


def _problem(answer: Answer) -> str | None:
    return "a secret in the answer" if SECRET.encode() in answer.body and answer.status != 200 else answer.wrong()


def _outside(amphora: RunningAmphora) -> dict[str, tuple[float, int]]:
    """Return all that is there beside what is the agent's: the machine's /etc, and the amphora's other files."""
    own = amphora.base, amphora.interfaces, amphora.pki_dir, amphora.directory / "agent.log", amphora.config_file
    paths = [*Path("/etc").rglob("*"), *Path("/usr/local").glob("*/*"), *amphora.directory.rglob("*")]
    return {
        str(path): (path.lstat().st_mtime, path.lstat().st_size)
        for path in paths
        if not path.is_dir() and not any(path.is_relative_to(place) for place in own)
    }


@pytest.mark.hardening("E")
@pytest.mark.timeout(7200)
def test_no_request_meets_anything_but_the_contract(amphora: RunningAmphora) -> None:
    bodies, outside = _bodies(amphora), _outside(amphora)
    before = set(amphora.agent_pids())
    with ThreadPoolExecutor(CLIENTS) as clients:
        ended = list(clients.map(lambda client: _fuzz(amphora, client, bodies), range(CLIENTS)))
    wrong = [text for _, texts in ended for text in texts]
    assert not wrong, "\n".join([f"{len(wrong)} of them", *wrong[:10]])
    statuses = sum((counted for counted, _ in ended), Counter[int]())
    print(sorted(statuses.items()))  # noqa: T201 - how deep the requests went
    assert {200, 202, 400, 404, 405} <= statuses.keys(), "the requests went deep enough"
    assert amphora.agent is not None
    assert amphora.agent.poll() is None
    assert before <= set(amphora.agent_pids()), "the agent and its worker are the ones that began"
    assert "Traceback" not in amphora.log
    assert SECRET not in amphora.log
    assert _outside(amphora) == outside
    assert {path.name for path in amphora.pki_dir.iterdir()} == {"ca.pem", "server.pem", "client.pem"}
    assert amphora.request("PUT", "/1.0/config", amphora.config()).status == 202
    config = amphora.sample("haproxy/31-listener-without-pool.cfg")
    assert amphora.request("PUT", f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy", config).status == 202
