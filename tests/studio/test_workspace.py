"""Names from a browser, lists that stay fresh, and moves that lose nothing."""

import os
import threading
import time
from pathlib import Path

import pytest
from photos import flowers

from sharpeye.data.moves import Move
from sharpeye.errors import DataError, UsageError
from sharpeye.studio.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(flowers(tmp_path / "pictures"), tmp_path / "runs")


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret.jpg",
        "rose/../../secret.jpg",
        "/etc/passwd",
        "//etc/passwd",
        "rose/..",
        ".hidden/1.jpg",
        "rose/.1.jpg",
        ".set-aside/rose/rose1.jpg",
        "rose/\x00.jpg",
        "rose/a\nb.jpg",
        "rose/\udc80.jpg",
        "away/secret.jpg",
        "link.jpg",
        "loop/1.jpg",
        "x" * 5000,
        "/".join("a" * 200),
    ],
)
def test_names_that_lead_out_are_refused(workspace: Workspace, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (workspace.root / "away").symlink_to(tmp_path / "outside")
    (workspace.root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (workspace.root / "loop").symlink_to(workspace.root / "loop")
    with pytest.raises((UsageError, DataError)):
        workspace.image(name)
    with pytest.raises((UsageError, DataError)):
        workspace.set_aside(name)
    with pytest.raises((UsageError, DataError)):
        workspace.move("rose/rose1.jpg", name)
    with pytest.raises((UsageError, DataError)):
        workspace.undo(Move("rose/rose9.jpg", name or ".."))
    assert (tmp_path / "secret.jpg").read_bytes() == b"secret"
    assert (workspace.root / "rose" / "rose1.jpg").exists()


def test_only_images_are_touched(workspace: Workspace) -> None:
    (workspace.root / "rose" / "sources.csv").write_text("path\n")
    for change in (workspace.image, workspace.set_aside, lambda p: workspace.move(p, "fern")):
        with pytest.raises(UsageError, match="not called like a picture"):
            change("rose/sources.csv")
    with pytest.raises(UsageError, match="was not moved here"):
        workspace.undo(Move("fern/sources.csv", "rose/sources.csv"))


@pytest.mark.parametrize(
    "name", ["", "  ", ".", "..", "a/b", "a\\b", ".git", "con:", "a\nb", "<img>", "x" * 101, "end."]
)
def test_class_names_that_no_folder_can_have_are_refused(workspace: Workspace, name: str) -> None:
    before = files(workspace.root)
    with pytest.raises(UsageError):
        workspace.add_class(name)
    assert files(workspace.root) == before and len(workspace.classes()) == 3


def test_a_class_is_added_once(workspace: Workspace) -> None:
    assert workspace.add_class("  Löwen zahn ") == workspace.add_class("Löwen zahn") == "Löwen zahn"
    assert ("Löwen zahn", 0) in workspace.classes()
    (workspace.root / "note").write_text("a file")
    with pytest.raises(UsageError, match="file's name already"):
        workspace.add_class("note")


# --- lists ---------------------------------------------------------------------------------------


def test_classes_and_their_images_in_natural_order(tmp_path: Path) -> None:
    workspace = Workspace(flowers(tmp_path / "pictures", per_class=11))
    assert workspace.classes() == [("fern", 11), ("rose", 11), ("tulip", 11)]
    paths, total = workspace.images("rose", 8, 3)
    assert total == 11
    assert paths == ["rose/rose9.jpg", "rose/rose10.jpg", "rose/rose11.jpg"]
    assert workspace.images(None, 10, 2)[0] == ["fern/fern11.jpg", "rose/rose1.jpg"]
    assert workspace.images("rose", 50, 10)[0] == []
    with pytest.raises(DataError, match="no class"):
        workspace.all_images("oak")


def test_other_layouts(tmp_path: Path) -> None:
    flat = Workspace(tmp_path / "flat")
    for name in ("10.jpg", "9.png", "9.xml", "notes.txt", ".hidden.jpg"):
        (flat.root / name).write_bytes(b"x")
    assert flat.classes() == [] and flat.all_images() == ["9.png", "10.jpg"]
    parts = Workspace(flowers(tmp_path / "parts" / "train").parent)
    flowers(tmp_path / "parts" / "test")
    assert parts.classes()[:4] == [
        ("test/fern", 4),
        ("test/rose", 4),
        ("test/tulip", 4),
        ("train/fern", 4),
    ]
    voc = Workspace(tmp_path / "voc")
    for name in ("JPEGImages", "Annotations"):
        (voc.root / name).mkdir()
    (voc.root / "JPEGImages" / "1.jpg").write_bytes(b"x")
    assert voc.classes() == [] and voc.all_images() == ["JPEGImages/1.jpg"]


def test_lists_are_fresh_even_within_a_tick_of_the_clock(workspace: Workspace) -> None:
    for number in range(30):
        (workspace.root / "rose" / f"new{number}.jpg").write_bytes(b"x")
        assert len(workspace.all_images("rose")) == 5 + number
    (workspace.root / "rose" / "new3.jpg").unlink()
    assert len(workspace.all_images("rose")) == 33
    (workspace.root / "oak").mkdir()
    assert [name for name, _ in workspace.classes()] == ["fern", "oak", "rose", "tulip"]


def test_what_has_not_changed_is_not_listed_again(workspace: Workspace, monkeypatch) -> None:
    old = time.time() - 60
    for folder in (workspace.root, *workspace.root.iterdir()):
        os.utime(folder, (old, old))
    before = workspace.all_images()
    calls: list[object] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: calls.append(path) or real(path))
    assert workspace.all_images() == before and calls == []


def test_names_that_cannot_travel_are_left_out(workspace: Workspace) -> None:
    (workspace.root / os.fsdecode(b"rose/\xff.jpg")).write_bytes(b"x")
    (workspace.root / "rose" / "a\nb.jpg").write_bytes(b"x")
    assert len(workspace.all_images("rose")) == 4


def test_runs_among_the_images_are_no_class(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(flowers(tmp_path / "pictures"))
    workspace = Workspace(Path())
    assert workspace.runs == tmp_path / "pictures-runs"
    assert Workspace(tmp_path / "elsewhere").runs == tmp_path / "pictures" / "runs"


# --- moves ---------------------------------------------------------------------------------------


def test_an_image_moves_with_its_boxes_and_back(workspace: Workspace) -> None:
    (workspace.root / "rose" / "rose1.xml").write_text("<annotation/>")
    before = files(workspace.root)
    moved = workspace.move("rose/rose1.jpg", "fern")
    assert moved == Move("rose/rose1.jpg", "fern/rose1.jpg")
    assert {"fern/rose1.jpg", "fern/rose1.xml"} <= files(workspace.root)
    assert not {"rose/rose1.jpg", "rose/rose1.xml"} & files(workspace.root)
    workspace.undo(moved)
    assert files(workspace.root) == before


def test_nothing_is_overwritten(workspace: Workspace) -> None:
    (workspace.root / "fern" / "rose1.jpg").write_bytes(b"another")
    (workspace.root / "fern" / "rose1-2.xml").write_text("another's boxes")
    moved = workspace.move("rose/rose1.jpg", "fern")
    assert moved.target == "fern/rose1-3.jpg"
    (workspace.root / "rose" / "rose1.jpg").write_bytes(b"newcomer")
    with pytest.raises(DataError, match="taken there by another file"):
        workspace.undo(moved)
    assert (workspace.root / "fern" / "rose1.jpg").read_bytes() == b"another"
    assert (workspace.root / "rose" / "rose1.jpg").read_bytes() == b"newcomer"
    assert (workspace.root / "fern" / "rose1-3.jpg").exists()


def test_set_aside_hides_and_deletes_nothing(workspace: Workspace) -> None:
    data = (workspace.root / "rose" / "rose2.jpg").read_bytes()
    moved = workspace.set_aside("rose/rose2.jpg")
    assert len(workspace.all_images("rose")) == 3 and len(workspace.all_images()) == 11
    assert (workspace.root / moved.target).read_bytes() == data
    workspace.undo(moved)
    assert len(workspace.all_images("rose")) == 4
    with pytest.raises(DataError, match="not there"):
        workspace.undo(moved)


def test_two_tabs_that_move_one_image_lose_nothing(workspace: Workspace) -> None:
    data = {path.read_bytes() for path in workspace.root.rglob("*.jpg")}
    wrong: list[BaseException] = []

    def shuffle(label: str) -> None:
        for number in range(1, 5):
            for source in ("rose", "tulip", "fern"):
                try:
                    workspace.move(f"{source}/{source}{number}.jpg", label)
                except DataError:
                    pass  # the other tab was quicker
                except BaseException as error:
                    wrong.append(error)

    tabs = [threading.Thread(target=shuffle, args=(label,)) for label in ("rose", "fern", "tulip")]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert wrong == [] and {path.read_bytes() for path in workspace.root.rglob("*.jpg")} == data
