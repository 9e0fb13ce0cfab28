"""Whole numbers in text that others wrote. Never raises: `int` does for superscripts and for thousands of digits."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[0-9]{1,18}")


def parse_number(text: str) -> int | None:
    """Return what at most 18 ASCII digits say, None for any other text."""
    return int(text) if _NUMBER.fullmatch(text) else None
