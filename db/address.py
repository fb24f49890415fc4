"""Where a server is."""

import ipaddress


def is_loopback(host: str) -> bool:
    """True when `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
