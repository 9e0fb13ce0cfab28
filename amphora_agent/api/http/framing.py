"""Where an HTTP/1.1 request ends in a stream of bytes. Interprets only what tells its length.

The server hands a request to a thread only when all of it has arrived, so a slow sender costs a buffer and no thread.

Decision: what is handed on always has a Content-Length. A chunked body is put together here, so there is one judge of
chunks, and no second parser that takes them for something else.
"""

from __future__ import annotations

import re

MAX_HEAD = 32 * 1024
MAX_BODY = 16 * 1024 * 1024

_END_OF_LINE = b"\r\n"
_END_OF_HEAD = b"\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})(?:[ \t]*;[^\r\n]*)?\r\n")
_MAX_CHUNK_LINE = 1024
_BLANKS = b" \t"


class Refused(Exception):
    """The request will not be read to its end; the text says why."""


class TooLarge(Refused):
    """Because it is too large."""


class Framing:
    """Follows one request as its bytes arrive.

    Call `is_complete(buffer)` with the same growing buffer each time; make a new object for the next request.
    """

    __slots__ = ("_body_start", "_chunk_at", "_chunks", "_end", "_head", "_head_searched", "_is_expected")

    def __init__(self) -> None:
        self._head_searched = 0
        self._head: list[bytes] = []
        self._body_start: int | None = None
        self._end: int | None = None
        self._chunk_at: int | None = None
        self._chunks: list[tuple[int, int]] = []
        self._is_expected = False

    @property
    def has_head(self) -> bool:
        """Whether the head is known, so that only the body is still to come."""
        return self._body_start is not None

    @property
    def awaits_consent(self) -> bool:
        """Whether the client sends its body only after `100 Continue`."""
        return self._is_expected

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

    def delimited(self, buffer: bytearray) -> bytes:
        """Return a complete request with a Content-Length, and whatever follows it in the buffer."""
        head, start = self._head, self._body_start or 0
        if not self._chunks and self._chunk_at is None:
            rest: bytes | memoryview = memoryview(buffer)[start:]
        else:
            body = b"".join(buffer[begin:end] for begin, end in self._chunks)
            head = [*head, b"Content-Length: %d" % len(body)]
            rest = body + bytes(buffer[self._end :])
        return b"".join((_END_OF_LINE.join(head), _END_OF_HEAD, rest))

    def _read_head(self, buffer: bytearray) -> bool:
        end = buffer.find(_END_OF_HEAD, max(0, self._head_searched - 3))
        self._head_searched = len(buffer)
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise TooLarge(f"the head of the request is longer than {MAX_HEAD} bytes")
        if end < 0:
            return False
        self._body_start = end + len(_END_OF_HEAD)
        lengths: set[bytes] = set()
        codings: list[bytes] = []
        for line in bytes(buffer[:end]).split(_END_OF_LINE):
            name, _, value = line.partition(b":")
            match name.strip(_BLANKS).lower():
                case b"content-length":
                    lengths.add(value.strip(_BLANKS))
                case b"transfer-encoding":
                    codings.append(value.strip(_BLANKS).lower())
                    continue
                case b"expect":
                    self._is_expected = value.strip(_BLANKS).lower() == b"100-continue"
                    continue
            self._head.append(line)
        self._begin_body(lengths, codings)
        return True

    def _begin_body(self, lengths: set[bytes], codings: list[bytes]) -> None:
        assert self._body_start is not None  # noqa: S101 - tells mypy what the caller has set
        if codings:
            if lengths or codings != [b"chunked"]:
                raise Refused("the length of the body is ambiguous")
            self._chunk_at = self._body_start
        else:
            self._end = self._body_start + _content_length(lengths)

    def _read_chunks(self, buffer: bytearray) -> bool:
        assert self._chunk_at is not None  # noqa: S101 - tells mypy what the caller checked
        assert self._body_start is not None  # noqa: S101
        while self._end is None:
            match = _CHUNK_SIZE.match(buffer, self._chunk_at, self._chunk_at + _MAX_CHUNK_LINE)
            if match is None:
                line = buffer[self._chunk_at : self._chunk_at + _MAX_CHUNK_LINE]
                if len(line) == _MAX_CHUNK_LINE or b"\n" in line:
                    raise Refused("the body is not chunked as announced")
                return False
            size = int(match[1], 16)
            if match.end() + size - self._body_start > MAX_BODY:
                raise TooLarge(f"the body is larger than {MAX_BODY} bytes")
            if size == 0:
                return self._read_trailers(buffer, match.end())
            end = match.end() + size
            if len(buffer) < end + len(_END_OF_LINE):
                return False
            if buffer[end : end + len(_END_OF_LINE)] != _END_OF_LINE:
                raise Refused("the body is not chunked as announced")
            self._chunks.append((match.end(), end))
            self._chunk_at = end + len(_END_OF_LINE)
        return True

    def _read_trailers(self, buffer: bytearray, start: int) -> bool:
        """Pass over what follows the last chunk; nothing of it is handed on."""
        end = buffer.find(_END_OF_HEAD, start - len(_END_OF_LINE), start + MAX_HEAD)
        if end < 0:
            if len(buffer) - start > MAX_HEAD:
                raise TooLarge(f"the end of the request is longer than {MAX_HEAD} bytes")
            return False
        self._end = end + len(_END_OF_HEAD)
        return True


def _content_length(values: set[bytes]) -> int:
    if not values:
        return 0
    value = values.pop()
    if values or not value.isdigit() or len(value) > 15:
        raise Refused("the length of the body is ambiguous")
    if int(value) > MAX_BODY:
        raise TooLarge(f"the body is larger than {MAX_BODY} bytes")
    return int(value)
