"""HAProxy configurations as models, the last few of them kept: one change looks at two or three texts several times.

Decision: a text that is not known is parsed by what differs from the one parsed last, and shares all other lines with
it. A change of one among 10,000 members costs the comparison of two texts then, and no second copy of the lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from amphora_agent.core.haproxy.config import (
    Config,
    ParsedText,
    crt_lists,
    parse_edited,
    parse_text,
    referenced_files,
)

# What is stored, what runs, and a document of API 2.0 that is looked into meanwhile.
_KEPT = 3


@dataclass(frozen=True, slots=True)
class KnownText:
    """A text with its model, and the files it names: all but what its crt-lists name in turn, and those lists."""

    parsed: ParsedText
    files: frozenset[str]
    crt_lists: frozenset[str]


class ParsedTexts:
    """The models of the texts that were looked at last, the last one first. Used by any thread, without a lock."""

    def __init__(self) -> None:
        self._kept: tuple[KnownText, ...] = ()

    def parse(self, text: str) -> Config:
        """Return the model of a text."""
        return self.look_at(text).parsed.config

    def look_at(self, text: str) -> KnownText:
        """Return a text with its model; the lines are those of the texts before where they are the same."""
        kept = self._kept
        found = next((known for known in kept if known.parsed.text == text), None) or _look_at(text, kept)
        others = tuple(known for known in kept if known is not found)
        self._kept = (found, *others[: _KEPT - 1])
        return found


def _look_at(text: str, kept: tuple[KnownText, ...]) -> KnownText:
    parsed = parse_edited(text, kept[0].parsed) if kept else parse_text(text)
    return KnownText(parsed, referenced_files(parsed.config), crt_lists(parsed.config))
