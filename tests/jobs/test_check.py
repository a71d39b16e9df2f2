"""`check`, `--quarantine` and `--labels` on drawn images with planted faults."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from runner import hard_photos, one_line, tree
from sharpeye.cli.app import run
from sharpeye.core.tables import read_table
from sharpeye.data import digest, sample_image
from sharpeye.data.file_walk import original_name
from sharpeye.errors import ImageReadError
from sharpeye.jobs.audit import check as checking
from sharpeye.jobs.audit.check import check, quarantine_files, write_check

CLASSES = ("ball", "box", "kite")


def drawing(label: str, seed: int) -> Image.Image:
    """A shape on clouds; every seed gives another one."""
    random = np.random.default_rng([seed, CLASSES.index(label)])
    low = random.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    image = Image.fromarray(low).resize((200, 150), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    colour = tuple(int(v) for v in random.integers(0, 256, 3))
    x, y = (int(v) for v in random.integers(10, 70, 2))
    if label == "ball":
        draw.ellipse((x, y, x + 70, y + 70), fill=colour)
    elif label == "box":
        draw.rectangle((x, y, x + 80, y + 60), fill=colour)
    else:
        draw.polygon(((x, y + 35), (x + 40, y), (x + 80, y + 35), (x + 40, y + 70)), fill=colour)
    return image


def make_dataset(root: Path, count: int = 14, split: str = "", first: int = 0) -> Path:
    for label in CLASSES:
        folder = root / split / label
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            drawing(label, number).save(folder / f"{number}.jpg", quality=92)
    return root


def recompress(source: Path, target: Path, quality: int = 50, scale: float = 1.0) -> None:
    with Image.open(source) as image:
        size = (round(image.width * scale), round(image.height * scale))
        image.resize(size).save(target, quality=quality)


def read_issues(folder: Path) -> set[tuple[str, str, str]]:
    rows = read_table(folder / "issues.csv")
    return {(row["path"], row["kind"], row["related"]) for row in rows}


def test_every_planted_fault_is_found_and_nothing_else(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "set", split="train")
    make_dataset(root, 10, split="test", first=100)
    recompress(root / "train/ball/3.jpg", root / "test/ball/copy.jpg")
    recompress(root / "train/box/5.jpg", root / "train/kite/small.jpg", scale=0.5)
    recompress(root / "train/kite/2.jpg", root / "train/kite/again.jpg", 70)
    shutil.copy(root / "train/box/1.jpg", root / "train/box/same.jpg")
    (root / "train/ball/page.jpg").write_text("<!DOCTYPE html>")
    Image.new("RGB", (90, 90), "white").save(root / "test/box/white.png")
    before = tree(root)
    assert run(["check", str(root), "-o", str(tmp_path / "out")]) == 0
    assert tree(root) == before
    assert read_issues(tmp_path / "out") == {
        ("train/ball/page.jpg", "unreadable", ""),
        ("test/ball/copy.jpg", "leak", "train/ball/3.jpg"),
        ("train/kite/small.jpg", "label_conflict", "train/box/5.jpg"),
        ("train/kite/again.jpg", "near_duplicate", "train/kite/2.jpg"),
        ("train/box/same.jpg", "exact_duplicate", "train/box/1.jpg"),
        ("test/box/white.png", "blank", ""),
    }
    record = json.loads((tmp_path / "out/issues.json").read_text(encoding="utf-8"))
    assert record["pictures"] == 77
    assert record["serious"] == 3
    assert record["counts"]["leak"] == 1


def test_the_page_shows_pairs_and_loads_nothing(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "a & <b>", 4)
    recompress(root / "ball/1.jpg", root / "ball/copy.jpg")
    write_check(tmp_path / "out", check(root), [("Next", "sharpeye check <x>")])
    page = (tmp_path / "out/check.html").read_text(encoding="utf-8")
    assert "a &amp; &lt;b&gt;" in page and "a & <b>" not in page
    assert page.count("data:image/jpeg") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert 'data-kind="near_duplicate"' in page and 'data-kind="small_class"' in page


def test_strict_is_a_gate_and_quick_skips_poor_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_dataset(tmp_path / "set", 10)
    Image.new("RGB", (90, 90), "white").save(root / "box/white.png")
    assert run(["check", str(root), "--strict", "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {}
    assert run(["check", str(root), "--strict", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"blank": 1}
    recompress(root / "ball/1.jpg", root / "box/ball.jpg")
    capsys.readouterr()
    assert run(["check", str(root), "--strict", "-q"]) == 9
    assert "1 findings" in one_line(capsys.readouterr().err)


def test_a_clean_set_is_called_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(make_dataset(tmp_path / "set", 10)), "--strict"]) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_the_quarantine_takes_unreadable_files_and_records_where_they_were(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "set", 4)
    good = tree(root)
    for name, data in (("a.jpg", b""), ("b.png", b"<!DOCTYPE html>")):
        (root / "box" / name).write_bytes(data)
    quarantine = tmp_path / "quarantine"
    (quarantine / "box").mkdir(parents=True)
    (quarantine / "box/a.jpg").write_text("mine")
    assert run(["check", str(root), "--quarantine", str(quarantine), "-q"]) == 0
    assert {k: v for k, v in tree(root).items() if k in good} == good
    assert not (root / "box/a.jpg").exists()
    assert (quarantine / "box/a.jpg").read_text() == "mine"
    assert (quarantine / "box/a-2.jpg").read_bytes() == b""
    assert (quarantine / "box/b.png").read_bytes() == b"<!DOCTYPE html>"
    assert len((quarantine / "moved.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_a_move_to_the_quarantine_that_was_interrupted_leaves_no_second_copy(
    tmp_path: Path,
) -> None:
    """On another disk the copy gets its name before the source is deleted."""
    root, quarantine = make_dataset(tmp_path / "set", 4), tmp_path / "quarantine"
    (root / "box/a.jpg").write_bytes(b"torn")
    (quarantine / "box").mkdir(parents=True)
    shutil.copy(root / "box/a.jpg", quarantine / "box/a.jpg")
    assert run(["check", str(root), "--quarantine", str(quarantine), "-q"]) == 0
    assert not (root / "box/a.jpg").exists()
    assert [path.name for path in (quarantine / "box").iterdir()] == ["a.jpg"]
    assert "box/a.jpg" in (quarantine / "moved.csv").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="names of bytes")
def test_files_of_any_name_are_checked_and_moved(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "set", 4)
    names = {b"lit\xff.jpg", b"lit\\xff.jpg", b"Icon\r,x.jpg", b"a\nb.jpg"}
    for number, name in enumerate(sorted(names)):
        (root / "box" / os.fsdecode(name)).write_bytes(bytes([number]))
    before, quarantine = tree(root), tmp_path / "quarantine"
    out = tmp_path / "out"
    assert run(["check", str(root), "--quarantine", str(quarantine), "-o", str(out), "-q"]) == 0
    moved = {os.fsencode(path.name): path.read_bytes() for path in (quarantine / "box").iterdir()}
    assert moved == {name: bytes([n]) for n, name in enumerate(sorted(names))}
    assert {*tree(root)} == {name for name in before if os.fsencode(name)[4:] not in names}
    assert len([row for row in read_table(out / "issues.csv") if row["kind"] == "unreadable"]) == 4
    page = (out / "check.html").read_text(encoding="utf-8")
    assert "Icon\\r,x.jpg" in page and "a\\nb.jpg" in page
    rows = read_table(quarantine / "moved.csv")
    assert {original_name(row["from"]) for row in rows} == {
        str(root / "box" / os.fsdecode(name)) for name in names
    }


@pytest.fixture
def slow_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """A function that makes the reading of one good image fail so many times, as on a machine that
    slept meanwhile.
    """
    root = make_dataset(tmp_path / "set", 6)
    slow, plain = root / "box" / "1.jpg", sample_image.read_file

    def fail(times: int) -> Path:
        left = [times]

        def read(path: Path, name: str, *arguments: Any, **options: Any) -> bytes:
            if path == slow and left[0]:
                left[0] -= 1
                raise ImageReadError(name, "took longer than 10 s", transient=True)
            return plain(path, name, *arguments, **options)

        for module in (sample_image, digest, checking):
            monkeypatch.setattr(module, "read_file", read)
        return root

    return fail


@pytest.mark.parametrize("times", [1, 2, 100])
def test_a_passing_fault_condemns_no_file(
    tmp_path: Path, slow_file: Callable[[int], Path], times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The first failure is tried again; what still fails stays and is named."""
    root = slow_file(times)
    (root / "kite" / "bad.jpg").write_bytes(b"")
    before, quarantine = tree(root), tmp_path / "quarantine"
    result = check(root)
    assert quarantine_files(result, quarantine) == 1
    assert {*before} - {*tree(root)} == {"kite/bad.jpg"}
    found = {issue.path: issue.serious for issue in result.issues if issue.kind == "unreadable"}
    expected = {"kite/bad.jpg": True}
    assert found == (expected if times == 1 else expected | {"box/1.jpg": False})
    assert ("1 files stay, as they may be good" in caplog.text) == (times > 1)
    assert ("box/1.jpg" in caplog.text) == (times > 1)


