"""Private addresses in every spelling, and a listener that counts connections to this machine."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

# Hosts that are this machine, another private network, or none at all.
HOSTS = (
    *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "017700000001"),
    *("0177.0.0.1", "0177.0.01", "0x7f000001", "0x7f.0.0.1", "0x7F.1", "0X7F.0X0.0X0.0X1"),
    *("0", "0.0.0.0", "0x0", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "１２７.0.0.1"),
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]"),
    *("[fd00::1]", "[fc00::1]", "[fec0::1]", "[ff02::1]", "169.254.169.254", "2852039166"),
    *("0xa9fea9fe", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "10.0.0.1", "172.16.0.1"),
    *("192.168.1.1", "100.64.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
)
# URLs that a parser might take for another host or scheme; {} is the port of this machine.
TRICKS = (
    "http://8.8.8.8@127.0.0.1:{}/",
    "http://user:word@127.0.0.1:{}/",
    "http://127.0.0.1:{}#@8.8.8.8/",
    "http://127.0.0.1:{}?@8.8.8.8/",
    "http://8.8.8.8#@127.0.0.1:{}/",
    "http://8.8.8.8\\@127.0.0.1:{}/",
    "http://127.0.0.1:{}\\@8.8.8.8/",
    "http://127.0.0.1:{}/\r\nHost: 8.8.8.8",
    "http://127.0.0.1:{}/%0d%0aX-Header:1",
    "http://127.0.0.1%00.example:{}/",
    "http://127.0.0.1%2f.example:{}/",
    "http://[::1]:{}@8.8.8.8/",
    "http:127.0.0.1:{}/",
    "http:/127.0.0.1:{}/",
    "http:///127.0.0.1:{}/",
    "//127.0.0.1:{}/",
    "file:///etc/passwd",
    "file://127.0.0.1:{}/etc/passwd",
    "ftp://127.0.0.1:{}/",
    "gopher://127.0.0.1:{}/_x",
    "jar:http://127.0.0.1:{}/!/",
    "data:image/png;base64,AAAA",
    "ws://127.0.0.1:{}/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{}/",
    "http://127。0。0。1:{}/",
)


class Canary:
    """Listens on this machine, for IPv4 and IPv6, and counts connections to it."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.port = 0


@contextlib.contextmanager
def canary() -> Iterator[Canary]:
    state = Canary()
    v4 = socket.create_server(("127.0.0.1", 0))
    state.port = v4.getsockname()[1]
    listeners = [v4]
    with contextlib.suppress(OSError):
        listeners.append(socket.create_server(("::1", state.port), family=socket.AF_INET6))

    def listen(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, peer = listener.accept()
                state.connections.append(peer)
                connection.close()

    threads = [threading.Thread(target=listen, args=(each,), daemon=True) for each in listeners]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        for listener in listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in threads:
            thread.join(5)
