"""Who is let into a studio, and what it does with hostile uploads: a real process, real sockets."""

import os
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from browser import Studio, studio_of
from photos import flowers, jpeg

EVIL = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Iterator[Studio]:
    home = tmp_path_factory.mktemp("home")
    folder = flowers(home / "pictures")
    (home / "secret.jpg").write_bytes(jpeg(99))
    with studio_of(folder, cache=session_cache, home=home) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Iterator[Studio]:
    home = tmp_path_factory.mktemp("guarded")
    folder = flowers(home / "pictures")
    with studio_of(folder, "--host", "0.0.0.0", cache=session_cache, home=home) as running:
        yield running


def memory(studio: Studio) -> int:
    """The most resident bytes that it has had."""
    text = Path(f"/proc/{studio.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) * 1024


def raw(studio: Studio, head: str, pieces: Iterable[bytes] = ()) -> str:
    """Send a request as it is; the answer's first line, or "" if it is cut off without one."""
    place = urlsplit(studio.url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as link:
        link.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        try:
            for piece in pieces:
                link.sendall(piece)
        except OSError:
            pass  # it has heard enough
        try:
            return link.recv(4096).split(b"\r\n", 1)[0].decode()
        except OSError:
            return ""


def handshake(studio: Studio, **headers: str) -> str:
    place = urlsplit(studio.url)
    lines = {
        "Host": f"127.0.0.1:{place.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    text = "\n".join(f"{name}: {value}" for name, value in lines.items())
    return raw(studio, f"GET {path} HTTP/1.1\n{text}")


# --- Host, Origin, token -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/collect", "/api/collect/classes", "/static/studio.js"])
def test_foreign_names_are_refused(studio: Studio, path: str) -> None:
    with studio.client() as client:
        answer = client.get(path, headers={"Host": "evil.test"})
        assert answer.status_code == 421
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://127.0.0.1:1", "https://["])
def test_pages_from_elsewhere_are_refused(studio: Studio, origin: str) -> None:
    with studio.client() as client:
        for path in ("/api/collect/class", "/api/upload?label=rose", "/api/collect/aside"):
            wish = {"name": "evil", "paths": ["rose/rose1.jpg"]}
            answer = client.post(path, json=wish, headers={"Origin": origin})
            assert answer.status_code == 403
    assert (studio.folder / "rose" / "rose1.jpg").exists()
    assert not (studio.folder / "evil").exists()


def test_web_sockets_pass_the_same_gate(studio: Studio) -> None:
    own = studio.url
    assert " 101 " in handshake(studio, Origin=own)
    assert " 403 " in handshake(studio, Origin="http://evil.test")
    assert " 421 " in handshake(studio, Host="evil.test", Origin="http://evil.test")


def test_beyond_loopback_a_token_is_needed(guarded: Studio) -> None:
    place = urlsplit(guarded.opened)
    token = parse_qs(place.query)["token"][0]
    assert place.hostname == "0.0.0.0" and len(token) > 20
    url = f"http://127.0.0.1:{place.port}"
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
    port = str(place.port)
    assert f"sharpeye_studio_{port}" in cookie  # a second studio does not log the first one out
    bare = {"Host": f"127.0.0.1:{port}", "Origin": url}
    assert " 401 " in handshake(guarded, **bare)
    assert " 101 " in handshake(guarded, **bare, Cookie=f"sharpeye_studio_{port}={token}")


def test_an_address_with_two_slashes_leads_nowhere_else(guarded: Studio) -> None:
    place = urlsplit(guarded.opened)
    for path in ("//evil.test/", "/%5Cevil.test/", "///evil.test"):
        head = f"GET {path}?{place.query} HTTP/1.1\nHost: x"
        with socket.create_connection(("127.0.0.1", place.port), timeout=20) as link:
            link.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
            said = link.recv(4096).decode()
        assert "303" in said.split("\r\n")[0]
        location = re.findall(r"(?im)^location: (.*?)\r", said)[0]
        assert location.startswith("/") and not location.startswith(("//", "/\\", "/%5C"))


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["../secret.jpg", "rose/../../secret.jpg", "/etc/hostname", "..%2fsecret.jpg", "rose\x00.jpg"],
)
def test_paths_stay_in_the_folder(studio: Studio, path: str) -> None:
    with studio.client() as client:
        for route in ("/api/thumb", "/api/picture"):
            assert client.get(route, params={"path": path}).status_code == 400
        for route in ("/api/collect/aside", "/api/collect/move"):
            answer = client.post(route, json={"paths": [path], "label": "rose"})
            assert answer.status_code == 200 and answer.json()["moves"] == []
        wish = {"moves": [[path, "rose/rose1.jpg"], ["rose/rose9.jpg", path]]}
        assert client.post("/api/collect/undo", json=wish).json()["moves"] == []
        assert client.get("/api/collect/pictures", params={"label": path}).status_code == 400
        answer = client.post("/api/upload", params={"label": path}, files={"file": jpeg(5)})
        assert answer.status_code == 400
    assert (studio.home / "secret.jpg").exists()
    assert (studio.folder / "rose" / "rose1.jpg").exists()


# --- uploads -------------------------------------------------------------------------------------


def upload(studio: Studio, name: str, data: bytes, label: str = "rose") -> dict[str, object]:
    with studio.client() as client:
        files = {"file": (name, data)}
        answer = client.post("/api/upload", params={"label": label}, files=files)
        assert answer.status_code == 200, answer.text
        return answer.json()["files"][0]


def test_a_hostile_name_stays_a_text(studio: Studio) -> None:
    for seed, name in enumerate((EVIL, "../../evil.jpg", "/etc/evil.jpg", "a\\..\\evil.jpg")):
        done = upload(studio, name, jpeg(200 + seed), label="hostile")
        assert done["status"] == "added"
        assert re.fullmatch(r"hostile/[0-9a-f]{16}\.jpg", str(done["path"]))
    names = {file.name for file in (studio.folder / "hostile").iterdir()}
    assert not any("evil" in name or "onerror" in name for name in names)
    assert not list(studio.home.rglob("*evil*"))


def test_what_is_no_image_is_refused_with_its_reason(studio: Studio) -> None:
    before = {*studio.folder.rglob("*.jpg")}
    done = upload(studio, "notes.jpg", b"just a text, whatever its name says")
    assert done["status"] == "rejected" and "not a picture" in str(done["reason"])
    page = upload(studio, "page.jpg", b"<!DOCTYPE html><script>alert(1)</script>")
    assert page["status"] == "rejected"
    cut = upload(studio, "cut.jpg", jpeg(3)[:200])
    assert cut["status"] == "rejected"
    assert {*studio.folder.rglob("*.jpg")} == before


def test_copies_are_said(studio: Studio) -> None:
    data = jpeg(300)
    assert upload(studio, "one.jpg", data)["status"] == "added"
    again = upload(studio, "two.jpg", data)
    assert again["status"] == "duplicate" and "already in rose" in str(again["reason"])
    other = upload(studio, "three.jpg", data, label="tulip")
    assert other["status"] == "conflict" and "rose/" in str(other["reason"])


def test_several_files_a_request_and_copies_after_a_move(studio: Studio) -> None:
    files = [("file", (f"{n}.jpg", jpeg(400 + n))) for n in range(4)]
    files.insert(2, ("file", ("bad.jpg", b"bad")))
    with studio.client() as client:
        answer = client.post("/api/upload", params={"label": "fern"}, files=files)
        states = [one["status"] for one in answer.json()["files"]]
        assert states == ["added", "added", "rejected", "added", "added"]
        path = answer.json()["files"][0]["path"]
        client.post("/api/collect/move", json={"paths": [path], "label": "tulip"})
    again = upload(studio, "again.jpg", jpeg(400), label="fern")
    assert again["status"] == "conflict" and "tulip/" in str(again["reason"])


def test_a_gigabyte_is_refused_by_its_length(studio: Studio) -> None:
    head = "POST /api/upload?label=rose HTTP/1.1\nHost: localhost\n"
    head += "Content-Type: multipart/form-data; boundary=x\nContent-Length: 1073741824"
    assert " 413 " in raw(studio, head)


def test_a_gigabyte_without_a_length_fills_neither_memory_nor_disk(studio: Studio) -> None:
    before, sent = memory(studio), 0
    place = b'--x\r\nContent-Disposition: form-data; name="file"; filename="big.jpg"\r\n\r\n'

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b"%x\r\n%s\r\n" % (len(place), place)
        mebibyte = os.urandom(2**20)
        for _ in range(1024):
            yield b"100000\r\n" + mebibyte + b"\r\n"
            sent += 1

    head = "POST /api/upload?label=rose HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n"
    head += "Content-Type: multipart/form-data; boundary=x"
    files = {*studio.folder.rglob("*")}
    said = raw(studio, head, pieces())
    assert " 413 " in said or not said  # cut off before it was read
    assert 250 <= sent < 400  # the limit of a request, and what lay in the sockets
    assert memory(studio) - before < 100 * 2**20
    assert {*studio.folder.rglob("*")} == files
    with studio.client() as client:
        assert client.get("/api/collect/classes").status_code == 200


def test_a_file_over_the_limit_does_not_hold_the_others_up(studio: Studio) -> None:
    big = jpeg(501) + bytes(65 * 2**20)
    files = [("file", ("big.jpg", big)), ("file", ("small.jpg", jpeg(502)))]
    with studio.client() as client:
        answer = client.post("/api/upload", params={"label": "fern"}, files=files).json()
    assert [one["status"] for one in answer["files"]] == ["rejected", "added"]
    assert "64 MiB" in answer["files"][0]["reason"]


def test_small_requests_stay_small(studio: Studio) -> None:
    with studio.client() as client:
        answer = client.post("/api/collect/class", content=b" " * (3 * 2**20))
        assert answer.status_code in (400, 413)
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
def test_broken_forms_are_no_bugs(studio: Studio, kind: str, body: bytes, status: int) -> None:
    with studio.client() as client:
        answer = client.post("/api/upload?label=rose", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


def test_eight_uploads_at_once_all_arrive(studio: Studio) -> None:
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


def test_answers_carry_what_keeps_browsers_safe(studio: Studio) -> None:
    with studio.client() as client:
        for path in ("/", "/api/thumb?path=rose/rose1.jpg", "/static/studio.js", "/nowhere"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy and "http" not in policy
            assert len(headers.get_list("cache-control")) == 1


def test_nothing_is_left_where_it_was_started(studio: Studio) -> None:
    assert {path.name for path in studio.home.iterdir()} == {"pictures", "secret.jpg"}
