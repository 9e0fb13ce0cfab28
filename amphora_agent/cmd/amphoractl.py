"""amphoractl: what operators ask and tell an amphora, on the machine itself or over mutual TLS."""

from __future__ import annotations

import sys

from amphora_agent.ctl.app import run


def main() -> int:
    """Carry out the command line; return the exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
