"""How much the hostile tests try: bounded amounts in CI, larger ones when asked for."""

from __future__ import annotations

import os
import random

IS_LONG = os.environ.get("AMPHORA_HOSTILE") == "long"
SEED = int(os.environ["AMPHORA_SEED"])


def amount(bounded: int, long: int) -> int:
    """Return how many to try: `long` with `AMPHORA_HOSTILE=long`, which `tests/run hostile --long` sets."""
    return long if IS_LONG else bounded


def dice(*names: object) -> random.Random:
    """Return random numbers of the run's seed; other names get other numbers."""
    return random.Random(f"{SEED} {names}")  # noqa: S311 - to be repeated, not to be secret
