"""Which addresses may be connected to, however they are spelled."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from hostile_server import image, serving
from sharpeye.web import addresses as module
from sharpeye.web.addresses import Address, anywhere, connect, public_only
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.image_fetcher import ImageFetcher

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "2001:0:7f00:1::",  # Teredo: the server is this machine
    "2002:7f00:1::",  # 6to4 of this machine
    "2002:a00:1::",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "5f00::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_reached(text: str) -> None:
    assert public_only(ip_address(text), 80) == ""


@pytest.mark.parametrize("text", PRIVATE)
def test_other_addresses_may_not(text: str) -> None:
    assert public_only(ip_address(text), 80).startswith(f"{ip_address(text)} is ")
    assert anywhere(ip_address(text), 80) == ""


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.0.0.1",
        "0",
        "localhost",
        "LOCALHOST",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "2852039166",
        "fe80::1%lo",
    ],
)
def test_no_spelling_of_an_address_gets_through(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", never)
    with pytest.raises((FetchError, socket.gaierror)):
        connect(host, 80, public_only)


def resolver(*results: list[str]) -> Any:
    """A resolver that gives other addresses each time."""
    left = list(results)

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (kinds[ip_address(each).version], socket.SOCK_STREAM, 6, "", (each, port))
            for each in left.pop(0)
        ]

    return getaddrinfo


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that names a public address first and this machine afterwards gains nothing."""
    connected: list[Any] = []
    monkeypatch.setattr(module.socket, "getaddrinfo", resolver(["8.8.8.8"], ["127.0.0.1"]))
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: connected.append(address))
    connect("rebinding.example", 80, public_only).close()
    assert connected == [("8.8.8.8", 80)]
    with pytest.raises(FetchError, match=r"127\.0\.0\.1 is this machine"):
        connect("rebinding.example", 80, public_only)
    assert len(connected) == 1


def test_of_several_addresses_only_public_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[Any] = []

    def refuse(_: object, address: Any) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(
        module.socket, "getaddrinfo", resolver(["10.0.0.1", "8.8.8.8", "127.0.0.1", "9.9.9.9"])
    )
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ConnectionRefusedError):
        connect("many.example", 80, public_only)
    assert connected == ["8.8.8.8", "9.9.9.9"]


def test_a_check_may_allow_one_server() -> None:
    with serving() as server, serving() as other:

        def check(address: Address, port: int) -> str:
            return "" if port == server.port else public_only(address, port)

        connect("127.0.0.1", server.port, check).close()
        connect("localhost", server.port, check).close()
        with pytest.raises(FetchError, match="this machine"):
            connect("127.0.0.1", other.port, check)


def test_an_impossible_name_is_an_os_error() -> None:
    with pytest.raises(OSError, match="no name of a host"):
        connect("a" * 70 + ".example", 80, public_only)


def test_a_request_resolves_its_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look-up besides the one whose result is checked: a second one would fail here."""
    with serving() as server:
        monkeypatch.setattr(module.socket, "getaddrinfo", resolver(["127.0.0.1"]))
        url = server.url("/good/1", "rebinding.example")
        assert ImageFetcher(anywhere).get(url, robots=False) == image("/good/1")
        monkeypatch.setattr(module.socket, "getaddrinfo", resolver(["127.0.0.1"]))
        with pytest.raises(FetchError, match="this machine") as caught:
            ImageFetcher().get(url, robots=False)
        assert caught.value.refused
        assert sum(server.hits.values()) == 1
