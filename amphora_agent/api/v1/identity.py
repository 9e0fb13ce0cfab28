"""Ids and file names from the URL, checked at the edge."""

from __future__ import annotations

from amphora_agent.core.ids import AmphoraId, ListenerId, LoadBalancerId, PemName, is_id, is_pem_name
from amphora_agent.errors import InvalidRequest


def loadbalancer_id(text: str) -> LoadBalancerId:
    """Return `text` as a load balancer id.

    Raises:
        InvalidRequest: it can be none.
    """
    if not is_id(text):
        raise InvalidRequest("Invalid request", "the load balancer id is no UUID")
    return LoadBalancerId(text)


def listener_id(text: str) -> ListenerId:
    """Return `text` as a listener id.

    Raises:
        InvalidRequest: it can be none.
    """
    if not is_id(text):
        raise InvalidRequest("Invalid request", "the listener id is no UUID")
    return ListenerId(text)


def amphora_id(text: str) -> AmphoraId:
    """Return `text` as an amphora id.

    Raises:
        InvalidRequest: it can be none.
    """
    if not is_id(text):
        raise InvalidRequest("Invalid request", "the amphora id is no UUID")
    return AmphoraId(text)


def pem_name(text: str) -> PemName:
    """Return `text` as the name of a certificate file.

    Raises:
        InvalidRequest: with the contract's words.
    """
    if not is_pem_name(text):
        raise InvalidRequest("Filename has wrong format")
    return PemName(text)
