"""Hostile tests of the whole agent need root for namespaces; those of parsers need nothing."""

from __future__ import annotations

import os

import pytest

WITHOUT_ROOT = ("test_parsers", "test_growth")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.path.stem not in WITHOUT_ROOT:
                item.add_marker(pytest.mark.skip(reason="network namespaces need root"))
