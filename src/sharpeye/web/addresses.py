"""Resolve a host's name once, check its addresses, and connect to the very address checked.

A list of URLs from elsewhere may name this machine, the router, or a cloud's metadata service. A
name is therefore resolved here, each address is checked, and the connection goes to that address:
a name that resolves differently a moment later (DNS rebinding) gains nothing. All spellings of an
address (decimal, octal, hexadecimal) are judged by what the system makes of them.

Source of the ranges: IANA's registries of special-purpose addresses, by way of `ipaddress`.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator

from sharpeye.web.fetch_error import FetchError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

AddressCheck = Callable[[Address, int], str]
"""Takes an address and a port; returns why they must not be connected to, empty if they may."""

CONNECT_SECONDS = 10.0  # for each of a name's addresses

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Ranges that the tables of Python 3.11's first versions lack.
_NOT_PUBLIC = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("3fff::/20"),
)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4


def public_only(address: Address, port: int) -> str:
    """Allow public addresses, whatever the port."""
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

    Args:
        host: a name or an address, in any spelling.
        timeout: seconds for each address.

    Raises:
        FetchError: no address may be connected to; nothing was sent.
        OSError: the name is not known, or no address accepts.
    """
    refusal, failure = "", OSError(f"{host} has no address")
    for family, kind, protocol, _, socket_address in _resolve(host, port):
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
        reason = f"no request is made there: {refusal}; --allow-private lets it be"
        raise FetchError(reason, refused=True)
    raise failure


def _resolve(
    host: str, port: int
) -> list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    try:
        results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label of more than 63 characters
        raise OSError(f"{host} is no name of a host") from None
    return [result for result in results if result[0] in (socket.AF_INET, socket.AF_INET6)]  # type: ignore[misc]


def _embedded_ipv4(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses to which a gateway may translate an IPv6 one."""
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _TRANSLATED:
        with contextlib.suppress(ValueError):
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _kind(address: Address) -> str:
    if address.is_loopback:
        return "this machine"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    return "a private or reserved address"
