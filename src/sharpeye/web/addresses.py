"""Which addresses may be connected to, and a connection to the very address that was checked.

A list of URLs from elsewhere may name this machine, the router, or a cloud's store of secrets. So
names are resolved here, once, each address is judged, and the connection goes to that address and
is not resolved again: a name that points elsewhere a moment later gains nothing. All spellings of
an address (decimal, octal, hexadecimal) are judged by what the system makes of them.

Source of the ranges: IANA's registries of special-purpose addresses, by way of `ipaddress`.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Takes an address and a port, and says why it may not be connected to; empty: it may.
Reach = Callable[[Address, int], str]

CONNECT_SECONDS = 10.0  # for each of a name's addresses

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# What the tables of Python 3.11's first versions do not have yet.
_NOT_PUBLIC = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("3fff::/20"),
)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4


class OutOfReach(Exception):
    """None of a name's addresses may be connected to; the message says why."""


def public_only(address: Address, port: int) -> str:
    """Public addresses, whatever the port."""
    for each in (address, *_embedded(address)):
        if isinstance(each, ipaddress.IPv6Address):
            translated = each.ipv4_mapped is not None or each in _TRANSLATED
            public = translated or (each in _GLOBAL_UNICAST and not each.is_private)
        else:
            public = each.is_global and not each.is_multicast and not each.is_reserved
        if not public or any(each in network for network in _NOT_PUBLIC):
            return f"{address} is {_kind(each)}"
    return ""


def anywhere(address: Address, port: int) -> str:
    """Every address."""
    return ""


def connect(host: str, port: int, reach: Reach) -> socket.socket:
    """A connection to the first of a host's addresses that may be connected to and answers.

    Args:
        host: a name or an address, in any spelling.

    Raises:
        OutOfReach: no address may be connected to; nothing was sent.
        OSError: the name is not known, or nobody answers.
    """
    refusal, failure = "", OSError(f"{host} has no address")
    for family, kind, protocol, _, place in _resolved(host, port):
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        reason = reach(address, port)
        if reason:
            refusal = reason
            continue
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(CONNECT_SECONDS)
            opened.connect(place)
            return opened
        except OSError as error:
            opened.close()
            failure, refusal = error, ""
    if refusal:
        raise OutOfReach(refusal)
    raise failure


def _resolved(
    host: str, port: int
) -> list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label of more than 63 characters
        raise OSError(f"{host} is no name of a host") from None
    return [entry for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)]  # type: ignore[misc]


def _embedded(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that a gateway may make of an IPv6 one."""
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
