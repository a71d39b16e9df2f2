"""A folder of images to a SampleSet: names, trees, links, and what to say about them."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.types import SampleSet
from sharpeye.data.file_walk import natural_key, walk_files
from sharpeye.data.image_folder import scan_folder
from sharpeye.errors import DataError

posix = pytest.mark.skipif(os.name == "nt", reason="names and files that only POSIX has")


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A walk that opens a FIFO hangs for good: end it."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def image(file: Path | bytes, kind: str = "PNG") -> None:
    """Write a 2 x 2 image; its folder is made."""
    name = os.fsdecode(file)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with open(name, "wb") as opened:
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(opened, kind)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of one image."""
    image(tmp_path / "photos/cat/1.jpg")
    image(tmp_path / "photos/dog/1.jpg")
    return tmp_path / "photos"


def paths(samples: SampleSet) -> list[str]:
    return [sample.path for sample in samples]


def reasons(samples: SampleSet) -> dict[str, str]:
    return {rejected.path: rejected.reason for rejected in samples.rejected}


# --- what is listed -----------------------------------------------------------------------------


def test_the_first_folder_is_the_class_and_deeper_ones_belong_to_it(photos: Path) -> None:
    image(photos / "cat/garden/night/2.png")
    samples = scan_folder(photos)
    assert paths(samples) == ["cat/1.jpg", "cat/garden/night/2.png", "dog/1.jpg"]
    assert [s.label for s in samples] == ["cat", "cat", "dog"]
    assert samples.class_names == ("cat", "dog")
    assert samples.count_by_class() == {"cat": 2, "dog": 1}
    assert not samples.given_splits and all(s.split is None and not s.sha256 for s in samples)
    assert all(s.file.read_bytes().startswith(b"\x89PNG") for s in samples)
    assert samples.rejected == () and samples.ignored == {}


def test_files_that_no_person_put_there_are_ignored(photos: Path) -> None:
    for name in (".DS_Store", "._1.jpg", ".hidden.jpg", "Thumbs.db", "desktop.ini"):
        image(photos / "cat" / name)
    for folder in ("__MACOSX", ".git", "cat/.thumbnails", "dog/__macosx", "@eaDir"):
        image(photos / folder / "x.jpg")
    samples = scan_folder(photos)
    assert paths(samples) == ["cat/1.jpg", "dog/1.jpg"]
    assert samples.rejected == () and samples.ignored == {}


def test_other_files_are_counted_by_suffix(photos: Path) -> None:
    for name in ("a.txt", "b.TXT", "c.xml", "d.csv"):
        (photos / "cat" / name).write_text("not an image")
    (photos / "README.md").write_text("about")
    samples = scan_folder(photos)
    assert samples.ignored == {".txt": 2, ".xml": 1, ".csv": 1, ".md": 1}
    assert len(samples) == 2 and samples.rejected == ()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_an_image_with_an_odd_suffix_is_found_by_content(photos: Path, kind: str) -> None:
    image(photos / "cat/2.dat", kind)
    image(photos / "cat/no_suffix_at_all", kind)
    samples = scan_folder(photos)
    assert paths(samples)[1:3] == ["cat/2.dat", "cat/no_suffix_at_all"]
    assert samples.ignored == {}


