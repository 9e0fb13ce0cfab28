"""The agent's configuration file on disk, read again whenever it changes. Keeps the last good value."""

from __future__ import annotations

import logging
from pathlib import Path

from amphora_agent.core.settings import Settings, parse_settings
from amphora_agent.errors import AgentError, HostFailure

LOG = logging.getLogger(__name__)

Identity = tuple[int, int, int]


class SettingsFile:
    """Current settings of one file; each process has its own and needs no message to see a change.

    Raises:
        AgentError: at construction only, when the file cannot be read or parsed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = self._identify()
        self._settings = self._read()
        self._trouble = ""

    def current(self) -> Settings:
        """Return the file's settings, or the last good ones while the file is missing or broken (logged once)."""
        try:
            identity = self._identify()
            if identity != self._identity:
                self._identity = identity
                self._settings = self._read()
                self._trouble = ""
                LOG.info("read the configuration again file=%s", self.path)
        except AgentError as error:
            trouble = f"{error}: {error.detail}"
            if trouble != self._trouble:
                LOG.error("kept the previous configuration file=%s: %s", self.path, trouble)
            self._trouble = trouble
        return self._settings

    def _identify(self) -> Identity:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise HostFailure(f"cannot read {self.path}", error.strerror or str(error)) from error
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _read(self) -> Settings:
        try:
            settings = parse_settings(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise HostFailure(f"cannot read {self.path}", _reason(error)) from error
        for oddity in settings.oddities:
            LOG.warning("took the default file=%s: %s", self.path, oddity.text)
        return settings


def _reason(error: OSError | UnicodeDecodeError) -> str:
    """Return what is wrong without any of the file's bytes, which may be part of a secret."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return error.strerror or type(error).__name__
