"""Where output goes: coloured on a terminal, plain columns where it is piped, JSON where that was asked for.

Decision: rich draws on terminals only. What is piped is read by programs and by `less`, and is never wrapped, cut or
coloured; so a machine without rich loses the colours and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from amphora_agent.ctl.view import Style, Table, Words, columns, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

_COLOURS = {
    Style.PLAIN: "",
    Style.GOOD: "green",
    Style.WARNING: "yellow",
    Style.BAD: "red",
    Style.QUIET: "dim",
    Style.STRONG: "bold",
}


@dataclass(frozen=True, slots=True)
class Screen:
    """Standard output and error of one command."""

    out: TextIO
    errors: TextIO
    is_json: bool = False

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at the output, and rich is there to draw for them."""
        return self.out.isatty() and os.environ.get("TERM") != "dumb" and _has_rich()

    def document(self, value: object) -> None:
        """Print a JSON value."""
        self.out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def line(self, *words: Words | str) -> None:
        """Print one line; the words stand as they are, without blanks between them."""
        parts = [each if isinstance(each, Words) else Words(each) for each in words]
        if not self.is_terminal or all(part.style is Style.PLAIN for part in parts):
            self.out.write("".join(printable(part.text) for part in parts) + "\n")
            return
        self.console().print(styled(parts), soft_wrap=True)

    def text(self, text: str) -> None:
        """Print text of several lines as it is, without what a terminal would obey."""
        for line in text.splitlines():
            self.out.write(printable(line.replace("\t", "    ")) + "\n")

    def table(self, table: Table) -> None:
        """Print a table, nothing when it has no rows."""
        if not table.rows:
            return
        if self.is_terminal:
            self.console().print(drawn(table))
        else:
            self.out.writelines(f"{line}\n" for line in columns(table))

    def note(self, text: str) -> None:
        """Tell people something beside the output."""
        self.errors.write(printable(text) + "\n")

    def flush(self) -> None:
        """Send what is printed on its way, so that a pipe without a reader is noticed."""
        self.out.flush()

    def console(self) -> Console:
        """Return rich's view of the terminal; it obeys NO_COLOR."""
        from rich.console import Console  # noqa: PLC0415 - on a terminal only

        return Console(file=self.out, highlight=False, markup=False)


def _has_rich() -> bool:
    try:
        import rich  # noqa: F401, PLC0415 - on a terminal only
    except ImportError:
        return False
    return True


def styled(parts: Iterable[Words | str]) -> RichText:
    """Return words in their colours as rich draws them."""
    from rich.text import Text  # noqa: PLC0415 - on a terminal only

    words = (each if isinstance(each, Words) else Words(each) for each in parts)
    return Text.assemble(*((printable(each.text), _COLOURS[each.style]) for each in words))


def drawn(table: Table) -> RichTable:
    """Return a table as rich draws it."""
    from rich.table import Table as RichTable  # noqa: PLC0415 - on a terminal only
    from rich.text import Text  # noqa: PLC0415

    found = RichTable(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(table.headings):
        found.add_column(heading, justify="right" if place in table.right else "left", overflow="fold")
    for row in table.rows:
        found.add_row(*(Text(printable(each.text), _COLOURS[each.style]) for each in row))
    return found
