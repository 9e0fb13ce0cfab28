"""The door to nft(8): loads rulesets into the calling thread's network namespace, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from amphora_agent.host import commands

_NFT = "/usr/sbin/nft"


def load(ruleset: str) -> None:
    """Load a ruleset in one transaction.

    Raises:
        HostFailure: nothing of it is loaded; the detail has nft's words.
    """
    commands.check([_NFT, "-f", "-"], stdin=ruleset.encode())


def check_file(file: Path) -> None:
    """Have nft and the kernel judge a ruleset without loading it.

    Raises:
        HostFailure: they refuse it.
    """
    commands.check([_NFT, "-c", "-f", str(file)])


def load_file(file: Path) -> None:
    """Load the ruleset of a file in one transaction.

    Raises:
        HostFailure: nothing of it is loaded; the detail has nft's words.
    """
    commands.check([_NFT, "-f", str(file)])
