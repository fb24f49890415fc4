"""Ports of tests: nobody else is given them for as long as this process runs.

A port that was free a moment ago may be another server's a moment later: as many tests as there are processes open
servers at the same time.
"""

import socket
import sys
from functools import cache
from pathlib import Path


def reserved_port() -> int:
    """A loopback port for a server that is to listen there later, perhaps again and again.

    The socket that holds it is bound and never listens: connections are refused, and Linux gives the port to nobody who
    asks for any free one. A server that names it may listen there, since it sets SO_REUSEADDR as well. Elsewhere than
    on Linux it could not, so the port is not held there.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform == "linux":
        holder.detach()  # open to the end of this process
    else:
        holder.close()
    return port


@cache
def closed_port() -> int:
    """A loopback port on which nothing listens, for a server that is away."""
    return reserved_port()


def reserve_ports(home: Path) -> None:
    """Give the embedded servers of this home ports that stay theirs while they are stopped."""
    for server in ("postgres", "valkey"):
        (home / f"{server}.port").write_text(f"{reserved_port()}\n")
