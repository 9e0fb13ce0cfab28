"""Where an HTTP/1.1 request ends in a stream of bytes. Counts bytes; interprets nothing else.

The server hands a request to a thread only when all of it has arrived, so a slow sender costs a buffer and no thread.
"""

from __future__ import annotations

import re

MAX_HEAD = 32 * 1024
MAX_BODY = 16 * 1024 * 1024

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([^\r]*?)[ \t]*(?=\r\n)", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding[ \t]*:[ \t]*([^\r]*?)[ \t]*(?=\r\n)", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_MAX_CHUNK_LINE = 1024


class Refused(Exception):
    """The request will not be read to its end; the text says why."""


class Framing:
    """Follows one request as its bytes arrive.

    Call `is_complete(buffer)` with the same growing buffer each time; make a new object for the next request.
    """

    __slots__ = ("_body_start", "_chunk_at", "_end", "_head_searched")

    def __init__(self) -> None:
        self._head_searched = 0
        self._body_start: int | None = None
        self._end: int | None = None
        self._chunk_at: int | None = None

    @property
    def has_head(self) -> bool:
        """Whether the head is known, so that only the body is still to come."""
        return self._body_start is not None

    def is_complete(self, buffer: bytearray) -> bool:
        """Tell whether the buffer holds the whole request (and perhaps more).

        Raises:
            Refused: head or body is too large, or its length cannot be known.
        """
        if self._body_start is None and not self._read_head(buffer):
            return False
        if self._chunk_at is not None:
            return self._read_chunks(buffer)
        return self._end is not None and len(buffer) >= self._end

    def _read_head(self, buffer: bytearray) -> bool:
        end = buffer.find(_END_OF_HEAD, max(0, self._head_searched - 3))
        self._head_searched = len(buffer)
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise Refused(f"the head of the request is longer than {MAX_HEAD} bytes")
        if end < 0:
            return False
        self._body_start = end + len(_END_OF_HEAD)
        head = bytes(buffer[: end + 2])
        lengths, codings = set(_LENGTH.findall(head)), _CODING.findall(head)
        if codings:
            if lengths or [coding.lower() for coding in codings] != [b"chunked"]:
                raise Refused("the length of the body is ambiguous")
            self._chunk_at = self._body_start
        else:
            self._end = self._body_start + _content_length(lengths)
        return True

    def _read_chunks(self, buffer: bytearray) -> bool:
        assert self._chunk_at is not None  # noqa: S101 - tells mypy what the caller checked
        assert self._body_start is not None  # noqa: S101
        while True:
            match = _CHUNK_SIZE.match(buffer, self._chunk_at, self._chunk_at + _MAX_CHUNK_LINE)
            if match is None:
                if len(buffer) - self._chunk_at > _MAX_CHUNK_LINE or b"\n" in buffer[self._chunk_at :]:
                    raise Refused("the body is not chunked as announced")
                return False
            size = int(match[1], 16)
            if match.end() + size - self._body_start > MAX_BODY:
                raise Refused(f"the body is larger than {MAX_BODY} bytes")
            if size == 0:
                return buffer.find(_END_OF_HEAD, match.end() - 2) >= 0
            if len(buffer) < match.end() + size + 2:
                return False
            self._chunk_at = match.end() + size + 2


def _content_length(values: set[bytes]) -> int:
    if not values:
        return 0
    value = values.pop()
    if values or not value.isdigit() or len(value) > 15:
        raise Refused("the length of the body is ambiguous")
    if int(value) > MAX_BODY:
        raise Refused(f"the body is larger than {MAX_BODY} bytes")
    return int(value)
