"""Twice the input takes every parser at most about twice the time: a square of it would hold the whole agent up."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from amphora_agent.core.settings import parse_settings
from amphora_agent.errors import AgentError
from tests.hostile.amount import amount
from tests.hostile.parsers import PARSERS, Parser

# Bytes of the first input; it is doubled until one takes `JUDGED` CPU seconds, or has `LARGEST` bytes.
FIRST = 16 * 1024
LARGEST = amount(256 * 1024, 4 * 1024 * 1024)
# What takes less is not judged, for its time says more about the machine than about the parser.
JUDGED = 0.02
# A square makes it 4, so does a cache that is left behind now and then: only twice in a row is a finding.
FACTOR = 3.0
REPEATED = 3

_Grown = Callable[[bytes, int], bytes]


def _filled(filling: bytes, *, head: bytes = b"", tail: bytes = b"") -> _Grown:
    return lambda _, size: head + filling * (size // len(filling) + 1) + tail


def _in_seed(filling: bytes) -> _Grown:
    """Put the filling into the middle of something sound, where a parser has begun to believe it."""

    def grown(seed: bytes, size: int) -> bytes:
        middle = len(seed) // 2
        return seed[:middle] + filling * (size // len(filling) + 1) + seed[middle:]

    return grown


def _numbered(line: str) -> _Grown:
    return lambda _, size: "".join(line.replace("N", str(n)) for n in range(size // len(line) + 1)).encode()


_FILLINGS: Mapping[str, bytes] = {
    "blanks": b" ",
    "tabs": b"\t ",
    "letter": b"a",
    "digit": b"7",
    "line feeds": b"\n",
    "carriage returns": b"\r\n",
    "single quotes": b"'",
    "double quotes": b'"',
    "both quotes": b"'\"",
    "quoted words": b"'a b' ",
    "open quotes": b'"a\n',
    "backslashes": b"\\",
    "escaped quotes": b'\\"',
    "dollars": b"$",
    "references": b"${a}",
    "hashes": b"#",
    "commas": b",",
    "colons": b":",
    "equals": b"=a",
    "brackets": b"[",
    "closed brackets": b"[]",
    "braces": b"{",
    "brace lines": b"{\n",
    "semicolons": b";",
    "dashes": b"-",
    "dots": b"1.",
    "zero bytes": b"\0",
    "wide letters": "²\u2028".encode(),
}
_STAT_HEAD = b"# pxname,svname,scur,bin,bout,ereq,stot,status,weight,\n"
_SHAPES: Mapping[str, _Grown] = {
    **{f"{name} alone": _filled(filling) for name, filling in _FILLINGS.items()},
    **{f"{name} inside": _in_seed(filling) for name, filling in _FILLINGS.items()},
    "seed again and again": lambda seed, size: seed * (size // len(seed) + 1),
    "sections": _numbered("backend N\n"),
    "ini sections": _numbered("[N]\na = b\n"),
    "continued value": _filled(b"\n    b", head=b"[a]\nb = c"),
    "continued quoted": _filled(b"\n    'b", head=b"[a]\nb = '"),
    "options": _numbered("[a]\naN = b\n"),
    "servers": _numbered("backend N\n    server m 10.20.0.1:80 weight 1\n"),
    "nics": _numbered("aa:bb:cc:dd:ee:N ethN\n"),
    "one backend's servers": _filled(b"    server m 10.20.0.1:80 weight 1 check\n", head=b"backend a\n"),
    "virtual servers": _numbered("virtual_server 10.0.0.1 N {\n real_server 10.0.0.2 N {\n } }\n"),
    "groups": _numbered("virtual_server_group gN {\n 10.0.0.1 N\n}\nvirtual_server group gN {\n}\n"),
    "comments of objects": _numbered("# Configuration for Member N\n"),
    "open quoted rows": _filled(b'"a\n', head=_STAT_HEAD, tail=b"\n\n"),
    "quoted rows": _filled(b'a,b,0,0,0,0,0,"UP\n",1,\n', head=_STAT_HEAD, tail=b"\n\n"),
    "chunks": _filled(b"1\r\nx\r\n", head=b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "header lines": _numbered("GET / HTTP/1.1\r\nX-N: 1\r\n"),
    "masquerades": _numbered("/usr/local/bin/lvs-masquerade.sh add ipv4 ethN\n"),
    "names of JSON": lambda _, size: ("{" + ",".join(f'"{n}": []' for n in range(size // 10)) + "}").encode(),
    "lists of JSON": lambda _, size: ("[" + ",".join(f'"{n}.pem"' for n in range(size // 10)) + "]").encode(),
    "netlink attributes": _filled(b"\x04\x00\x01\x00"),
    "netlink messages": _filled(b"\x14\x00\x00\x00" + bytes(16)),
}


def _seconds(parser: Parser, data: bytes) -> float:
    """Return the CPU time of one call, without that of the garbage collector, which looks at more than the parser's."""
    gc.disable()
    try:
        began = time.process_time()
        with contextlib.suppress(*parser.errors):
            parser.call(data)
        return time.process_time() - began
    finally:
        gc.enable()


