"""amphora-config-drive: configures a new amphora from its config drive, before network and agent start.

Exit codes: 0 all is done; 1 something is not, each on a line of its own, which the unit shows on the console; 3 there
is no drive.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from amphora_agent import log
from amphora_agent.errors import AgentError
from amphora_agent.host.config_drive import device
from amphora_agent.host.config_drive.drive import Drive
from amphora_agent.operations import config_drive
from amphora_agent.operations.config_drive import Places

LOG = logging.getLogger(__name__)

MOUNT_POINT = Path("/run/amphora-config-drive")
# An operator who looks at the console finds the line there within half a minute of power on.
COMPLAIN_AFTER, NEXT_WAIT = 20.0, 5.0
# On a slow machine the CD-ROM's driver may come later than that, and without its drive an amphora is never anybody.
GIVE_UP_AFTER = 300.0
EXIT_FAULTS, EXIT_NO_DRIVE = 1, 3


def main() -> int:
    """Carry out the command line and return the exit code."""
    arguments = _parser().parse_args()
    log.configure(debug=False, facility=None, identifier="amphora-config-drive")
    places = Places(arguments.root)
    if arguments.drive is not None:
        return _report(config_drive.configure(Drive(arguments.drive), places))
    return _from_device(places, _find_device(places, arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="amphora-config-drive", description="configure the amphora from its drive")
    parser.add_argument("--drive", type=Path, metavar="DIRECTORY", help="a drive that is mounted already")
    parser.add_argument("--devices", type=Path, default=device.BY_LABEL, help="where devices are by label")
    parser.add_argument("--complain-after", type=float, default=COMPLAIN_AFTER, metavar="SECONDS")
    parser.add_argument("--give-up-after", type=float, default=GIVE_UP_AFTER, metavar="SECONDS", help="if never found")
    parser.add_argument("--root", type=Path, default=Path("/"), help="write below this directory")
    return parser


def _find_device(places: Places, arguments: argparse.Namespace) -> Path | None:
    """Return the device; a machine that once had it does without it soon."""
    is_known = (places.state / "progress.json").exists()
    found = device.wait_for_device(NEXT_WAIT if is_known else arguments.complain_after, arguments.devices)
    if found is not None:
        return found
    LOG.error("no config drive: no disk or CD-ROM with the label %s", " or ".join(device.LABELS))
    if is_known:
        return None
    return device.wait_for_device(arguments.give_up_after - arguments.complain_after, arguments.devices)


def _from_device(places: Places, found: Path | None) -> int:
    if found is None:
        _report(config_drive.configure(None, places))
        return EXIT_NO_DRIVE
    try:
        with device.mounted(found, MOUNT_POINT) as directory:
            return _report(config_drive.configure(Drive(directory), places))
    except AgentError as error:
        LOG.error("no config drive: %s: %s", error, error.detail)
        _report(config_drive.configure(None, places))
        return EXIT_NO_DRIVE


def _report(faults: list[str]) -> int:
    for fault in faults:
        LOG.error("%s", fault)
    return EXIT_FAULTS if faults else 0


if __name__ == "__main__":
    sys.exit(main())
