"""Identifiers from the wire, checked once so that no path trick gets further in."""

from __future__ import annotations

import re
from typing import NewType

LoadBalancerId = NewType("LoadBalancerId", str)
ListenerId = NewType("ListenerId", str)
AmphoraId = NewType("AmphoraId", str)
PemName = NewType("PemName", str)

# Names that the agent itself has in its base directory, beside the load balancers.
_RESERVED = frozenset({"agent", "certs", "lvs", "vrrp"})
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_PEM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.pem\Z")
_NAME_MAX = 255


def is_id(text: str) -> bool:
    """Tell whether `text` can be an id: 1 to 64 letters, digits, `_` or `-` (the controller sends UUIDs).

    The agent's own directory names are refused: deleting a load balancer of that name would delete them.
    """
    return _ID.match(text) is not None and text not in _RESERVED


def is_pem_name(text: str) -> bool:
    """Tell whether `text` is a plain file name ending in `.pem`, without `..` and no longer than a file name."""
    return _PEM_NAME.match(text) is not None and ".." not in text and len(text) <= _NAME_MAX
