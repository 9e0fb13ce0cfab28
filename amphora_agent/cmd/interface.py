"""amphora-interface: brings interfaces of the namespace up and down; at boot it rebuilds the whole namespace.

`masquerade` is what `lvs-masquerade.sh` calls, which interface files of older agents name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from amphora_agent import log
from amphora_agent.core.network.nft_rules import parse_masquerade
from amphora_agent.core.paths import Paths, paths_of
from amphora_agent.core.settings import Settings, parse_settings
from amphora_agent.errors import AgentError
from amphora_agent.host import files
from amphora_agent.operations.network import interfaces

DEFAULT_CONFIG = Path("/etc/octavia/amphora-agent.conf")
EXIT_USAGE, EXIT_FAILURE = 1, 2
USAGE = """\
usage: amphora-interface [--config-file FILE] up|down NAME|all
       amphora-interface [--config-file FILE] masquerade add|delete ipv4|ipv6 NAME [sriov]
"""


def main() -> int:
    """Carry out the command line; return 0, 1 for a wrong one, 2 for a failure."""
    match sys.argv[1:]:
        case [*options, "masquerade", "add" | "delete" as action, "ipv4" | "ipv6" as family, name]:
            errors = _masquerade(options, f"lvs-masquerade.sh {action} {family} {name}")
        case [*options, "masquerade", "add" | "delete" as action, "ipv4" | "ipv6" as family, name, "sriov"]:
            errors = _masquerade(options, f"lvs-masquerade.sh {action} {family} {name} sriov")
        case [*options, "up" | "down" as action, name]:
            errors = _perform(options, action, name)
        case _:
            errors = None
    if errors is None:
        sys.stderr.write(USAGE)
        return EXIT_USAGE
    for error in errors:
        sys.stdout.write(f"Error: {error}: {error.detail}\n")
    return EXIT_FAILURE if errors else 0


def _perform(options: Sequence[str], action: str, name: str) -> list[AgentError]:
    log.configure(debug=False, facility=None, identifier="amphora-interface")
    try:
        paths = _paths(_config_file(options))
        match action, name:
            case "up", "all":
                return interfaces.bring_up_everything(paths)
            case "up", _:
                return interfaces.bring_up(paths, name)
            case _, "all":
                return interfaces.bring_everything_down(paths)
            case _:
                return interfaces.bring_down(paths, name)
    except AgentError as error:
        return [error]


def _masquerade(options: Sequence[str], command: str) -> list[AgentError] | None:
    """Return what went wrong, None for a name that cannot be an interface's."""
    parsed = parse_masquerade(command)
    if parsed is None:
        return None
    try:
        interfaces.masquerade(_paths(_config_file(options)), *parsed)
    except AgentError as error:
        return [error]
    return []


def _config_file(options: Sequence[str]) -> Path:
    """Return the agent's configuration file; options of older versions are passed over."""
    for number, option in enumerate(options):
        if option.startswith("--config-file="):
            return Path(option.partition("=")[2])
        if option == "--config-file" and number + 1 < len(options):
            return Path(options[number + 1])
    return DEFAULT_CONFIG


def _paths(config_file: Path) -> Paths:
    data = files.read_optional(config_file)
    return paths_of(Settings() if data is None else parse_settings(data.decode("utf-8", "replace")))


if __name__ == "__main__":
    sys.exit(main())
