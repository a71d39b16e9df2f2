"""`sharpeye fetch`: from a server to a folder that can be trained on, and every way it can fail."""

import hashlib
import io
import signal
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopback import Loopback, serving
from runner import call, one_line, start, temporaries, tree
from sharpeye.cli.app import run
from sharpeye.collect import datasets, download

Captured = pytest.CaptureFixture[str]


def pictures_tgz(classes: tuple[str, ...] = ("rose", "tulip"), side: int = 64) -> bytes:
    """A tar of noise pictures, six a class, in one top folder."""
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for label in classes:
            for number in range(6):
                picture = io.BytesIO()
                pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(picture, "PNG")
                info = tarfile.TarInfo(f"flower_photos/{label}/{number}.png")
                info.size = picture.tell()
                picture.seek(0)
                tar.addfile(info, picture)
        tar.addfile(tarfile.TarInfo("flower_photos/LICENSE.txt"))
    return buffer.getvalue()


ARCHIVE = pictures_tgz()
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSES_SECONDS", (0.0,))
    with serving() as loopback:
        yield loopback


@pytest.fixture
def flowers(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> datasets.Dataset:
    """The data set `flowers`, small and on this machine."""
    url = server.add("/flower_photos.tgz", ARCHIVE)
    known = replace(datasets.get_dataset("flowers"), url=url, sha256=SHA256, bytes=len(ARCHIVE))
    monkeypatch.setitem(datasets._DATASETS, "flowers", known)
    return known


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def failing(capsys: Captured, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and the one line on stderr of a command that fails."""
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    return code, one_line(err)


@pytest.mark.usefixtures("flowers")
def test_a_named_set_becomes_a_folder_to_train_on(
    cache: Path, tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "new" / "flowers"
    assert run(["fetch", "flowers", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"12 pictures in 2 classes in {folder}",
        "licence: CC BY 2.0, photographers in LICENSE.txt",
        f"next: sharpeye train {folder}",
    ]
    assert err == ""
    assert len(files(folder)) == 13
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE.txt", "rose", "tulip"]
    assert files(cache) == []


@pytest.mark.parametrize("digest", [(), ("--sha256", SHA256.upper())])
def test_the_archive_of_a_url_does_as_well(
    digest: tuple[str, ...], server: Loopback, cache: Path, tmp_path: Path, capsys: Captured
) -> None:
    url = server.add("/a/b%20c.tgz?x=1", ARCHIVE, cuts=[1000])
    assert run(["fetch", url, str(tmp_path / "new"), *digest]) == 0
    assert "12 pictures in 2 classes" in capsys.readouterr().out
    assert server.sent == [1000, len(ARCHIVE) - 1000]
    assert files(cache) == []


def test_what_is_known_of_a_set_is_complete() -> None:
    for known in datasets.list_datasets():
        assert known.url.startswith("https://")
        assert len(bytes.fromhex(known.sha256)) == 32
        assert known.bytes > 0 and known.pictures > 0 and known.classes > 1
        assert known.licence and known.about


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("flower", "new"), "no data set is called flower. Did you mean flowers? Or give the URL"),
        (("ftp://host/a.zip", "new"), "a URL must be http://HOST/PATH or https://HOST/PATH"),
        (("http://host/a.zip", "new", "--sha256", "12"), "--sha256 takes 64 hexadecimal digits"),
        (("flowers", "new", "--sha256", SHA256), "--sha256 goes with a URL; the digest of flowers"),
        (("flowers", "full"), "full is not empty; choose a folder that does not exist yet"),
    ],
)
@pytest.mark.usefixtures("flowers")
def test_wrong_arguments_end_before_anything_is_asked_for(
    arguments: tuple[str, ...],
    sentence: str,
    server: Loopback,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    code, line = failing(capsys, "fetch", *arguments)
    assert code == 2
    assert sentence in line
    assert server.requests == []
    assert tree(tmp_path) == before


def test_a_wrong_digest_and_no_archive_are_rejected(
    server: Loopback, cache: Path, tmp_path: Path, capsys: Captured
) -> None:
    url = server.add("/a.tgz", ARCHIVE)
    code, line = failing(capsys, "fetch", url, tmp_path / "new", "--sha256", "0" * 64)
    assert code == 4
    assert f"its SHA-256 is {SHA256}, not {'0' * 64}" in line
    url = server.add("/page.zip", b"<!DOCTYPE html>" * 100)
    code, line = failing(capsys, "fetch", url, tmp_path / "new")
    assert code == 4
    assert "page.zip is damaged, or is no zip or tar archive" in line
    assert files(cache) == []
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_says_no_is_a_network_error(
    server: Loopback, tmp_path: Path, capsys: Captured
) -> None:
    url = f"{server.root}/a.tgz"
    code, line = failing(capsys, "fetch", url, tmp_path / "new")
    assert (code, line) == (
        7,
        f"error: cannot download {url}: the server answers 404 Not Found; check the address",
    )
    assert list(tmp_path.iterdir()) == []


def test_one_class_is_not_enough_to_train_on(
    server: Loopback, cache: Path, tmp_path: Path, capsys: Captured
) -> None:
    url = server.add("/a.tgz", pictures_tgz(("rose",)))
    code, line = failing(capsys, "fetch", url, tmp_path / "new")
    assert code == 3
    assert "only one class" in line
    assert files(cache) == []


def test_a_killed_process_leaves_what_the_next_one_goes_on_with(
    server: Loopback, cache: Path, tmp_path: Path
) -> None:
    half = len(ARCHIVE) // 2
    url = server.add("/a.tgz", ARCHIVE, stalls=[half])
    arguments = ("fetch", url, tmp_path / "new", "--sha256", SHA256)
    process = start(*arguments, cache=cache)
    try:
        _wait_for_bytes(cache / "downloads", half)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert list(tmp_path.iterdir()) == []
    server.requests.clear()
    done = call(*arguments, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "12 pictures in 2 classes" in done.stdout
    assert (server.statuses, server.sent) == ([206], [len(ARCHIVE) - half])
    assert files(cache) == []
    assert temporaries(tmp_path) == []


def test_two_processes_do_not_disturb_each_other(
    server: Loopback, cache: Path, tmp_path: Path
) -> None:
    url = server.add("/a.tgz", ARCHIVE, stalls=[1000])
    first = start("fetch", url, tmp_path / "one", cache=cache)
    _wait_for_bytes(cache / "downloads", 1000)
    second = call("fetch", url, tmp_path / "two", cache=cache)
    assert second.returncode == 6
    assert f"another process downloads {url}" in one_line(second.stderr)
    server.go_on.set()
    _, err = first.communicate(timeout=30)
    assert first.returncode == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def _wait_for_bytes(folder: Path, count: int) -> None:
    """Wait until a download has written so many bytes."""
    for _ in range(1000):
        if any(part.stat().st_size >= count for part in folder.glob(".*.part")):
            return
        time.sleep(0.02)
    raise AssertionError(f"{count} bytes did not come in 20 s")
