"""What all tests share: the seed of the random ones, the same in every worker and printed at the end."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_configure() -> None:
    """Choose the seed before workers inherit it."""
    os.environ.setdefault("AMPHORA_SEED", str(random.SystemRandom().randrange(10**9)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how to repeat the random sequences."""
    sequences = os.environ.get("AMPHORA_SEQUENCES", "default")
    terminalreporter.write_line(f"AMPHORA_SEED={os.environ['AMPHORA_SEED']} AMPHORA_SEQUENCES={sequences}")
