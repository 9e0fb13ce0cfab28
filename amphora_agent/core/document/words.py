"""Lines of a configuration out of words that are typed or quoted. No tenant's text reaches a file in any other way.

Decision: a word in plain text must consist of harmless characters, or the rendering ends with an error; what a tenant
wrote is wrapped in `Data` and escaped with backslashes, as the controller does. Forgetting to wrap is then a loud bug
on a test's first odd string, never a line of somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_PLAIN = re.compile(r"[A-Za-z0-9_.:/,@+=%!()*|~^{}\[\]<>-]+\Z")
_PLAIN_WORDS = re.compile(r"[A-Za-z0-9_.:/,@+=%!()*|~^{}\[\]<>-]+(?: [A-Za-z0-9_.:/,@+=%!()*|~^{}\[\]<>-]+)*\Z")
_SPECIAL = re.compile(r"""[ "'#$\\]""")
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Data:
    """Text that is somebody's data: it becomes exactly one word that says exactly this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """Words that are put together already; only `together` and `plain` make them."""

    text: str


Word = Words | str | int | Data | IPv4Address | IPv6Address | IPv4Network | IPv6Network


def line(*words: Word) -> str:
    """Return an indented line of these words.

    Raises:
        ValueError: a word is not what it has to be; a defect of the caller's.
    """
    return _INDENT + " ".join(text_of(word) for word in words)


def together(words: Iterable[Word]) -> tuple[Words, ...]:
    """Return words that several lines share as one, which then need not be looked at for each line; none of none.

    Raises:
        ValueError: as `line`.
    """
    text = " ".join(text_of(word) for word in words)
    return (Words(text),) if text else ()


def plain(text: str) -> Words:
    """Return plain words with a blank between each two, looked at once for all of them.

    Raises:
        ValueError: as `line`.
    """
    if _PLAIN_WORDS.match(text) is None:
        raise ValueError("plain words have characters that need care")
    return Words(text)


def text_of(word: Word) -> str:
    """Return how HAProxy is to read one word.

    Source: HAProxy configuration manual 2.2, "Quoting and escaping": outside of quotes a backslash takes the blank,
    the number sign, the quotes, the dollar and itself literally.
    """
    if isinstance(word, Data):
        if not word.text or not word.text.isprintable():
            raise ValueError("a word is empty or has control characters")
        return _SPECIAL.sub(r"\\\g<0>", word.text)
    if isinstance(word, Words):
        return word.text
    text = str(word)
    if _PLAIN.match(text) is None:
        raise ValueError("a plain word has characters that need care")
    return text
