"""What is shown, as values: words with a meaning, lines, tables. Knows no terminal; `screen` draws them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto


class Style(Enum):
    """What words mean; which colour that is, the screen knows."""

    PLAIN = auto()
    GOOD = auto()
    WARNING = auto()
    BAD = auto()
    QUIET = auto()
    STRONG = auto()


@dataclass(frozen=True, slots=True)
class Words:
    """Some text of one meaning."""

    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; `right` has the numbers of the columns that are numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]
    right: frozenset[int] = field(default=frozenset())


_STYLES = {
    "ONLINE": Style.GOOD,
    "MASTER": Style.GOOD,
    "DRAINING": Style.WARNING,
    "DEGRADED": Style.WARNING,
    "BACKUP": Style.WARNING,
    "NO_MONITOR": Style.QUIET,
    "OFFLINE": Style.QUIET,
    "ERROR": Style.BAD,
    "FAULT": Style.BAD,
    "+": Style.GOOD,
    "-": Style.BAD,
    "~": Style.WARNING,
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def word(text: str) -> Words:
    """Return one of the API's own words in its meaning."""
    return Words(text, _STYLES.get(text, Style.PLAIN))


def quiet(text: str) -> Words:
    """Return what need not catch the eye."""
    return Words(text, Style.QUIET)


def strong(text: str) -> Words:
    """Return a heading or a name."""
    return Words(text, Style.STRONG)


def count(number: float | None) -> Words:
    """Return a number as people read it: 950, 1.2k, 34M; nothing for None."""
    if number is None:
        return Words("")
    for unit in ("", "k", "M", "G"):
        if number < 1000 or unit == "G":
            return Words(f"{number:.1f}{unit}" if unit and number < 100 else f"{number:.0f}{unit}")
        number /= 1000
    return Words("")


def duration(seconds: float | None) -> str:
    """Return a time span in its largest unit: 12 s, 3 m, 5 h, 12 d; empty for None."""
    if seconds is None:
        return ""
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def printable(text: str) -> str:
    """Return text without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def columns(table: Table) -> list[str]:
    """Return a table as lines of plain text, without blanks at their ends."""
    cells = [table.headings, *(tuple(printable(each.text) for each in row) for row in table.rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(table.headings))]
    return ["  ".join(_padded(row, widths, table.right)).rstrip() for row in cells]


def _padded(row: tuple[str, ...], widths: list[int], right: frozenset[int]) -> list[str]:
    return [
        text.rjust(width) if place in right else text.ljust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
