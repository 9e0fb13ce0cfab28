"""HAProxy's version as a value that compares. Parses text; never runs the binary."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_VERSION = re.compile(
    r"(?:^|\s)[Vv]ersion:? (?P<text>(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6})|[-.]dev(\d{1,6}))?\S*)", re.MULTILINE | re.ASCII
)


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A release; development builds count as patch 0. `text` is the whole word, with the distribution's suffix."""

    major: int
    minor: int
    patch: int = 0
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text or f"{self.major}.{self.minor}.{self.patch}"


def parse_version(text: str) -> Version | None:
    """Return the version that `haproxy -v` or the runtime command `show info` printed, None for anything else."""
    found = _VERSION.search(text)
    if found is None:
        return None
    return Version(int(found[2]), int(found[3]), int(found[4] or 0), found["text"])
