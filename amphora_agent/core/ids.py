"""Identifiers from the wire, checked once so that no path trick gets further in."""

from __future__ import annotations

import re
from typing import NewType

LoadBalancerId = NewType("LoadBalancerId", str)
ListenerId = NewType("ListenerId", str)
AmphoraId = NewType("AmphoraId", str)
PemName = NewType("PemName", str)

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z|[0-9a-f]{32}\Z", re.IGNORECASE | re.ASCII)
_PEM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.pem\Z")
_NAME_MAX = 255


def is_id(text: str) -> bool:
    """Tell whether `text` is an id: a UUID with or without its dashes, in either case.

    Controllers send nothing else, and no file or directory of the agent's own is called so: what an id names in a path
    is a load balancer's or a listener's.
    """
    return _UUID.match(text) is not None


def is_pem_name(text: str) -> bool:
    """Tell whether `text` is a plain file name ending in `.pem`, without `..` and no longer than a file name."""
    return _PEM_NAME.match(text) is not None and ".." not in text and len(text) <= _NAME_MAX
