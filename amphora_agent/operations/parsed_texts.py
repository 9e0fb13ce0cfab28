"""HAProxy configurations as models, the last few of them kept: one change looks at two or three texts several times.

Decision: a text that is not known is parsed by what differs from the one parsed last, and shares all other lines with
it. A change of one among 10,000 members costs the comparison of two texts then, and no second copy of the lines.
"""

from __future__ import annotations

from amphora_agent.core.haproxy.config import Config, ParsedText, parse_edited, parse_text

# What is stored, what runs, and a document of API 2.0 that is looked into meanwhile.
_KEPT = 3


class ParsedTexts:
    """The models of the texts that were looked at last, the last one first. Used by any thread, without a lock."""

    def __init__(self) -> None:
        self._kept: tuple[ParsedText, ...] = ()

    def parse(self, text: str) -> Config:
        """Return the model of a text."""
        return self.parse_text(text).config

    def parse_text(self, text: str) -> ParsedText:
        """Return a text with its model; the lines are those of the texts before where they are the same."""
        kept = self._kept
        found = next((parsed for parsed in kept if parsed.text == text), None)
        if found is None:
            found = parse_edited(text, kept[0]) if kept else parse_text(text)
        others = tuple(parsed for parsed in kept if parsed is not found)
        self._kept = (found, *others[: _KEPT - 1])
        return found