def test_an_image_suffix_is_a_promise_that_the_decoder_checks(photos: Path) -> None:
    (photos / "cat/broken.JPG").write_text("<html>")
    (photos / "cat/photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert {"cat/broken.JPG", "cat/photo.heic"} < set(paths(scan_folder(photos)))


def test_an_image_outside_of_any_class_is_rejected(photos: Path) -> None:
    image(photos / "lost.jpg")
    assert reasons(scan_folder(photos)) == {"lost.jpg": "lies in the folder, not in a class's"}


def test_a_folder_named_like_an_image_is_a_folder(photos: Path) -> None:
    image(photos / "cat/x.jpg/2.jpg")
    image(photos / "bird.jpg/3.jpg")
    samples = scan_folder(photos)
    assert "cat/x.jpg/2.jpg" in paths(samples)
    assert samples.class_names == ("bird.jpg", "cat", "dog")


def test_classes_and_files_are_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10", "img2", "IMG1", "img1"):
        image(tmp_path / "10" / f"{name}.jpg")
        image(tmp_path / "2" / f"{name}.jpg")
    samples = scan_folder(tmp_path)
    assert samples.class_names == ("2", "10")
    assert paths(samples)[:4] == ["2/IMG1.jpg", "2/img1.jpg", "2/img2.jpg", "2/img10.jpg"]


def test_natural_order_is_total_and_survives_odd_digits() -> None:
    names = ["a", "A", "a1", "a01", "1a", "a²", "٣", "", "10", "9", "a 2 b", "é", "e\u0301"]
    ordered = sorted(names, key=natural_key)
    names.reverse()
    assert ordered == sorted(names, key=natural_key)
    assert ordered.index("9") < ordered.index("10") < ordered.index("a")


def test_class_names_keep_their_case_and_script(tmp_path: Path) -> None:
    names = {"Кошка", "猫", "Rose Rouge", "🌹", "café", "CAT", "a.b", "-x", "شمس"}
    for name in names:
        image(tmp_path / name / "1.jpg")
    samples = scan_folder(tmp_path)
    assert set(samples.class_names) == names
    assert {s.label for s in samples} == names


@posix
def test_names_that_only_differ_in_case_are_two_classes(tmp_path: Path) -> None:
    names = {"A", "a", "cat", "Cat", "-1", "1", "1.5", "15"}
    for name in names:
        image(tmp_path / name / "1.jpg")
    if len(list(tmp_path.iterdir())) < len(names):
        pytest.skip("this file system folds names")
    assert set(scan_folder(tmp_path).class_names) == names


@posix
def test_names_that_only_differ_in_normal_form_are_one_class(tmp_path: Path) -> None:
    composed, decomposed, dog = "caf\u00e9", "cafe\u0301", "re\u0301"
    for name in (composed, decomposed, dog):
        image(tmp_path / name / "1.jpg")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system folds names")
    samples = scan_folder(tmp_path)
    assert samples.count_by_class() == {composed: 2, dog: 1}  # one spelling stays as it is
    assert sorted(paths(samples)) == sorted(f"{n}/1.jpg" for n in (composed, decomposed, dog))


# --- given splits ------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val", "VALID", "Validation"])
def test_given_splits_are_recognized_in_any_case(tmp_path: Path, validation: str) -> None:
    for split in ("Train", validation, "TEST"):
        for label in ("cat", "dog"):
            image(tmp_path / split / label / "deep" / "1.jpg")
    samples = scan_folder(tmp_path)
    assert samples.given_splits
    assert samples.class_names == ("cat", "dog")
    assert {(s.path.split("/")[0], s.split) for s in samples} == {
        ("Train", "train"),
        (validation, "validation"),
        ("TEST", "test"),
    }
    assert {s.label for s in samples} == {"cat", "dog"}


def test_train_and_test_alone_are_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            image(tmp_path / split / label / "1.jpg")
    (tmp_path / "README.txt").write_text("about")
    image(tmp_path / ".cache" / "x.jpg")
    assert {s.split for s in scan_folder(tmp_path)} == {"train", "test"}


@pytest.mark.parametrize(
    "tops", [("train", "cat"), ("train", "test", "cat"), ("val", "test"), ("Train", "trains")]
)
def test_classes_that_are_named_like_splits_are_classes(
    tmp_path: Path, tops: tuple[str, ...]
) -> None:
    for top in tops:
        image(tmp_path / top / "1.jpg")
        image(tmp_path / top / "sub" / "2.jpg")
    samples = scan_folder(tmp_path)
    assert not samples.given_splits
    assert set(samples.class_names) == set(tops)
    assert all(s.split is None for s in samples)


def test_an_image_in_a_split_but_in_no_class_is_rejected(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            image(tmp_path / split / label / "1.jpg")
    image(tmp_path / "train" / "lost.jpg")
    assert reasons(scan_folder(tmp_path)) == {
        "train/lost.jpg": "lies in the split's folder, not in a class's"
    }


# --- links and special files ------------------------------------------------------------------


@posix
def test_links_out_of_the_folder_are_named_not_followed(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = photos.parent / "outside"
    image(outside / "secret.jpg")
    (photos / "cat/file.jpg").symlink_to(outside / "secret.jpg")
    (photos / "cat/sub").symlink_to(outside)
    (photos / "bird").symlink_to(outside)
    (photos / "root").symlink_to("/")
    samples = scan_folder(photos)
    assert paths(samples) == ["cat/1.jpg", "dog/1.jpg"]
    why = "a symbolic link that leads out of the folder"
    of_folder = f"{why}; --follow-links follows it"
    assert reasons(samples) == dict.fromkeys(("bird", "cat/sub", "root"), of_folder) | {
        "cat/file.jpg": why
    }
    assert f"the class 'bird' is left out: {of_folder}" in caplog.text
    (photos / "root").unlink()
    followed = scan_folder(photos, follow_links=True)
    assert followed.class_names == ("bird", "cat", "dog")
    assert {"bird/secret.jpg", "cat/file.jpg"} < set(paths(followed))


@posix
def test_links_within_the_folder_are_followed(photos: Path) -> None:
    (photos / "dog/2.jpg").symlink_to(photos / "cat/1.jpg")
    (photos / "dog/3.jpg").symlink_to("../cat/1.jpg")
    samples = scan_folder(photos)
    assert paths(samples) == ["cat/1.jpg", "dog/1.jpg", "dog/2.jpg", "dog/3.jpg"]
    assert samples.rejected == ()


@posix
def test_a_root_that_is_a_link_itself_is_read(photos: Path) -> None:
    link = photos.parent / "link"
    link.symlink_to(photos)
    assert paths(scan_folder(link)) == ["cat/1.jpg", "dog/1.jpg"]


@posix
@pytest.mark.parametrize("follow", [False, True])
def test_rings_of_links_end(photos: Path, follow: bool) -> None:
    (photos / "cat/again").symlink_to(photos)
    (photos / "cat/me").symlink_to("me")
    (photos / "cat/gone.jpg").symlink_to("nowhere")
    samples = scan_folder(photos, follow_links=follow)
    assert paths(samples) == ["cat/1.jpg", "dog/1.jpg"]
    why = reasons(samples)
    assert why["cat/again"] == "a symbolic link to a folder that was already read"
    assert why["cat/me"].startswith("a file that cannot be reached")
    assert why["cat/gone.jpg"].startswith("a file that cannot be reached")
    assert len(why) == 3


@posix
def test_fifos_and_sockets_are_named_and_never_opened(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(photos / "cat/pipe.jpg")
    os.mkfifo(photos / "cat/pipe")
    monkeypatch.chdir(photos)  # the path of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("cat/socket.dat")
        samples = scan_folder(photos)
    assert paths(samples) == ["cat/1.jpg", "dog/1.jpg"]
    why = "not a regular file (a pipe, socket or device)"
    assert reasons(samples) == dict.fromkeys(("cat/pipe", "cat/pipe.jpg", "cat/socket.dat"), why)


def test_what_is_nested_too_deep_is_named(photos: Path) -> None:
    image(photos / "cat" / Path(*["d"] * 80) / "deep.jpg")
    image(photos / "cat" / Path(*["e"] * 60) / "fine.jpg")
    samples = scan_folder(photos)
    assert "cat/" + "e/" * 60 + "fine.jpg" in paths(samples)
    assert len(samples) == 3
    assert list(reasons(samples).values()) == ["nested deeper than 64 folders"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may open everything")
def test_a_folder_without_permission_is_named(photos: Path) -> None:
    image(photos / "bird/1.jpg")
    (photos / "bird").chmod(0)
    try:
        samples = scan_folder(photos)
    finally:
        (photos / "bird").chmod(0o755)
    assert samples.class_names == ("cat", "dog")
    assert reasons(samples) == {"bird": "the folder cannot be opened: Permission denied"}


# --- names -------------------------------------------------------------------------------------


@posix
def test_names_that_are_no_utf_8_are_kept_and_can_be_written(photos: Path) -> None:
    raw = os.fsencode(photos) + b"/cat/\xff\xfe.jpg"
    try:
        image(raw)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    samples = scan_folder(photos)
    sample = next(s for s in samples if "xff" in s.path)
    assert sample.path == r"cat/\xff\xfe.jpg"
    sample.path.encode("utf-8")
    assert os.fsencode(sample.file) == raw and sample.file.read_bytes()


@posix
def test_a_class_whose_name_is_no_utf_8_has_a_label_that_can_be_written(photos: Path) -> None:
    try:
        image(os.fsencode(photos) + b"/caf\xe9/1.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert scan_folder(photos).class_names == (r"caf\xe9", "cat", "dog")


@posix
@pytest.mark.parametrize(
    "name", ["a\nb.jpg", "a\tb.jpg", "\x1b[31mred.jpg", "-rf.jpg", " .jpg", "a .jpg.", "x" * 250]
)
def test_odd_file_names_are_read(photos: Path, name: str) -> None:
    image(photos / "cat" / name)
    samples = scan_folder(photos)
    assert f"cat/{name}" in paths(samples)
    assert len(samples) == 3


@posix
@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "tab\there", "a\rb", "a\u2028b"])
def test_a_class_with_a_control_character_is_left_out_and_said(
    photos: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    image(photos / name / "1.jpg")
    image(photos / name / "2.jpg")
    samples = scan_folder(photos)
    assert samples.class_names == ("cat", "dog")
    problem = f"the class {name!r} has a control character in its name; rename its folder"
    assert set(reasons(samples).values()) == {problem} and len(samples.rejected) == 2
    assert [record.message for record in caplog.records] == [f"{problem}, else it is left out"]


# --- folders that cannot be used ---------------------------------------------------------------


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan_folder(root)
    message = str(caught.value)
    assert "\n" not in message and str(root) in message
    return message


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none")
    assert message.startswith("no such folder: ") and "one sub-folder" in message


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    message = refusal(tmp_path / "a.jpg")
    assert "is a file; give a folder" in message


def test_an_empty_folder_is_said_to_be_empty(tmp_path: Path) -> None:
    assert "put them into one sub-folder a class" in refusal(tmp_path)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/notes.txt").write_text("x")
    assert refusal(tmp_path).startswith("no images in ")


def test_a_flat_folder_is_told_that_it_needs_classes(tmp_path: Path) -> None:
    image(tmp_path / "1.jpg")
    image(tmp_path / "2.jpg")
    message = refusal(tmp_path)
    assert "2 files left out, such as 1.jpg: lies in the folder, not in a class's" in message
    assert "put them into one sub-folder a class" in message


def test_one_class_is_too_few_to_train_but_enough_to_evaluate(tmp_path: Path) -> None:
    image(tmp_path / "cat/1.jpg")
    message = refusal(tmp_path)
    assert "only one class" in message and ": cat" in message
    assert "two or more" in message
    assert scan_folder(tmp_path, min_classes=1).class_names == ("cat",)


def test_nothing_is_written_into_the_folder(photos: Path) -> None:
    def tree() -> list[tuple[str, int]]:
        return sorted((str(p), p.stat().st_mtime_ns) for p in photos.rglob("*"))

    before = tree()
    scan_folder(photos)
    assert tree() == before


def test_the_walk_gives_files_of_any_kind_in_natural_order(photos: Path) -> None:
    (photos / "cat/notes.txt").write_text("x")
    files, rejected = walk_files(photos)
    assert [relative for relative, _ in files] == ["cat/1.jpg", "cat/notes.txt", "dog/1.jpg"]
    assert rejected == [] and all(path.is_absolute() for _, path in files)


def test_images_with_annotations_and_no_folders_are_told_what_reads_them(tmp_path: Path) -> None:
    image(tmp_path / "rose_1.png")
    (tmp_path / "rose_1.xml").write_text("<annotation/>", encoding="utf-8")
    message = refusal(tmp_path)
    assert "1 XML files" in message
    assert "--task localize" in message
    assert "--label-from xml" in message
