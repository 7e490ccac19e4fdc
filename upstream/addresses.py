"""Which addresses a provider may live at: public ones, unless private ones are allowed."""

import ipaddress
import socket

from upstream.errors import NotSent

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


def is_allowed(address: str, *, allow_private: bool = False) -> bool:
    """Tell whether we may connect to this IP address; multicast never."""
    found = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    if found.is_multicast or found.is_unspecified:
        return False
    return allow_private or _is_public(found)


def _embedded(address: Address) -> Address:
    """Unwrap the IPv4 address inside an IPv6 one: the network delivers to that.

    `is_global` alone calls the NAT64 and 6to4 forms of 127.0.0.1 global.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_reserved:
        return False
    return isinstance(address, ipaddress.IPv4Address) or address in _GLOBAL_UNICAST


def resolve(host: str, port: int, *, allow_private: bool = False) -> tuple[str, ...]:
    """Return the IP addresses of a host, all of them checked.

    The caller connects to one of these very addresses: a second look-up could answer otherwise.
    Raises NotSent when one address is not allowed, OSError when the name is not found.
    """
    # socket.gaierror is an OSError; a label over 63 characters fails in the IDNA codec instead.
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        found = []
    if not found:
        raise NotSent("name not found")
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not all(is_allowed(address, allow_private=allow_private) for address in addresses):
        raise NotSent("address not allowed")
    return addresses
