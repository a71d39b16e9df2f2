"""Which requests a studio allows, and hostile uploads: a real process, real sockets."""

import os
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from photos import flowers, jpeg

from studios import StudioProcess, studio_process

EVIL = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def studio(
    tmp_path_factory: pytest.TempPathFactory, session_cache: Path
) -> Iterator[StudioProcess]:
    home = tmp_path_factory.mktemp("home")
    folder = flowers(home / "pictures")
    (home / "secret.jpg").write_bytes(jpeg(99))
    with studio_process(folder, cache=session_cache, home=home) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, session_cache: Path
) -> Iterator[StudioProcess]:
    home = tmp_path_factory.mktemp("guarded")
    folder = flowers(home / "pictures")
    with studio_process(folder, "--host", "0.0.0.0", cache=session_cache, home=home) as running:
        yield running


def peak_memory(studio: StudioProcess) -> int:
    """The peak of its resident memory in bytes."""
    text = Path(f"/proc/{studio.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) * 1024


def send_raw(studio: StudioProcess, head: str, pieces: Iterable[bytes] = ()) -> str:
    """Send a request as it is; the first line of the response, or "" without one."""
    address = urlsplit(studio.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # it has heard enough
        try:
            return connection.recv(4096).split(b"\r\n", 1)[0].decode()
        except OSError:
            return ""


def handshake(studio: StudioProcess, **headers: str) -> str:
    address = urlsplit(studio.url)
    lines = {
        "Host": f"127.0.0.1:{address.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    path = "/"
    text = "\n".join(f"{name}: {value}" for name, value in lines.items())
    return send_raw(studio, f"GET {path} HTTP/1.1\n{text}")


# --- Host, Origin, token -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/collect", "/api/collect/classes", "/static/studio.js"])
def test_foreign_names_are_refused(studio: StudioProcess, path: str) -> None:
    with studio.client() as client:
        response = client.get(path, headers={"Host": "evil.test"})
        assert response.status_code == 421
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://127.0.0.1:1", "https://["])
def test_pages_from_elsewhere_are_refused(studio: StudioProcess, origin: str) -> None:
    with studio.client() as client:
        for path in ("/api/collect/class", "/api/upload?label=rose", "/api/collect/aside"):
            body = {"name": "evil", "paths": ["rose/rose1.jpg"]}
            response = client.post(path, json=body, headers={"Origin": origin})
            assert response.status_code == 403
    assert (studio.folder / "rose" / "rose1.jpg").exists()
    assert not (studio.folder / "evil").exists()


def test_there_are_no_web_sockets(studio: StudioProcess) -> None:
    assert " 200 " in handshake(studio, Origin=studio.url)  # answered as a plain request
    assert " 403 " in handshake(studio, Origin="http://evil.test")
    assert " 421 " in handshake(studio, Host="evil.test", Origin="http://evil.test")


def test_beyond_loopback_a_token_is_needed(guarded: StudioProcess) -> None:
    address = urlsplit(guarded.address)
    token = parse_qs(address.query)["token"][0]
    assert address.hostname == "0.0.0.0" and len(token) > 20
    url = f"http://127.0.0.1:{address.port}"
    with httpx.Client(base_url=url, timeout=30) as client:
        for path in ("/", "/collect", "/api/thumb?path=rose/rose1.jpg", "/static/studio.js"):
            assert client.get(path).status_code == 401
            assert client.get(path, params={"token": "wrong-wrong"}).status_code == 401
        entered = client.get("/collect", params={"class": "rose", "token": token})
        assert entered.status_code == 303
        assert entered.headers["location"] == "/collect?class=rose"
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert client.get(entered.headers["location"]).status_code == 200  # by the cookie
        assert client.get("/", headers={"Host": "my-machine.lan"}).status_code == 200
    port = str(address.port)
    assert f"sharpeye_studio_{port}" in cookie  # a second studio does not log the first one out
    bare = {"Host": f"127.0.0.1:{port}", "Origin": url}
    assert " 401 " in handshake(guarded, **bare)
    assert " 200 " in handshake(guarded, **bare, Cookie=f"sharpeye_studio_{port}={token}")


def test_an_address_with_two_slashes_leads_nowhere_else(guarded: StudioProcess) -> None:
    address = urlsplit(guarded.address)
    for path in ("//evil.test/", "/%5Cevil.test/", "///evil.test"):
        head = f"GET {path}?{address.query} HTTP/1.1\nHost: x"
        with socket.create_connection(("127.0.0.1", address.port), timeout=20) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
            response = connection.recv(4096).decode()
        assert "303" in response.split("\r\n")[0]
        location = re.findall(r"(?im)^location: (.*?)\r", response)[0]
        assert location.startswith("/") and not location.startswith(("//", "/\\", "/%5C"))


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["../secret.jpg", "rose/../../secret.jpg", "/etc/hostname", "..%2fsecret.jpg", "rose\x00.jpg"],
)
def test_paths_stay_in_the_folder(studio: StudioProcess, path: str) -> None:
    with studio.client() as client:
        for route in ("/api/thumb", "/api/picture"):
            assert client.get(route, params={"path": path}).status_code == 400
        for route in ("/api/collect/aside", "/api/collect/move"):
            response = client.post(route, json={"paths": [path], "label": "rose"})
            assert response.status_code == 200 and response.json()["moves"] == []
        body = {"moves": [[path, "rose/rose1.jpg"], ["rose/rose9.jpg", path]]}
        assert client.post("/api/collect/undo", json=body).json()["moves"] == []
        assert client.get("/api/collect/pictures", params={"label": path}).status_code == 400
        response = client.post("/api/upload", params={"label": path}, files={"file": jpeg(5)})
        assert response.status_code == 400
    assert (studio.home / "secret.jpg").exists()
    assert (studio.folder / "rose" / "rose1.jpg").exists()


# --- uploads -------------------------------------------------------------------------------------


def upload(studio: StudioProcess, name: str, data: bytes, label: str = "rose") -> dict[str, object]:
    with studio.client() as client:
        files = {"file": (name, data)}
        response = client.post("/api/upload", params={"label": label}, files=files)
        assert response.status_code == 200, response.text
        return response.json()["files"][0]


def test_a_hostile_name_stays_a_text(studio: StudioProcess) -> None:
    for seed, name in enumerate((EVIL, "../../evil.jpg", "/etc/evil.jpg", "a\\..\\evil.jpg")):
        done = upload(studio, name, jpeg(200 + seed), label="hostile")
        assert done["status"] == "added"
        assert re.fullmatch(r"hostile/[0-9a-f]{16}\.jpg", str(done["path"]))
    names = {file.name for file in (studio.folder / "hostile").iterdir()}
    assert not any("evil" in name or "onerror" in name for name in names)
    assert not list(studio.home.rglob("*evil*"))


def test_what_is_no_image_is_refused_with_its_reason(studio: StudioProcess) -> None:
    before = {*studio.folder.rglob("*.jpg")}
    done = upload(studio, "notes.jpg", b"just a text, whatever its name says")
    assert done["status"] == "rejected" and "not an image" in str(done["reason"])
    page = upload(studio, "page.jpg", b"<!DOCTYPE html><script>alert(1)</script>")
    assert page["status"] == "rejected"
    cut = upload(studio, "cut.jpg", jpeg(3)[:200])
    assert cut["status"] == "rejected"
    assert {*studio.folder.rglob("*.jpg")} == before


def test_copies_are_said(studio: StudioProcess) -> None:
    data = jpeg(300)
    assert upload(studio, "one.jpg", data)["status"] == "added"
    again = upload(studio, "two.jpg", data)
    assert again["status"] == "duplicate" and "already in rose" in str(again["reason"])
    conflicting = upload(studio, "three.jpg", data, label="tulip")
    assert conflicting["status"] == "conflict" and "rose/" in str(conflicting["reason"])


def test_several_files_a_request_and_copies_after_a_move(studio: StudioProcess) -> None:
    files = [("file", (f"{n}.jpg", jpeg(400 + n))) for n in range(4)]
    files.insert(2, ("file", ("bad.jpg", b"bad")))
    with studio.client() as client:
        response = client.post("/api/upload", params={"label": "fern"}, files=files)
        states = [file["status"] for file in response.json()["files"]]
        assert states == ["added", "added", "rejected", "added", "added"]
        path = response.json()["files"][0]["path"]
        client.post("/api/collect/move", json={"paths": [path], "label": "tulip"})
    again = upload(studio, "again.jpg", jpeg(400), label="fern")
    assert again["status"] == "conflict" and "tulip/" in str(again["reason"])


def test_a_gigabyte_is_refused_by_its_length(studio: StudioProcess) -> None:
    head = "POST /api/upload?label=rose HTTP/1.1\nHost: localhost\n"
    head += "Content-Type: multipart/form-data; boundary=x\nContent-Length: 1073741824"
    assert " 413 " in send_raw(studio, head)


def test_a_gigabyte_without_a_length_fills_neither_memory_nor_disk(studio: StudioProcess) -> None:
    before, sent = peak_memory(studio), 0
    part_head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="big.jpg"\r\n\r\n'

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b"%x\r\n%s\r\n" % (len(part_head), part_head)
        mebibyte = os.urandom(2**20)
        for _ in range(1024):
            yield b"100000\r\n" + mebibyte + b"\r\n"
            sent += 1

    head = "POST /api/upload?label=rose HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n"
    head += "Content-Type: multipart/form-data; boundary=x"
    files = {*studio.folder.rglob("*")}
    first_line = send_raw(studio, head, pieces())
    assert " 413 " in first_line or not first_line  # cut off before it was read
    assert 250 <= sent < 400  # the limit of a request, and what lay in the sockets
    assert peak_memory(studio) - before < 100 * 2**20
    assert {*studio.folder.rglob("*")} == files
    with studio.client() as client:
        assert client.get("/api/collect/classes").status_code == 200


def test_a_file_over_the_limit_does_not_hold_the_others_up(studio: StudioProcess) -> None:
    big = jpeg(501) + bytes(65 * 2**20)
    files = [("file", ("big.jpg", big)), ("file", ("small.jpg", jpeg(502)))]
    with studio.client() as client:
        response = client.post("/api/upload", params={"label": "fern"}, files=files).json()
    assert [file["status"] for file in response["files"]] == ["rejected", "added"]
    assert "64 MiB" in response["files"][0]["reason"]


def test_small_requests_stay_small(studio: StudioProcess) -> None:
    with studio.client() as client:
        response = client.post("/api/collect/class", content=b" " * (3 * 2**20))
        assert response.status_code in (400, 413)
        many = {"paths": ["a.jpg"] * 2000}
        assert client.post("/api/collect/aside", json=many).status_code == 422


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"--x--", 415),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"no form", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 5000, 400),
        ("multipart/form-data; boundary=" + "y" * 5000, b"--x\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"b" * 9000, 400),
        ("multipart/form-data; boundary=x", b"--x\r\nX: y\r\n\r\n\r\n--x--\r\n", 400),
    ],
)
def test_broken_forms_are_no_bugs(
    studio: StudioProcess, kind: str, body: bytes, status: int
) -> None:
    with studio.client() as client:
        response = client.post(
            "/api/upload?label=rose", content=body, headers={"Content-Type": kind}
        )
    assert response.status_code == status
    assert "\n" not in response.json()["error"]


def test_eight_uploads_at_once_all_arrive(studio: StudioProcess) -> None:
    results: list[object] = []

    def send(number: int) -> None:
        data = jpeg(600 + number)
        results.append(upload(studio, f"{number}.jpg", data, label="at once")["status"])

    threads = [threading.Thread(target=send, args=(number % 6,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["added"] * 6 + ["duplicate"] * 2
    assert len([*(studio.folder / "at once").glob("*.jpg")]) == 6


def test_answers_carry_what_keeps_browsers_safe(studio: StudioProcess) -> None:
    with studio.client() as client:
        for path in ("/", "/api/thumb?path=rose/rose1.jpg", "/static/studio.js", "/nowhere"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy and "http" not in policy
            assert len(headers.get_list("cache-control")) == 1


def test_nothing_is_left_where_it_was_started(studio: StudioProcess) -> None:
    assert {path.name for path in studio.home.iterdir()} == {"pictures", "secret.jpg"}
