"""`docs/metrics.md` says what the code does."""

from __future__ import annotations

from testbed.metrics_document import FILE, document


def test_the_document_is_made_from_the_code_as_it_is() -> None:
    assert FILE.read_text() == document(), "run python -m testbed.metrics_document"
