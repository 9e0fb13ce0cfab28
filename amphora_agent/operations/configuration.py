"""Replace the agent's configuration file. Both processes notice the new file by themselves."""

from __future__ import annotations

import logging

from amphora_agent.core.settings import parse_ini, parse_settings
from amphora_agent.errors import AgentError, HostFailure, MalformedData
from amphora_agent.host import files
from amphora_agent.operations.amphora import Change

LOG = logging.getLogger(__name__)


def replace(change: Change, body: bytes) -> None:
    """Check the new configuration and write it over the file the agent was started with.

    Raises:
        HostFailure: it cannot be parsed or written; the old file is in force.
    """
    try:
        text = body.decode("utf-8")
        parse_settings(text)
        if not parse_ini(text):
            raise MalformedData("cannot use the configuration", "it is empty")
        files.write_atomic(change.settings_file.path, body)
        change.settings_file.current()
    except UnicodeDecodeError as error:
        raise HostFailure("Unable to update amphora-agent configuration.", "the file is not UTF-8") from error
    except AgentError as error:
        raise HostFailure("Unable to update amphora-agent configuration.", f"{error}: {error.detail}") from error
    LOG.info("replaced the agent's configuration")
