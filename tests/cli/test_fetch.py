"""`sharpeye fetch`: from a server to a folder that can be trained on, and how it can fail."""

import gzip
import hashlib
import io
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopback import Loopback, serving
from runner import SIGKILL, call, one_line, start, temporaries, tree
from sharpeye.cli.app import run
from sharpeye.collect import datasets
from sharpeye.collect.datasets import Dataset, RemoteFile, fetch_files
from sharpeye.data.image_folder import scan_folder
from sharpeye.web import download

Captured = pytest.CaptureFixture[str]


def images_tgz(classes: tuple[str, ...] = ("rose", "tulip"), side: int = 64) -> bytes:
    """A tar of noise pictures, six a class, in one top folder."""
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for label in classes:
            for number in range(6):
                image = io.BytesIO()
                pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(image, "PNG")
                info = tarfile.TarInfo(f"flower_photos/{label}/{number}.png")
                info.size = image.tell()
                image.seek(0)
                tar.addfile(info, image)
        tar.addfile(tarfile.TarInfo("flower_photos/LICENSE.txt"))
    return buffer.getvalue()


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar_tgz() -> bytes:
    """Six batches of two pictures each, laid out as the binary version of CIFAR-10."""
    random = np.random.default_rng(0)
    members = {"batches.meta.txt": "\n".join([*CIFAR, "", ""]).encode(), "readme.html": b"<html>"}
    batches = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for number, batch in enumerate(batches):
        members[batch] = b"".join(
            bytes([(2 * number + n) % 10]) + random.bytes(3 * 32 * 32) for n in range(2)
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pets_zip() -> bytes:
    """Laid out as Microsoft's cats and dogs, with what else lies there and an empty picture."""
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for label in ("Cat", "Dog"):
            opened.writestr(f"PetImages/{label}/Thumbs.db", b"\xd0\xcf\x11\xe0" * 8)
            for number in range(6):
                image = io.BytesIO()
                pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(image, "JPEG")
                opened.writestr(f"PetImages/{label}/{number}.jpg", image.getvalue())
        opened.writestr("PetImages/Cat/666.jpg", b"")
        opened.writestr("readme[1].txt", b"read me")
        opened.writestr("CDLA-Permissive-2.0.pdf", b"%PDF-1.4")
    return buffer.getvalue()


def fashion_files() -> dict[str, bytes]:
    """Four files laid out as those of Fashion-MNIST: IDX in gzip, twenty pictures and ten."""
    random = np.random.default_rng(0)
    files = {}
    for split, count in (("train", 20), ("t10k", 10)):
        header = b"".join(number.to_bytes(4, "big") for number in (2051, count, 28, 28))
        images = header + random.bytes(count * 28 * 28)
        labels = (2049).to_bytes(4, "big") + count.to_bytes(4, "big")
        labels += bytes(number % 10 for number in range(count))
        files[f"{split}-images-idx3-ubyte.gz"] = gzip.compress(images, mtime=0)
        files[f"{split}-labels-idx1-ubyte.gz"] = gzip.compress(labels, mtime=0)
    return files


ARCHIVE = images_tgz()
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
FASHION = fashion_files()
# What a server has for each name.
NAMED = {
    "flowers": {"flower_photos.tgz": ARCHIVE},
    "cifar10": {"cifar-10-binary.tar.gz": cifar_tgz()},
    "cats-vs-dogs": {"kagglecatsanddogs_5340.zip": pets_zip()},
    "fashion-mnist": FASHION,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSES_SECONDS", (0.0,))
    with serving() as loopback:
        yield loopback


@pytest.fixture
def named(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> dict[str, Dataset]:
    """The data sets that have names, small and on this machine."""
    for name, bodies in NAMED.items():
        dataset = datasets.get_dataset(name)
        small = []
        for file in dataset.files:
            path = file.url.rpartition("/")[2]
            url = server.add(f"/{path}", bodies[path])
            digest = hashlib.sha256(bodies[path]).hexdigest()
            small.append(RemoteFile(url, digest, len(bodies[path])))
        monkeypatch.setitem(datasets._DATASETS, name, replace(dataset, files=tuple(small)))
    return {dataset.name: dataset for dataset in datasets.list_datasets()}


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def failing(capsys: Captured, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and the one line on stderr of a command that fails."""
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    return code, one_line(err)


@pytest.mark.usefixtures("named")
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


@pytest.mark.usefixtures("named")
def test_cats_and_dogs_lie_at_the_top(cache: Path, tmp_path: Path, capsys: Captured) -> None:
    """In the archive they are one floor down, with a licence beside; an empty picture is counted
    here, and put aside by a training.
    """
    assert run(["fetch", "cats-vs-dogs", str(tmp_path / "pets")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"13 pictures in 2 classes in {tmp_path / 'pets'}",
        "licence: CDLA Permissive 2.0, in CDLA-Permissive-2.0.pdf",
        f"next: sharpeye train {tmp_path / 'pets'}",
    ]
    assert err == ""
    names = {path.name for path in (tmp_path / "pets").iterdir()}
    assert names == {"Cat", "Dog", "readme[1].txt", "CDLA-Permissive-2.0.pdf"}
    assert scan_folder(tmp_path / "pets").class_names == ("Cat", "Dog")
    assert files(cache) == []


ARRAYS = {
    "cifar10": (12, CIFAR, "licence: none stated, see www.cs.toronto.edu"),
    "fashion-mnist": (
        30,
        datasets.get_dataset("fashion-mnist").class_names,
        "licence: MIT, Zalando SE",
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.usefixtures("named", "cache")
def test_array_files_become_a_folder_to_train_on(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    images, labels, licence = ARRAYS[name]
    folder = tmp_path / "arrays"
    assert run(["fetch", name, str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{images} pictures in 10 classes in {folder}"
    assert lines[1].startswith(licence)
    assert lines[2] == f"next: sharpeye train {folder}"
    assert scan_folder(folder).class_names == labels


@pytest.mark.usefixtures("named")
def test_cifar_is_unpacked_and_fashion_is_not(cache: Path, tmp_path: Path) -> None:
    run(["fetch", "cifar10", str(tmp_path / "cifar")])
    batches = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    assert files(tmp_path / "cifar") == [
        "batches.meta.txt",
        *batches[:5],
        "readme.html",
        batches[5],
    ]
    run(["fetch", "fashion-mnist", str(tmp_path / "fashion")])
    assert files(tmp_path / "fashion") == sorted([*FASHION, "labels.txt"])
    for name, body in FASHION.items():
        assert (tmp_path / "fashion" / name).read_bytes() == body
    labels = (tmp_path / "fashion" / "labels.txt").read_text().split("\n")
    assert labels[0] == "T-shirt/top"
    assert labels[8:] == ["Bag", "Ankle boot", ""]
    assert files(cache) == []
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("name", NAMED)
def test_a_set_that_broke_off_goes_on(
    name: str,
    named: dict[str, Dataset],
    server: Loopback,
    cache: Path,
    tmp_path: Path,
    capsys: Captured,
) -> None:
    """Also where one of four files breaks: those that came whole are not asked for again."""
    *complete, broken = [file.url.removeprefix(server.root) for file in named[name].files][:3]
    size = len(server.files[broken].body)
    half = size // 2
    server.files[broken].cuts = [half, 0]
    code, line = failing(capsys, "fetch", name, tmp_path / "new")
    assert code == 7
    assert f"the connection closed after {half:,} of {size:,} bytes; run the same command" in line
    assert list(tmp_path.iterdir()) == []
    server.requests.clear()
    run(["fetch", name, str(tmp_path / "new")])
    assert not {request.path for request in server.requests} & set(complete)
    assert server.requests[0].path == broken
    assert (server.statuses[0], server.sent[0]) == (206, size - half)
    assert files(tmp_path / "new")
    assert files(cache) == []


@pytest.mark.parametrize("name", NAMED)
def test_a_set_with_another_digest_is_refused(
    name: str,
    named: dict[str, Dataset],
    server: Loopback,
    cache: Path,
    tmp_path: Path,
    capsys: Captured,
) -> None:
    """The last byte of its last file is another one."""
    *good, changed = [file.url.removeprefix(server.root) for file in named[name].files]
    body = server.files[changed].body
    server.files[changed].body = body[:-1] + bytes([body[-1] ^ 1])
    code, line = failing(capsys, "fetch", name, tmp_path / "new")
    assert code == 4
    assert f"what {named[name].files[-1].url} gives is refused: its SHA-256 is" in line
    assert list(tmp_path.iterdir()) == []
    assert len(files(cache)) == len(good)  # for the next run
    server.files[changed].body = body[:-1]
    code, line = failing(capsys, "fetch", name, tmp_path / "new")
    assert code == 4
    assert f"it has {len(body) - 1:,} bytes, not {len(body):,}" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.usefixtures("named")
def test_a_folder_that_is_there_is_left_alone(
    name: str, server: Loopback, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "mine").write_text("mine")
    before = tree(tmp_path)
    code, line = failing(capsys, "fetch", name, tmp_path)
    assert code == 2
    assert "is not empty; choose a folder that does not exist yet" in line
    assert (server.requests, tree(tmp_path)) == ([], before)


def test_progress_counts_all_files_of_a_set(
    named: dict[str, Dataset], server: Loopback, tmp_path: Path, cache: Path
) -> None:
    bodies = [random_bytes(size) for size in (1_500_000, 2_500_000)]
    urls = [server.add(f"/{number}", body) for number, body in enumerate(bodies)]
    remote = [RemoteFile(url, None, len(body)) for url, body in zip(urls, bodies, strict=True)]
    reports: list[tuple[str, int, int]] = []
    fetch_files(
        remote, ["a", "b"], tmp_path / "new", progress=lambda *report: reports.append(report)
    )
    assert {total for _, _, total in reports} == {4}
    done = [done for _, done, _ in reports]
    assert done == sorted(done)
    assert done[-1] >= 3


def random_bytes(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def test_every_data_set_is_described_completely() -> None:
    for dataset in datasets.list_datasets():
        for file in dataset.files:
            assert file.url.startswith("https://")
            assert file.sha256 and len(bytes.fromhex(file.sha256)) == 32
            assert file.size and file.size > 0
        assert len({file.url.rpartition("/")[2] for file in dataset.files}) == len(dataset.files)
        assert dataset.size > 0 and dataset.images > 0 and dataset.classes > 1
        assert dataset.licence and dataset.description
        assert len(dataset.files) == 1 or len(dataset.class_names) == dataset.classes


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
@pytest.mark.usefixtures("named")
def test_wrong_arguments_end_before_any_request(
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
    url = server.add("/a.tgz", images_tgz(("rose",)))
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
        process.send_signal(SIGKILL)
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
