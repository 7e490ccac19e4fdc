"""Whether an address is only this machine's; settings ask it before Django is there."""

import ipaddress
from urllib.parse import urlsplit


def is_local(url: str) -> bool:
    """Whether an address of ours is only this machine's."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
