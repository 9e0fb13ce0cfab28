"""Lines of a configuration out of words that are typed or quoted. No tenant's text reaches a file in any other way.

Decision: a word in plain text must consist of harmless characters, or the rendering ends with an error; what a tenant
wrote is wrapped in `Data` and escaped with backslashes, as the controller does. Forgetting to wrap is then a loud bug
on a test's first odd string, never a line of somebody else's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_PLAIN = re.compile(r"[A-Za-z0-9_.:/,@+=%!()*|~^{}\[\]<>-]+\Z")
_SPECIAL = re.compile(r"""[ "'#$\\]""")
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Data:
    """Text that is somebody's data: it becomes exactly one word that says exactly this text."""

    text: str


Word = str | int | Data | IPv4Address | IPv6Address | IPv4Network | IPv6Network


def line(*words: Word) -> str:
    """Return an indented line of these words.

    Raises:
        ValueError: a word is not what it has to be; a defect of the caller's.
    """
    return _INDENT + " ".join(text_of(word) for word in words)


def text_of(word: Word) -> str:
    """Return how HAProxy is to read one word.

    Source: HAProxy configuration manual 2.2, "Quoting and escaping": outside of quotes a backslash takes the blank,
    the number sign, the quotes, the dollar and itself literally.
    """
    if isinstance(word, Data):
        if not word.text or not word.text.isprintable():
            raise ValueError("a word is empty or has control characters")
        return _SPECIAL.sub(r"\\\g<0>", word.text)
    text = str(word)
    if _PLAIN.match(text) is None:
        raise ValueError("a plain word has characters that need care")
    return text
