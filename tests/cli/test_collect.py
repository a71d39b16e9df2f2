"""`sharpeye collect`: its output, files and exit codes."""

import io
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile_server import HostileServer, image, serving
from runner import start
from sharpeye.cli.app import run
from sharpeye.collect import url_downloads
from sharpeye.web import image_fetcher

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setattr(url_downloads, "PAUSES_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(image_fetcher, "ROBOTS_PAUSE_SECONDS", 0.01)
    with serving() as running:
        yield running


def write_list(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "list.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_list_that_comes_whole_ends_with_0(
    server: HostileServer, tmp_path: Path, capsys: Captured
) -> None:
    file = write_list(tmp_path, "# two", server.url("/good/1") + "\tCC0", server.url("/good/2"))
    arguments = ["collect", "urls", str(file), str(tmp_path / "photos" / "rose")]
    assert run([*arguments, "--allow-private", "--licence", "mine"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        f"{tmp_path}/photos/rose: 2 added\nnext: sharpeye check {tmp_path}/photos\n"
    )
    text = (tmp_path / "photos" / "rose" / "sources.csv").read_text()
    assert (text.count(",CC0,"), text.count(",mine,")) == (1, 1)
    assert run([*arguments, "--allow-private"]) == 0
    assert "rose: 2 came before\n" in capsys.readouterr().out
    assert run([*arguments, "--allow-private", "-q"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("strict", [False, True])
def test_urls_without_an_image_are_named_and_are_an_error_if_strict(
    server: HostileServer, tmp_path: Path, capsys: Captured, strict: bool
) -> None:
    """Nearly every list has dead links: `collect urls ... && train` goes on."""
    paths = ("/good/1", "/html/1.jpg", "/404/1.jpg", "/disallowed/1.jpg", "/good/2")
    addresses = [server.url(path) for path in paths]
    (tmp_path / "photos" / "tulip").mkdir(parents=True)
    (tmp_path / "photos" / "tulip" / "x.jpg").write_bytes(image("/good/1"))
    file = write_list(tmp_path, *addresses)
    arguments = ["collect", "urls", str(file), str(tmp_path / "photos" / "rose")]
    code = run([*arguments, "--allow-private", *["--strict"] * strict])
    captured = capsys.readouterr()
    assert code == (3 if strict else 0)
    assert "rose: 1 added, 1 left out: in another class, 1 no images, 1 failed, 1 refused" in (
        captured.out
    )
    for url, reason in zip(
        addresses[1:4], ("a saved web page", "404 Not Found", "robots"), strict=True
    ):
        assert any(line.startswith(url) and reason in line for line in captured.err.splitlines())
    assert captured.err.splitlines()[-1] == (
        "error: 3 of 5 URLs brought no image; sources.csv says why, and the others are there"
        if strict
        else "warning: 3 of 5 URLs brought no image; sources.csv says why; the others are there"
    )


def test_private_addresses_need_the_flag(
    server: HostileServer, tmp_path: Path, capsys: Captured
) -> None:
    file = write_list(tmp_path, server.url("/good/1"))
    assert run(["collect", "urls", str(file), str(tmp_path / "c")]) == 3
    assert "this machine; --allow-private lets it be" in capsys.readouterr().err
    assert server.hits == {}


def test_a_network_that_is_gone_ends_with_7(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url_downloads, "PAUSES_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(image_fetcher, "ROBOTS_PAUSE_SECONDS", 0.01)
    with serving() as gone:
        pass
    file = write_list(tmp_path, gone.url("/good/1"), gone.url("/good/2"))
    assert run(["collect", "urls", str(file), str(tmp_path / "c"), "--allow-private"]) == 7
    assert "no server could be reached" in capsys.readouterr().err


def test_wrong_arguments_end_with_2_or_3(tmp_path: Path, capsys: Captured) -> None:
    assert run(["collect", "urls", str(tmp_path / "none"), str(tmp_path / "c")]) == 2
    assert run(["collect", "urls", str(write_list(tmp_path, "rose")), str(tmp_path / "c")]) == 3
    assert run(["collect", "search", "rose", str(tmp_path / "c"), "--engine", "bong"]) == 2
    assert run(["collect", "search", "rose", str(tmp_path / "c"), "--max", "0"]) == 2
    assert run(["collect", "frames", "clip.mp4", str(tmp_path / "c"), "--every", "often"]) == 2
    assert run(["collect", "frames", "0", str(tmp_path / "c")]) == 2
    assert run(["collect", "import", str(tmp_path / "none"), str(tmp_path / "c")]) == 2
    assert run(["collect", "nothing"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_an_import_names_files_without_a_suffix(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(image("rose"))
    (tmp_path / "photos" / "README").write_text("x")
    assert run(["collect", "import", str(tmp_path / "photos"), str(tmp_path / "c")]) == 0
    assert "left out: files that are no images: 1 without suffix\n" in capsys.readouterr().out


def test_an_import_says_what_it_left_out(tmp_path: Path, capsys: Captured) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for label in ("rose", "tulip"):
            opened.writestr(f"{label}/1.jpg", image(label))
        opened.writestr("rose/readme.txt", "x")
    (tmp_path / "photos.zip").write_bytes(buffer.getvalue())
    arguments = ["collect", "import", str(tmp_path / "photos.zip")]
    assert run([*arguments, str(tmp_path / "data"), "--classes"]) == 0
    captured = capsys.readouterr()
    assert "2 added" in captured.out
    assert "left out: files that are no images: 1 .txt" in captured.out
    assert captured.err == ""
    assert run([*arguments, str(tmp_path / "other" / "flower")]) == 0
    assert "with --classes each folder is one" in capsys.readouterr().err
    (tmp_path / "photos.zip").write_bytes(buffer.getvalue()[:100])
    assert run([*arguments, str(tmp_path / "more"), "--classes"]) == 4


def test_ctrl_c_keeps_the_images(server: HostileServer, tmp_path: Path, cache: Path) -> None:
    lines = [server.url(f"/good/{n}") for n in range(10)] + [server.url("/hang/1")]
    folder = tmp_path / "photos" / "rose"
    process = start(
        "collect", "urls", write_list(tmp_path, *lines), folder, "--allow-private", cache=cache
    )
    end = time.monotonic() + 120
    while len(list(folder.glob("*.*"))) < 11 and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)  # The last image is in the folder before it is counted.
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 30
    assert process.returncode == 130, err
    assert "rose: 10 added" in out
    assert err.splitlines()[-1].startswith("error: stopped; what was computed is kept")
    assert len(list(folder.glob("*.*"))) == 11
    assert not list(folder.glob(".sharpeye*"))
