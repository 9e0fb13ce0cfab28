"""HAProxy's exposition in, the contract's out: piece by piece, whole lines only. Holds one line, never a whole scrape.

Decision: pieces of thousands of lines are checked and rewritten by a handful of calls that run in C, and only a piece
in which some line is not as it should be is looked at line by line. That is what makes 5,000 members take less than a
second; the price is that a label value which itself looks like `",server="` would be rewritten, too. HAProxy accepts
no such name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from amphora_agent.core.metrics.names import Metric
from amphora_agent.core.metrics.own import EVERY

# Source: Prometheus, text exposition format 0.0.4. One atomic group per part, so that no input makes it slow.
_VALUE = rb"(?>[+-]?(?>[0-9]++(?:\.[0-9]*+)?+(?:[eE][+-]?[0-9]++)?+|Inf)|NaN)\n"
_TEXT = rb'"(?>[^"\\\x00-\x1f\x7f-\xff]++|\\["\\n])*+"'
_WIDE_TEXT = rb'"(?>[^"\\\x00-\x1f\x7f]++|\\["\\n])*+"'
_NAME = rb"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_HEADER = re.compile(rb"# (HELP|TYPE) (" + _NAME + rb") ([^\x00-\x1f\x7f]*)\n")
_TYPES = frozenset((b"counter", b"gauge", b"histogram", b"summary", b"untyped"))
_BACKSLASH = re.compile(rb"\\([\\n])?")
_INTERNAL = b"prometheus-exporter"

LONGEST_LINE = 64 * 1024


class Garbled(Exception):
    """What came is no exposition of HAProxy's; the message says why."""


def _lines_pattern(labels: tuple[str, ...], text: bytes) -> re.Pattern[bytes]:
    """Return what any number of sample lines look like whose first labels are these."""
    more = rb"[a-zA-Z_][a-zA-Z0-9_]*+=" + text
    if labels:
        inside = b",".join(label.encode() + b"=" + text for label in labels) + rb"(?:," + more + rb")*+"
        braces = rb"\{" + inside + rb"\}"
    else:
        braces = rb"(?:\{" + more + rb"(?:," + more + rb")*+\})?+"
    return re.compile(rb"(?:" + _NAME + braces + b" " + _VALUE + rb")*+")


_SOURCE_LABELS: dict[tuple[str, ...], tuple[str, ...]] = {
    (): (),
    ("listener",): ("proxy",),
    ("pool",): ("proxy",),
    ("pool", "member"): ("proxy", "server"),
}
_PATTERNS = {labels: _lines_pattern(source, _TEXT) for labels, source in _SOURCE_LABELS.items()}
_WIDE_PATTERNS = {labels: _lines_pattern(source, _WIDE_TEXT) for labels, source in _SOURCE_LABELS.items()}


class _Family:
    """How the lines of one metric are rewritten."""

    __slots__ = ("help", "metric", "name", "new_prefix", "pattern", "prefix", "source", "wide_pattern")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.name = metric.name.encode()
        self.source = metric.source.encode()
        self.help = metric.help.encode()
        opening = b"{" + _SOURCE_LABELS[metric.labels][0].encode() + b'="' if metric.labels else b""
        self.prefix = b"\n" + self.source + opening
        self.new_prefix = b"\n" + self.name + (b"{" + metric.labels[0].encode() + b'="' if metric.labels else b"")
        self.pattern = _PATTERNS[metric.labels]
        self.wide_pattern = _WIDE_PATTERNS[metric.labels]


_FAMILIES = {metric.source.encode(): _Family(metric) for metric in EVERY if metric.source.startswith("haproxy_")}


