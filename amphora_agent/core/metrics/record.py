"""What one process tells `prometheus-proxy`: a small text in place of the one before. Renders and reads, never stores.

    amphora-metrics 1
    amphora_beats_total{result="sent"} 17
    # end

Decision: sample lines as the exposition has them, because the proxy has no room for a JSON decoder and passes them on
as they are. The first line is the version: a text of another one, or without its end, is no record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from amphora_agent.core.metrics.names import Metric

_VERSION = b"amphora-metrics 1\n"
_END = b"# end\n"
_LINE = re.compile(
    rb'([a-z_]+)(?:\{[a-z_]+="(?:[^"\\\x00-\x1f\x7f]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\x00-\x1f\x7f]|\\["\\n])*")*\})?'
    rb" -?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
)
_PARTS = ("_bucket", "_sum", "_count")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}


def sample(metric: Metric, values: tuple[str, ...], value: float, *, part: str = "", **more: str) -> str:
    """Return the line of one value.

    Args:
        metric: whose.
        values: of its labels, in their order.
        value: finite.
        part: `_bucket`, `_sum` or `_count` of a histogram.
        more: labels that follow.
    """
    labels = (*zip(metric.labels, values, strict=True), *more.items())
    text = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels)
    number = repr(value) if isinstance(value, int) or value % 1 else str(int(value))
    return f"{metric.name}{part}{{{text}}} {number}\n" if text else f"{metric.name}{part} {number}\n"


def histogram(metric: Metric, bounds: tuple[float, ...], counts: Iterable[int], total: float) -> list[str]:
    """Return the lines of a histogram.

    Args:
        metric: whose.
        bounds: upper bounds, ascending, without infinity.
        counts: how many values fell below each bound and above the one before; the last one is beyond all bounds.
        total: sum of the values.
    """
    lines, so_far = [], 0
    for bound, count in zip((*(f"{bound:g}" for bound in bounds), "+Inf"), counts, strict=True):
        so_far += count
        lines.append(sample(metric, (), so_far, part="_bucket", le=bound))
    return [*lines, sample(metric, (), total, part="_sum"), sample(metric, (), so_far, part="_count")]


def render(lines: Iterable[str]) -> bytes:
    """Return the record of these samples; those of one metric stand together."""
    return _VERSION + "".join(lines).encode() + _END


def parse(data: bytes, known: frozenset[str]) -> dict[bytes, bytes]:
    """Return metric name -> its sample lines; empty for what is no record, and without lines nobody knows.

    Args:
        data: the file's content.
        known: names of metrics; parts of a histogram belong to it.
    """
    if not data.startswith(_VERSION) or not data.endswith(_END):
        return {}
    found: dict[bytes, list[bytes]] = {}
    for line in data[len(_VERSION) : -len(_END)].split(b"\n"):
        match = _LINE.fullmatch(line)
        if match is not None:
            name = _family(match[1].decode(), known)
            if name:
                found.setdefault(name, []).append(line)
    return {name: b"\n".join((*lines, b"")) for name, lines in found.items()}


def _family(name: str, known: frozenset[str]) -> bytes:
    if name in known:
        return name.encode()
    whole = next((name.removesuffix(part) for part in _PARTS if name.endswith(part)), "")
    return whole.encode() if whole in known else b""


def _escaped(text: str) -> str:
    printable = (character for character in text if character == "\n" or (character >= " " and character != "\x7f"))
    return "".join(_ESCAPES.get(character, character) for character in printable)
