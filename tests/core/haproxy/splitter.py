"""How HAProxy splits a line, written a second time from its manual and from trials, to check the agent's by.

Character by character, as HAProxy does it; shares nothing with the agent's own splitter.
"""

from __future__ import annotations

_ESCAPES = {" ": " ", "\\": "\\", "#": "#", "'": "'", '"': '"', "$": "$", "t": "\t", "r": "\r", "n": "\n"}


class Rejected(Exception):
    """HAProxy reports an error, or what it reads depends on its environment."""


def split(line: str) -> list[str]:
    """Return the words of a line.

    Raises:
        Rejected: an open quote, a variable, or a character that ends the line early.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    at = 0
    while at < len(line):
        sign = line[at]
        if sign in "\0\r":
            raise Rejected
        if quote != "'" and sign == "\\":
            said, at = _escape(line, at)
            word = [*(word or []), said]
            continue
        if sign in "\"'" and quote in ("", sign):
            quote = "" if quote else sign
            word = word or []
        elif quote == '"' and sign == "$":
            raise Rejected
        elif not quote and sign == "#":
            break
        elif not quote and sign in " \t\v\f":
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = [*(word or []), sign]
        at += 1
    if quote:
        raise Rejected
    return words if word is None else [*words, "".join(word)]


def _escape(line: str, at: int) -> tuple[str, int]:
    """Return what the backslash at a place says, and the place after it."""
    following = line[at + 1 : at + 2]
    if (
        following == "x"
        and len(line) >= at + 4
        and all(sign in "0123456789abcdefABCDEF" for sign in line[at + 2 : at + 4])
    ):
        return chr(int(line[at + 2 : at + 4], 16)), at + 4
    if following in _ESCAPES and following:
        return _ESCAPES[following], at + 2
    return "\\", at + 1
