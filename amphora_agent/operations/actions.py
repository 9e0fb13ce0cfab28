"""What the API may ask of a running program: the same three words for HAProxy and both kinds of keepalived."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What to do to a load balancer, an LVS listener or the VRRP instance as a whole."""

    START = "start"
    STOP = "stop"
    RELOAD = "reload"