@pytest.mark.parametrize("first", [b"", b"\xff\xd8\xff", None])
def test_a_file_that_was_just_being_written_stays(tmp_path: Path, first: bytes | None) -> None:
    """Its content between the check and the move is another one, good or not yet."""
    root = make_dataset(tmp_path / "set", 3)
    good = (root / "box" / "1.jpg").read_bytes()
    for number, after in enumerate((good, good[: len(good) // 2], b"\xff\xd8")):
        written = root / "box" / f"new{number}.jpg"
        written.write_bytes(good[:300] if first is None else first)
        result = check(root, quick=True)
        assert written.name in str(result.unreadable)
        written.write_bytes(after)
        assert quarantine_files(result, tmp_path / "quarantine") == 0
        written.unlink()


def test_a_quarantine_inside_the_set_is_refused(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "set", 3)
    (root / "box/a.jpg").write_bytes(b"")
    assert run(["check", str(root), "--quarantine", str(root / "bad"), "-q"]) == 2
    assert (root / "box/a.jpg").exists()


def test_no_folder_and_one_class(tmp_path: Path) -> None:
    assert run(["check", str(tmp_path / "none"), "-q"]) == 3
    for label in CLASSES[1:]:
        shutil.rmtree(make_dataset(tmp_path / "set", 3) / label)
    assert run(["check", str(tmp_path / "set"), "-q"]) == 0
    assert run(["check", str(tmp_path / "set"), "--write-fixes", "x.csv"]) == 2


@pytest.mark.usefixtures("warm")
def test_wrong_labels_are_found_written_applied_and_undone(tmp_path: Path, trained: Path) -> None:
    root = make_dataset(tmp_path / "set", 16)
    (root / "ball/5.jpg").rename(root / "box/was_ball.jpg")
    fixes = tmp_path / "fixes.csv"
    options = ["--labels", str(trained), "--write-fixes", str(fixes), "-o", str(tmp_path / "out")]
    assert run(["check", str(root), *options, "-q"]) == 0
    wrong = {row["path"]: row["new_label"] for row in read_table(fixes)}
    assert wrong.get("box/was_ball.jpg") == "ball"
    assert {
        path for path, kind, _ in read_issues(tmp_path / "out") if kind == "mislabelled"
    } == set(wrong)
    before = tree(root)
    assert run(["relabel", str(root), "--apply", str(fixes)]) == 0
    assert (root / "ball/was_ball.jpg").exists() and not (root / "box/was_ball.jpg").exists()
    undo = tmp_path / "fixes.undo.csv"
    assert run(["relabel", str(root), "--apply", str(fixes)]) == 2  # it was applied already
    assert run(["relabel", str(root), "--undo", str(undo)]) == 0
    assert tree(root) == before


@pytest.mark.usefixtures("warm")
def test_train_keeps_copies_on_one_side_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = make_dataset(tmp_path / "set", 12)
    for label in CLASSES:
        for number in range(6):
            recompress(root / label / f"{number}.jpg", root / label / f"c{number}.jpg", 60)
    out = tmp_path / "run"
    assert run(["train", str(root), "-o", str(out), "--set", "model.image_size=64"]) == 0
    splits = {row["path"]: row["part"] for row in read_table(out / "split.csv")}
    for label in CLASSES:
        for number in range(6):
            assert splits[f"{label}/{number}.jpg"] == splits[f"{label}/c{number}.jpg"]
    assert "36 images have a copy that is nearly the same" in capfd.readouterr().err


def test_thumbnails_come_from_the_cache_the_second_time_and_are_the_same(tmp_path: Path) -> None:
    from sharpeye.data.digest import add_digests
    from sharpeye.data.image_folder import scan_folder
    from sharpeye.data.thumbnail import load_thumbnails

    samples = add_digests(scan_folder(make_dataset(tmp_path / "set", 5)), 1).samples
    first, second = load_thumbnails(samples), load_thumbnails(samples)
    assert (first.from_store, second.from_store) == (0, 15)
    assert first.thumbnails.tobytes() == second.thumbnails.tobytes()
    assert [s.path for s in first.samples] == [s.path for s in second.samples]


def test_hard_images_without_faults_raise_no_alarm(tmp_path: Path) -> None:
    result = check(hard_photos(tmp_path / "hard"))
    assert result.issues == ()


@pytest.mark.slow
def test_two_thousand_images(tmp_path: Path) -> None:
    from bench.check import write_images

    copies = write_images(tmp_path / "set", 2000)
    counts = check(tmp_path / "set", quick=True).counts
    assert counts == {"label_conflict": copies}
