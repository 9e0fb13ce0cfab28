"""How HAProxy reads a line: its words, quotes and escapes. Knows no directive and judges nothing.

The one splitter of the agent: model, planner and firewall all read lines with it. HAProxy ends a line at the line feed
only, so callers split texts at that character, never with `splitlines`.
"""

from __future__ import annotations

import re
from enum import StrEnum

Words = tuple[str, ...]

BLANKS = " \t\v\f\r"
_NEEDS_CARE = re.compile(r"[^\t -~]|[\"'\\#]")
_CONTROL = re.compile(r"[\0-\x08\x0a-\x1f\x7f]")
_WORD = re.compile(r"""#.*|(?:\\.?|"(?:\\.|[^"\\])*"?|'[^']*'?|[^ \t\v\f\r"'\\#])+""", re.DOTALL)
_PIECE = re.compile(
    r"""(?P<single>'[^']*'?)|(?P<double>"(?:\\.|[^"\\])*\\?"?)|\\(?:x[0-9A-Fa-f]{2}|.?)|[^'"\\]+""", re.DOTALL
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[ \\#\"'$trn])")
_VARIABLE = re.compile(r"(?:\\.|[^\\$])*\$", re.DOTALL)
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}


class Trouble(StrEnum):
    """What makes a line mean something else than its words say."""

    CONTROL = "a control character"
    QUOTE = "a quote that is not closed"
    VARIABLE = "a variable of the environment"


def split_words(line: str) -> Words:
    """Return the words of a line as written (quotes and backslashes stay), without its comment.

    Two lines with equal words mean the same to HAProxy, whatever blanks separate them.
    Source: HAProxy configuration manual 2.2, "Quoting and escaping".
    """
    if _NEEDS_CARE.search(line) is None:
        return tuple(line.split())
    return tuple(word for word in _WORD.findall(line) if not word.startswith("#"))


def unquote(word: str) -> str:
    """Return what a word says without its quotes and escapes; `$variables` are left as they are.

    A backslash before a character that needs none stays, as HAProxy has it. Source: the same section; each tried.
    """
    if "\\" not in word and '"' not in word and "'" not in word:
        return word
    return "".join(_said(piece) for piece in _PIECE.finditer(word))


def trouble(line: str) -> Trouble | None:
    """Return what keeps a line's words from being all there is to it, None for a line that says what it seems to say.

    A control character is one in any place: HAProxy takes a zero byte or a carriage return for the end of the line.
    """
    if _NEEDS_CARE.search(line) is None:
        return None
    if _CONTROL.search(line) is not None:
        return Trouble.CONTROL
    for word in split_words(line):
        for piece in _PIECE.finditer(word):
            quoted = piece["single"] or piece["double"]
            if quoted and not _is_closed(quoted):
                return Trouble.QUOTE
            if piece["double"] and _VARIABLE.match(quoted) is not None:
                return Trouble.VARIABLE
    return None


def _said(piece: re.Match[str]) -> str:
    if piece["single"] is not None:
        return piece[0].strip("'")
    text = piece[0]
    if piece["double"] is not None:
        text = text[1:-1] if _is_closed(text) else text[1:]
    return _ESCAPE.sub(_character, text)


def _character(escape: re.Match[str]) -> str:
    said = escape[1]
    if said[0] == "x":
        return chr(int(said[1:], 16))
    return _ESCAPED.get(said, said)


def _is_closed(quoted: str) -> bool:
    """Tell whether a piece that starts with a quote ends with its own, unescaped one."""
    if len(quoted) < 2 or quoted[-1] != quoted[0]:
        return False
    if quoted[0] == "'":
        return True
    body = quoted[1:-1]
    return (len(body) - len(body.rstrip("\\"))) % 2 == 0