def _growth(parser: Parser, grown: _Grown, seed: bytes, size: int) -> float:
    """Return by which factor the time grows from `size` to twice of it; what seems too much is measured again."""
    single, double = grown(seed, size), grown(seed, 2 * size)
    before, after = _seconds(parser, single), _seconds(parser, double)
    for _ in range(REPEATED):
        if after <= FACTOR * before:
            break
        before, after = min(before, _seconds(parser, single)), min(after, _seconds(parser, double))
    return after / before


def _judge(parser: Parser, grown: _Grown, seed: bytes) -> str | None:
    """Return what is wrong with the time a shape takes, None when nothing is."""
    size = FIRST
    while (taken := _seconds(parser, grown(seed, size))) < JUDGED:
        size *= 2
        if size > LARGEST:
            return None
    # The first one that takes long enough is compared with its half: an explosion would never end with its double.
    factors = [_growth(parser, grown, seed, size // 2)]
    if factors[0] > FACTOR and taken < 1.0:
        factors.append(_growth(parser, grown, seed, size))
    return f"{size} bytes take {taken:.3f} s, doubling: {factors}" if min(factors) > FACTOR else None


@pytest.mark.hardening("C8")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_time_grows_with_the_input_and_not_with_its_square(parser: Parser) -> None:
    seed = max(parser.seeds, key=len)
    found = {name: verdict for name, grown in _SHAPES.items() if (verdict := _judge(parser, grown, seed)) is not None}
    assert not found


def _squares(data: bytes) -> int:
    return sum(data.count(b"a", 0, place) for place in range(0, len(data), 16))


def test_a_square_is_found() -> None:
    """The test above can fail: it would find the simplest parser whose time is a square."""
    assert _judge(Parser("square", _squares, (b"a",)), _SHAPES["letter alone"], b"a") is not None


_EXPLOSIONS: Mapping[str, Sequence[str]] = {
    "doubled": [f"a{n} = $a{n + 1}$a{n + 1}" for n in range(16)] + ["a16 = " + "x" * 64],
    "by a hundred": [f"a{n} = " + f"$a{n + 1}" * 100 for n in range(14)] + ["a14 = x"],
    "into nothing": [f"a{n} = " + f"$a{n + 1}" * 100 for n in range(14)] + ["a14 ="],
    "of a long value": ["a0 = " + "$a1" * 1000, "a1 = " + "x" * 100_000],
    "circle": ["a0 = $a0 $a0"],
}


@pytest.mark.parametrize("lines", _EXPLOSIONS.values(), ids=_EXPLOSIONS)
def test_references_in_the_settings_do_not_explode(lines: Sequence[str]) -> None:
    """Each line of references multiplies the next one: a few hundred bytes would stand for gigabytes, or hours."""
    text = "\n".join(["[haproxy_amphora]", "base_path = /a$a0", *lines])
    began = time.process_time()
    with pytest.raises(AgentError):
        parse_settings(text)
    assert time.process_time() - began < 1.0


def test_references_that_people_write_are_followed() -> None:
    lines = ["base_path = ${root}/octavia", "base_cert_dir = $base_path/c"]
    assert (
        parse_settings("\n".join(["[DEFAULT]", "root = /srv", "[haproxy_amphora]", *lines])).base_cert_dir
        == "/srv/octavia/c"
    )
