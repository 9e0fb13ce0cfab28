"""Where a request ends, however its bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.api.http.framing import MAX_BODY, MAX_HEAD, Framing, Refused

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
TRAILER = b"PUT /x HTTP/1.1\r\ntransfer-encoding:  chunked \r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n"


@pytest.mark.parametrize("request_bytes", [GET, PUT, CHUNKED, TRAILER])
@given(data=st.data())
def test_a_request_is_complete_with_its_last_byte_and_not_before(request_bytes: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(request_bytes) - 1))))
    framing, buffer = Framing(), bytearray()
    for start, end in zip([0, *cuts], [*cuts, len(request_bytes)], strict=True):
        buffer += request_bytes[start:end]
        assert framing.is_complete(buffer) is (end == len(request_bytes))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), "larger"),
        (b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "ambiguous"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "ambiguous"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "ambiguous"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "ambiguous"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_BODY + 1), "larger"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not chunked"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n", "not chunked"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n", "not chunked"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello, and more\r\n", "not chunked"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n", "not chunked"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * MAX_HEAD, "end"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, "head"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", "head"),
    ],
)
def test_what_cannot_be_read_to_its_end_is_refused(head: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        Framing().is_complete(bytearray(head))


@given(st.binary(max_size=400))
def test_any_bytes_are_complete_incomplete_or_refused(noise: bytes) -> None:
    try:
        Framing().is_complete(bytearray(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + noise))
        Framing().is_complete(bytearray(noise))
    except Refused as refused:
        assert str(refused)


@pytest.mark.parametrize("following", [b"", GET])
@pytest.mark.parametrize(
    ("request_bytes", "handed_on"),
    [
        (GET, GET),
        (PUT, PUT),
        (CHUNKED, b"PUT /x HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world"),
        (TRAILER, b"PUT /x HTTP/1.1\r\nContent-Length: 1\r\n\r\na"),
        (
            b"PUT /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
            b"PUT /x HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
        ),
    ],
)
def test_what_is_handed_on_has_one_length_and_asks_for_nothing(
    request_bytes: bytes, handed_on: bytes, following: bytes
) -> None:
    framing, buffer = Framing(), bytearray(request_bytes + following)
    assert framing.is_complete(buffer)
    assert framing.delimited(buffer) == handed_on + following


def test_a_client_that_asks_first_is_known_by_its_head() -> None:
    framing = Framing()
    assert not framing.is_complete(bytearray(b"PUT / HTTP/1.1\r\nexpect: 100-Continue\r\nContent-Length: 9\r\n\r\n"))
    assert framing.awaits_consent
