"""Resolve a host name once, check its addresses, and connect to the checked address.

A list of URLs from elsewhere may name this machine, the router, or a cloud's metadata service. The
connection goes to the address that was checked, which defeats a name that resolves differently a
moment later (DNS rebinding). An address in another notation (decimal, octal, hexadecimal) is
checked after the system has resolved it. The ranges are those of IANA's registries, in `ipaddress`.
"""

import ipaddress
import socket
from collections.abc import Callable

from sharpeye.web.fetch_error import FetchError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

AddressCheck = Callable[[Address, int], str]
"""Takes an address and a port; returns why they must not be connected to, empty if they may."""

CONNECT_SECONDS = 10.0  # per address of a name

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Ranges missing in the tables of early Python 3.11 versions.
_NOT_PUBLIC = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("3fff::/20"),
)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4


def public_only(address: Address, port: int) -> str:
    """Allow public addresses on any port."""
    refusal = _refusal(address)
    return f"{refusal}; --allow-private lets it be" if refusal else ""


def public_redirect(address: Address, port: int) -> str:
    """Allow public addresses on any port, as targets of redirects from the internet."""
    refusal = _refusal(address)
    return f"{refusal}, and a server of the internet leads there" if refusal else ""


def _refusal(address: Address) -> str:
    for candidate in (address, *_embedded_ipv4(address)):
        if isinstance(candidate, ipaddress.IPv6Address):
            translated = candidate.ipv4_mapped is not None or candidate in _TRANSLATED
            public = translated or (candidate in _GLOBAL_UNICAST and not candidate.is_private)
        else:
            public = candidate.is_global and not (candidate.is_multicast or candidate.is_reserved)
        if not public or any(candidate in network for network in _NOT_PUBLIC):
            return f"{address} is {_kind(candidate)}"
    return ""


def anywhere(address: Address, port: int) -> str:
    """Allow every address."""
    return ""


def connect(
    host: str, port: int, check: AddressCheck, *, timeout: float = CONNECT_SECONDS
) -> socket.socket:
    """Connect to the first of a host's addresses that is allowed and accepts.

    Raises:
        FetchError: no address is allowed; no request was sent.
        OSError: the name is unknown, or no address accepts within `timeout` seconds each.
    """
    try:
        results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label of more than 63 characters
        raise OSError(f"{host} is no name of a host") from None
    refusal, failure = "", OSError(f"{host} has no address")
    for family, kind, protocol, _, socket_address in results:
        address = ipaddress.ip_address(str(socket_address[0]).partition("%")[0])
        reason = check(address, port)
        if reason:
            refusal = reason
            continue
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(socket_address)
            return connection
        except OSError as error:
            connection.close()
            failure, refusal = error, ""
    if refusal:
        raise FetchError(f"no request is made there: {refusal}", refused=True)
    raise failure


def _embedded_ipv4(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses to which a gateway may translate an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    embedded = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _TRANSLATED:
        embedded.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [ipv4 for ipv4 in embedded if ipv4 is not None]


def _kind(address: Address) -> str:
    if address.is_loopback:
        return "this machine"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    return "a private or reserved address"
