"""What the playground says: numbered steps with their time, notes below. Plain ASCII; colours only on a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

WIDTH = 84
_INDENT = "      "
_UUID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class Colour(StrEnum):
    """What a word is painted for; the values are terminal codes."""

    GOOD = "32"
    BAD = "31"
    QUIET = "2"
    STRONG = "1"


@dataclass(slots=True)
class Printer:
    """Writes to standard output, line by line as things happen."""

    coloured: bool = field(default_factory=lambda: sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    _steps: int = 0

    def paint(self, text: str, colour: Colour) -> str:
        """Return the text in a colour, or as it is where nobody sees colours."""
        return f"\033[{colour}m{text}\033[0m" if self.coloured else text

    def heading(self, text: str) -> None:
        """Begin a new chapter."""
        print(f"\n{self.paint(text, Colour.STRONG)}", flush=True)

    def line(self, text: str = "") -> None:
        """Say something below the current step."""
        print(f"{_INDENT}{text}".rstrip(), flush=True)

    def text(self, text: str) -> None:
        """Print as it is."""
        print(text, flush=True)

    def begin(self, what: str) -> None:
        """Number a step that prints its lines as they come and says itself how long it took."""
        self._steps += 1
        print(f"{self._steps:>3}.  {what}", flush=True)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Number and time what the block does; the lines it appends are printed below, once it is done."""
        self._steps += 1
        head = f"{self._steps:>3}.  {what} "
        print(f"{head}{self.paint('.' * (WIDTH - 10 - len(head)), Colour.QUIET)} ", end="", flush=True)
        notes: list[str] = []
        began = time.monotonic()
        try:
            yield notes
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            print(self.paint("interrupted" if interrupted else "failed", Colour.BAD), flush=True)
            raise
        else:
            print(f"{duration(time.monotonic() - began):>8}", flush=True)
        finally:
            for note in notes:
                self.line(note)


def duration(seconds: float) -> str:
    """Return `12 ms` or `3.4 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def shortened(text: str) -> str:
    """Return the text with every UUID cut to its first eight digits."""
    return _UUID.sub(r"\1..", text)