class Translator:
    """One scrape on its way through.

    Args:
        openmetrics: write OpenMetrics 1.0 instead of the text format.
        keep_rejected: collect the lines that are not passed on in `rejected`.
        added: metric name -> sample lines that others than HAProxy know, to stand among those of the same name.
    """

    def __init__(
        self, *, openmetrics: bool = False, keep_rejected: bool = False, added: Mapping[bytes, bytes] | None = None
    ) -> None:
        self.rejected: list[bytes] = []
        self.dropped = 0
        self._added = dict(added or {})
        self._openmetrics = openmetrics
        self._keep_rejected = keep_rejected
        self._rest = b""
        self._family: _Family | None = None
        self._current = b""
        self._help = b""
        self._header_due = False
        self._seen: set[bytes] = set()

    def feed(self, data: bytes) -> bytes:
        """Take the next piece, however cut, and return what is to be sent for it: whole lines, or nothing.

        Raises:
            Garbled: a line has no end.
        """
        data = self._rest + data if self._rest else data
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        if len(self._rest) > LONGEST_LINE:
            raise Garbled(f"a line is longer than {LONGEST_LINE} bytes")
        written: list[bytes] = []
        position = 0
        while position < cut:
            if data.startswith(b"#", position):
                end = data.find(b"\n", position) + 1
                self._take_comment(data[position:end], written)
            else:
                end = data.find(b"\n#", position, cut) + 1 or cut
                self._take_samples(data[position:end], written)
            position = end
        return b"".join(written)

    def finish(self) -> bytes:
        """Return what is left to be sent once all has come.

        Raises:
            Garbled: the last line is cut, or none of the metrics was HAProxy's.
        """
        if self._rest:
            raise Garbled("the last line is cut")
        if not self._seen:
            raise Garbled("no metric of HAProxy's is in it")
        written: list[bytes] = []
        self._write_header(b"untyped", written)
        for metric in EVERY:
            lines = self._added.pop(metric.name.encode(), b"")
            if lines:
                written += (header_of(metric, openmetrics=self._openmetrics), lines)
        return b"".join(written)

    def _take_comment(self, line: bytes, written: list[bytes]) -> None:
        match = _HEADER.fullmatch(line)
        if match is None or _INTERNAL in line:
            self._reject(line)
            return
        keyword, name, text = match.groups()
        if name != self._current:
            self._write_header(b"untyped", written)
            self._begin(name)
        if self._family is None:
            self._reject(line)
        elif keyword == b"HELP":
            self._help = text
        elif text in _TYPES:
            self._write_header(text, written)

    def _begin(self, name: bytes) -> None:
        """Turn to another metric; one that comes a second time is not taken again: it would be no exposition."""
        self._current = name
        self._family = None if name in self._seen else _FAMILIES.get(name)
        self._header_due = self._family is not None
        self._help = b""
        if self._family is not None:
            self._seen.add(name)

    def _write_header(self, kind: bytes, written: list[bytes]) -> None:
        if self._family is None or not self._header_due:
            return
        self._header_due = False
        written.append(header(self._family.name, kind, self._family.help or self._help, openmetrics=self._openmetrics))
        written.append(self._added.pop(self._family.name, b""))

    def _take_samples(self, block: bytes, written: list[bytes]) -> None:
        """Rewrite lines none of which is a comment."""
        family = self._family
        if family is None:
            self._reject(block)
            return
        self._write_header(b"untyped", written)
        if not _are_sound(family, block):
            block = self._sound_lines(family, block)
        written.append(_renamed(family, block))

    def _sound_lines(self, family: _Family, block: bytes) -> bytes:
        kept = []
        for text in block.split(b"\n")[:-1]:
            line = text + b"\n"
            if _INTERNAL in line or not _is_sound(family, line):
                self._reject(line)
            else:
                kept.append(line)
        return b"".join(kept)

    def _reject(self, lines: bytes) -> None:
        self.dropped += 1
        if self._keep_rejected:
            self.rejected.append(lines)


def header_of(metric: Metric, *, openmetrics: bool) -> bytes:
    """Return the HELP and TYPE lines of a metric of ours."""
    return header(metric.name.encode(), metric.kind.encode(), metric.help.encode(), openmetrics=openmetrics)


def header(name: bytes, kind: bytes, text: bytes, *, openmetrics: bool) -> bytes:
    """Return the HELP and TYPE lines of a metric; without a text there is no HELP line.

    In OpenMetrics a counter's family is named without `_total`, and what ends otherwise is no counter to it.
    """
    text = _BACKSLASH.sub(lambda match: match[0] if match[1] else rb"\\", text.decode("utf-8", "replace").encode())
    if openmetrics:
        if kind == b"counter":
            kind, name = (kind, name[: -len(b"_total")]) if name.endswith(b"_total") else (b"unknown", name)
        kind = b"unknown" if kind == b"untyped" else kind
        text = text.replace(b'"', b'\\"')
    lines = b"# HELP " + name + b" " + text + b"\n" if text else b""
    return lines + b"# TYPE " + name + b" " + kind + b"\n"


def _are_sound(family: _Family, block: bytes) -> bool:
    """Tell whether every line is one of the family and none of the exporter's own; may say no where it is so."""
    return (
        bool(family.metric.labels)
        and _INTERNAL not in block
        and family.pattern.fullmatch(block) is not None
        and (b"\n" + block).count(family.prefix) == block.count(b"\n")
    )


def _is_sound(family: _Family, line: bytes) -> bool:
    if not (b"\n" + line).startswith(family.prefix) or family.wide_pattern.fullmatch(line) is None:
        return False
    after = line[len(family.prefix) - 1 : len(family.prefix)]
    if not family.metric.labels and after not in (b" ", b"{"):
        return False
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _renamed(family: _Family, block: bytes) -> bytes:
    block = (b"\n" + block).replace(family.prefix, family.new_prefix)[1:]
    if len(family.metric.labels) > 1:
        block = block.replace(b'",server="', b'",member="')
    return block
