"""Troubles that repeat at every message, logged when they begin, change and end. Never at each message."""

from __future__ import annotations

import logging

LOG = logging.getLogger(__name__)


class Notices:
    """Remembers per subject what was said last."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    @property
    def standing(self) -> dict[str, str]:
        """What is wrong at this moment: subject -> what was said."""
        return dict(self._said)

    def report(self, subject: str, trouble: str, detail: str = "") -> bool:
        """Log a trouble unless it is the one said last of this subject; tell whether it was news.

        Another detail alone is no news.
        """
        if self._said.get(subject) == trouble:
            return False
        self._said[subject] = trouble
        LOG.warning("%s %s%s", subject, trouble, f" ({detail})" if detail else "")
        return True

    def clear(self, subject: str, relief: str) -> None:
        """Log that a subject's trouble is over, if there was one."""
        if self._said.pop(subject, None) is not None:
            LOG.info("%s %s", subject, relief)

    def forget(self, subject: str) -> None:
        """Drop a subject that is gone."""
        self._said.pop(subject, None)
