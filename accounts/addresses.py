"""Where a request comes from: the one answer for limits, key rules, session lists and the audit log."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The address that the first of our own proxies saw.

    Each of the TRUSTED_PROXY_COUNT proxies appends to X-Forwarded-For, so that many entries from the
    right are theirs; what stands before them a visitor may have written. A request that came past
    the proxies has too few of them, and counts by its own connection.
    """
    direct = str(request.META.get("REMOTE_ADDR") or "")
    proxies = settings.TRUSTED_PROXY_COUNT
    if not proxies:
        return direct
    passed = request.headers.get("X-Forwarded-For", "").split(",")
    seen = passed[-proxies].strip() if len(passed) >= proxies else ""
    return seen if _is_address(seen) else direct


def one_visitor(address: str) -> str:
    """What limits count an address by: of IPv6 its network of 64 bits, which one visitor has."""
    if not _is_address(address):
        return address
    found = ipaddress.ip_interface(address)
    if isinstance(found, ipaddress.IPv4Interface) or found.ipv4_mapped:
        return address
    return str(ipaddress.ip_network((found.packed, 64), strict=False))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
