"""What a scraper asks for: the request line and the format it prefers. Decides, never reads a socket."""

from __future__ import annotations

TEXT_TYPE = b"text/plain; version=0.0.4"
OPENMETRICS_TYPE = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


class BadRequest(Exception):
    """What came is no request that can be answered; `status` is the line to say so with."""

    def __init__(self, status: bytes) -> None:
        super().__init__(status.decode())
        self.status = status


class Scrape:
    """One request for metrics, whatever its path.

    Attributes:
        openmetrics: whether OpenMetrics 1.0 is wanted rather than the text format.
        chunked: whether the client knows transfer encodings; one that does not reads until the connection ends.
    """

    __slots__ = ("chunked", "openmetrics")

    def __init__(self, *, openmetrics: bool, chunked: bool) -> None:
        self.openmetrics = openmetrics
        self.chunked = chunked


def parse_request(head: bytes) -> Scrape:
    """Return what is asked for.

    Args:
        head: request line and header fields, without the empty line.

    Raises:
        BadRequest: no HTTP/1 at all, or another method than GET.
    """
    request, *lines = head.split(b"\r\n")
    words = request.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise BadRequest(b"400 Bad Request")
    if words[0] != b"GET":
        raise BadRequest(b"405 Method Not Allowed")
    accepted = [value for name, _, value in (line.partition(b":") for line in lines) if name.lower() == b"accept"]
    return Scrape(openmetrics=prefers_openmetrics(b",".join(accepted)), chunked=words[2] != b"HTTP/1.0")


def prefers_openmetrics(accepted: bytes) -> bool:
    """Tell whether the client would rather have OpenMetrics 1.0 than the text format.

    Args:
        accepted: values of the Accept fields, separated by commas; empty when there was none.

    Source: RFC 9110, 12.5.1; Prometheus sends both with a weight.
    """
    openmetrics = text = 0.0
    for part in accepted.split(b","):
        media_type, *parameters = (word.strip().lower() for word in part.split(b";"))
        values = {name.strip(): value.strip(b' "') for name, _, value in (word.partition(b"=") for word in parameters)}
        weight = _weight(values.get(b"q", b"1"))
        if media_type == b"application/openmetrics-text" and values.get(b"version", b"1.0.0") == b"1.0.0":
            openmetrics = max(openmetrics, weight)
        elif media_type in (b"text/plain", b"text/*"):
            text = max(text, weight)
    return openmetrics > 0 and openmetrics >= text


def _weight(value: bytes) -> float:
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0
