"""Whether this machine is a node of a cluster: a driver elsewhere Ray would end without a word."""

from __future__ import annotations

import socket
import time
from typing import Any

from raysearch.errors import BadInput

_ALIVE = 0
"""the state of a node, by Ray's protocol"""
_STARTING = 60.0
"""seconds in which the first node of a cluster comes; seen: 26 on a busy machine"""


def check_membership(address: str, patience: float = 20.0) -> None:
    """Refuse a driver on a machine that runs no node of the cluster.

    Ray itself waits for a minute then, or ends the process in C++, which no `except` sees. Who is
    not let in is left to Ray, which says so.

    Args:
        address: as `ray.init` takes it; something answers there.
        patience: seconds in which this machine's node may still join, beside others; a cluster
            without nodes is just being started, and is waited for longer.

    Raises:
        BadInput: this machine reaches the cluster and is no node of it.
    """
    from ray._private.authentication import authentication_token_setup as token
    from ray._private.services import canonicalize_bootstrap_address

    if address == "auto":  # as `ray.init` does
        token.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        head = canonicalize_bootstrap_address(address) or address
    except ConnectionError:
        return
    name = head if address == "auto" else address
    began = time.monotonic()
    while (nodes := _alive(head)) is not None:
        if any(_is_here(node) for node in nodes):
            return
        if time.monotonic() - began > (patience if nodes else _STARTING):
            raise BadInput(
                f"this machine reaches the Ray cluster at {name} but is no node of it, and a "
                "study's driver must be one: join it here "
                f"(ray start --address={name}), or send the study there with submit and "
                "dashboard: in a cluster file"
            )
        time.sleep(0.5)


def _alive(address: str) -> list[Any] | None:
    """What the cluster knows of its nodes; None where it tells this process nothing."""
    # it is there, as in Ray's own scripts; the stub of its module leaves it out
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        nodes = GcsClient(address=address).get_all_node_info(timeout=5)
    except Exception:  # gRPC's and Ray's own, by what is wrong
        return None
    return [node for node in nodes.values() if node.state == _ALIVE]


def _is_here(node: Any) -> bool:
    """Whether a node's raylet runs on this machine: its address is ours, and its socket answers."""
    family = socket.AF_INET6 if ":" in node.node_manager_address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as own:
            own.bind((node.node_manager_address, 0))
        with socket.socket(socket.AF_UNIX) as raylet:
            raylet.settimeout(5)
            raylet.connect(node.raylet_socket_name)
    except (OSError, ValueError):
        return False
    return True
